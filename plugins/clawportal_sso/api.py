"""Sign-in providers (OpenID Connect), what their groups give, and the accounts elsewhere that are linked to one's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Portal, op
from clawportal.sdk.permissions import PORTAL_ADMIN, SELF, Actor
from clawportal_sso import group_roles, linked, providers
from clawportal_sso.addresses import callback_of
from clawportal_sso.organisations import with_tenant
from clawportal_sso.wanted import Wanted

TAGS = ("Sign-in providers",)


class ProviderFields(Strict):
    """What can be chosen."""

    title: str = Field(max_length=200, description="Stands on the button: `Sign in with ...`.")
    issuer: str = Field(max_length=1000, description="Exactly as the provider calls itself.")
    client_id: str = Field(max_length=400)
    secret: str | None = Field(
        None, max_length=2000, description="Client secret; left out or null: as it is; empty: none (a public client).",
        json_schema_extra={"format": "password", "writeOnly": True},
    )  # fmt: skip
    scopes: str = Field("openid profile email", max_length=1000, description="With spaces between.")
    username_claim: str = Field("preferred_username", max_length=200)
    email_claim: str = Field("email", max_length=200)
    name_claim: str = Field("name", max_length=200)
    groups_claim: str = Field("groups", max_length=200, description="A dot leads inside: `realm_access.roles`.")
    email_domains: list[str] = Field([], max_length=200, description="Only confirmed addresses in these come in; empty: all.")
    create_users: bool = Field(False, description="Make an account at the first sign-in.")
    link_by_email: bool = Field(False, description="Link the account whose name is the confirmed email address.")
    second_factor: bool = Field(False, description="The provider's second factor is enough; the portal asks for no code.")
    tenant: str | None = Field(None, max_length=100, description="Organisation where new people become members: name or id.")
    role: str = Field("viewer", max_length=100, description="Role of new people there.")
    enabled: bool = True


class NewProvider(ProviderFields):
    slug: str = Field(max_length=100, description="Short name, part of the redirect address; it never changes.")


class ProviderCheck(ProviderFields):
    slug: str = Field("check", max_length=100)
    title: str = Field("", max_length=200)
    provider_id: str | None = Field(None, max_length=100, description="Use the stored secret of this one where none is sent.")


class ProviderDocument(Answer):
    id: str
    slug: str
    title: str
    issuer: str
    client_id: str
    has_secret: bool
    scopes: str
    username_claim: str
    email_claim: str
    name_claim: str
    groups_claim: str
    email_domains: list[str]
    create_users: bool
    link_by_email: bool
    second_factor: bool
    tenant_id: str | None
    role: str
    enabled: bool
    people: int = Field(description="How many accounts are linked to it.")


class Providers(Answer):
    items: list[ProviderDocument]


class FindingDocument(Answer):
    name: str
    ok: bool
    message: str
    remedy: str


class Findings(Answer):
    ok: bool = Field(description="Whether nothing is missing.")
    items: list[FindingDocument]


class GroupBody(Strict):
    group: str = Field(max_length=500, description="As the provider sends it.")
    role: str = Field(max_length=100)
    tenant: str = Field("", max_length=100, description="Name or id; empty only for a role in the whole portal.")
    project: str = Field("", max_length=100, description="Name or id, if the role shall hold there only.")


class GroupDocument(Answer):
    id: str
    group: str
    role: str
    tenant_id: str | None
    tenant: str
    project_id: str | None
    project: str


class Groups(Answer):
    items: list[GroupDocument]


class IdentityDocument(Answer):
    id: str
    provider: str
    slug: str
    email: str
    created_at: datetime
    last_login_at: datetime | None


class Identities(Answer):
    items: list[IdentityDocument]


def _wanted(actor: Actor, body: ProviderFields, slug: str) -> Wanted:
    given: dict[str, Any] = body.model_dump(exclude={"tenant", "slug", "provider_id"})
    given |= {"email_domains": tuple(body.email_domains), "tenant_id": body.tenant, "slug": slug}
    return with_tenant(actor, Wanted(**given))


# ---- providers


@op("GET", "/oidc/providers", permission=PORTAL_ADMIN, tags=TAGS, returns=Providers, summary="Sign-in providers")
def list_providers(actor: Actor) -> dict[str, Any]:
    return {"items": [known.__dict__ for known in providers.listing(actor)]}


@op("POST", "/oidc/providers", permission=PORTAL_ADMIN, tags=TAGS, status=201, returns=ProviderDocument,
    summary="Set up a sign-in provider", example={
        "slug": "keycloak", "title": "Keycloak", "issuer": "https://sso.example.com/realms/main", "client_id": "clawportal",
        "secret": "from the provider", "create_users": True, "tenant": "acme", "role": "viewer",
    })  # fmt: skip
def create_provider(actor: Actor, portal: Portal, body: NewProvider) -> dict[str, Any]:
    """Nothing is asked of the provider here; `/oidc/check` does that."""
    return providers.create(portal, actor, _wanted(actor, body, body.slug)).__dict__


@op("POST", "/oidc/check", permission=PORTAL_ADMIN, tags=TAGS, returns=Findings,
    summary="Try a sign-in provider before saving it", problems=(404,))  # fmt: skip
def check_provider(actor: Actor, portal: Portal, body: ProviderCheck) -> dict[str, Any]:
    """Fetches what the provider says about itself and its keys, and tries client id and secret. Nothing is stored."""
    back = callback_of(body.slug)
    found = providers.examine(portal, actor, _wanted(actor, body, body.slug), back, body.provider_id)
    return {"ok": all(item.ok for item in found), "items": [item.__dict__ for item in found]}


@op("GET", "/oidc/providers/{provider_id}", permission=PORTAL_ADMIN, tags=TAGS, returns=ProviderDocument,
    summary="One sign-in provider", problems=(404,))  # fmt: skip
def get_provider(actor: Actor, provider_id: str) -> dict[str, Any]:
    return providers.get(actor, provider_id).__dict__


@op("PUT", "/oidc/providers/{provider_id}", permission=PORTAL_ADMIN, tags=TAGS, returns=ProviderDocument,
    summary="Change a sign-in provider", problems=(404,))  # fmt: skip
def change_provider(actor: Actor, portal: Portal, provider_id: str, body: ProviderFields) -> dict[str, Any]:
    """The whole of it but the secret, which stays unless one is sent. Switching it off ends the sessions that it began."""
    return providers.change(portal, actor, provider_id, _wanted(actor, body, "unchanged")).__dict__


@op("DELETE", "/oidc/providers/{provider_id}", permission=PORTAL_ADMIN, tags=TAGS, status=204,
    summary="Remove a sign-in provider", problems=(404, 409))  # fmt: skip
def delete_provider(actor: Actor, portal: Portal, provider_id: str) -> None:
    """With its links, what its groups gave, and the sessions that it began. Accounts stay."""
    providers.remove(portal, actor, provider_id)


# ---- groups


@op("GET", "/oidc/providers/{provider_id}/groups", permission=PORTAL_ADMIN, tags=TAGS, returns=Groups,
    summary="What the groups of a provider give", problems=(404,))  # fmt: skip
def list_group_roles(actor: Actor, provider_id: str) -> dict[str, Any]:
    return {"items": [found.__dict__ for found in group_roles.groups(actor, provider_id)]}


@op("POST", "/oidc/providers/{provider_id}/groups", permission=PORTAL_ADMIN, tags=TAGS, status=201,
    returns=GroupDocument, summary="Let a group give a role", problems=(404,),
    example={"group": "claw-operators", "role": "operator", "tenant": "acme"})  # fmt: skip
def create_group_role(actor: Actor, portal: Portal, provider_id: str, body: GroupBody) -> dict[str, Any]:
    """Counts from each person's next sign-in on. A role given by hand in the same place is left as it is."""
    made = group_roles.map_named(portal, actor, provider_id, body.group, body.role, tenant=body.tenant, project=body.project)
    return made.__dict__


@op("DELETE", "/oidc/providers/{provider_id}/groups/{group_id}", permission=PORTAL_ADMIN, tags=TAGS, status=204,
    summary="Let a group give a role no more", problems=(404, 409))  # fmt: skip
def delete_group_role(actor: Actor, portal: Portal, provider_id: str, group_id: str) -> None:
    """Whoever has the role through it loses it at once."""
    group_roles.unmap(portal, actor, provider_id, group_id)


# ---- one's own


@op("GET", "/auth/identities", permission=SELF, tags=("Account",), returns=Identities,
    summary="My accounts at sign-in providers")  # fmt: skip
def list_identities(actor: Actor) -> dict[str, Any]:
    """They are linked in a browser, on the page of one's account."""
    return {"items": [found.__dict__ for found in linked.mine(actor.id)]}


@op("DELETE", "/auth/identities/{identity_id}", permission=SELF, tags=("Account",), status=204,
    summary="Unlink one of them", problems=(404, 409))  # fmt: skip
def delete_identity(actor: Actor, portal: Portal, identity_id: str) -> None:
    linked.unlink(portal, actor, identity_id)
