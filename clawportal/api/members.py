"""Members, roles, grants and invitations of organisations, and all accounts of the portal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.api._layer import Answer, Page, Paged, op, paged
from clawportal.contracts.core_permissions import (
    INSTANCE_READ,
    INSTANCE_SHARE,
    MEMBER_MANAGE,
    MEMBER_READ,
    ROLE_MANAGE,
    TENANT_READ,
    USER_MANAGE,
)
from clawportal.contracts.permissions import SELF, Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.services.identity import accounts
from clawportal.services.tenancy import members

TAGS = ("Members",)
ACCOUNTS = ("Accounts",)


# ---- what is answered


class MemberDocument(Answer):
    user_id: str
    name: str
    display_name: str
    role: str
    active: bool = Field(description="False: the account is closed.")
    since: datetime
    last_login_at: datetime | None
    grants: int = Field(description="How many roles on single projects and instances.")


class NewMemberDocument(Answer):
    user_id: str
    name: str
    password: str = Field(description="For the first sign-in, where it has to be changed. It is shown this once.")


class PermissionDocument(Answer):
    name: str
    description: str


class RoleDocument(Answer):
    id: str = Field(description="Empty for a built-in role.")
    name: str
    description: str
    permissions: list[str]
    built_in: bool
    members: int
    givable: bool = Field(description="Whether you may give it to others.")
    absent: list[str] = Field(
        description="Rights in it that belong to a plugin which is not loaded. They are kept, and hold again when it is."
    )


class Roles(Answer):
    items: list[RoleDocument]
    permissions: list[PermissionDocument] = Field(description="What a role can be made of.")


class GivenDocument(Answer):
    """A role on one project or instance."""

    id: str
    user_id: str
    user: str
    role: str
    project_id: str | None
    instance_id: str | None
    place: str = Field(description="Name of the project or instance.")
    created_by: str
    created_at: datetime
    group: str = Field("", description="Group of a sign-in provider that gave it; `created_by` is the provider then.")


class GivenList(Answer):
    items: list[GivenDocument]


class RightDocument(Answer):
    """One reason why somebody may do something here."""

    user_id: str
    user: str
    role: str
    permissions: list[str]
    kind: str = Field(description="How far it reaches: `portal`, `member`, `project` or `instance`.")
    place: str = Field(description="Name of the project or instance; empty for the whole organisation.")
    given_by: str
    group: str = Field("", description="Group of `provider` that gave it; empty where somebody here did.")
    provider: str = ""


class Rights(Answer):
    items: list[RightDocument]


class InvitationDocument(Answer):
    id: str
    role: str
    note: str
    created_by: str
    created_at: datetime
    expires_at: datetime


class InvitationList(Answer):
    items: list[InvitationDocument]


class NewInvitationDocument(InvitationDocument):
    path: str = Field(description="Path of the link on this portal. It is shown this once.")


class TenantOf(Answer):
    id: str
    title: str
    role: str


class AccountDocument(Answer):
    id: str
    name: str
    display_name: str
    active: bool
    created_at: datetime
    last_login_at: datetime | None
    portal_role: str = Field(description="`portal-admin`, `portal-auditor` or empty.")
    tenants: list[TenantOf]


# ---- what is asked


class MemberQuery(Paged):
    q: str = Field("", max_length=200, description="Part of the name.")


class NewMemberBody(Strict):
    name: str = Field(max_length=200)
    role: str = Field(max_length=40)
    display_name: str = Field("", max_length=500)
    existing: bool = Field(False, description="Add the account that has this name; only for those who manage all accounts.")


class RoleOf(Strict):
    role: str = Field(max_length=40)


class RoleBody(Strict):
    permissions: list[str] = Field(max_length=200)
    description: str = Field("", max_length=500)


class NewRoleBody(RoleBody):
    name: str = Field(max_length=100)


class GiveBody(Strict):
    member: str = Field(max_length=100, description="Name or id of a member of the organisation.")
    role: str = Field(max_length=40)
    project: str | None = Field(None, max_length=100, description="Id of the project; or name an instance.")
    instance: str | None = Field(None, max_length=100, description="Id of the instance; or name a project.")


class ShareBody(Strict):
    member: str = Field(max_length=100, description="Name or id of a member of the organisation.")
    role: str = Field("viewer", max_length=40)


class InviteBody(Strict):
    role: str = Field(max_length=40)
    note: str = Field("", max_length=500, description="For whom it is; only seen by those who manage members.")
    days: int = Field(7, ge=1, le=90)


class NewAccount(Strict):
    name: str = Field(max_length=200)
    role: str = Field(max_length=40)
    tenant: str | None = Field(None, max_length=100, description="Id of the organisation; none for a role in the whole portal.")


class AccountPatch(Strict):
    """What is absent stays."""

    active: bool | None = None
    portal_role: str | None = Field(None, max_length=40, description="`portal-admin`, `portal-auditor`, or empty for none.")


# ---- members


@op("GET", "/tenants/{tenant_id}/members", permission=MEMBER_READ, tags=TAGS, summary="Members",
    returns=Page[MemberDocument], problems=(404,))  # fmt: skip
def list_members(actor: Actor, tenant_id: str, query: MemberQuery) -> Any:
    page = members.listing(actor, tenant_id, text=query.q, which=query.which)
    return paged(page, query, [row.__dict__ for row in page.items])


@op("POST", "/tenants/{tenant_id}/members", permission=MEMBER_MANAGE, tags=TAGS, summary="Add a member",
    status=201, returns=NewMemberDocument, problems=(404, 409), example={"name": "kim", "role": "developer"})  # fmt: skip
def create_member(actor: Actor, portal: Portal, tenant_id: str, body: NewMemberBody) -> dict[str, Any]:
    """Makes an account with a password for the first sign-in. Who has an account already is invited instead."""
    if body.existing:
        known = members.add(portal, actor, tenant_id, body.name, body.role)
        return {"user_id": known.user_id, "name": known.name, "password": ""}
    made = members.create(portal, actor, tenant_id, body.name, body.role, display_name=body.display_name)
    return {"user_id": made.user.id, "name": made.user.name, "password": made.password}


@op("GET", "/tenants/{tenant_id}/members/{user_id}", permission=MEMBER_READ, tags=TAGS, summary="One member",
    returns=MemberDocument, problems=(404,))  # fmt: skip
def get_member(actor: Actor, tenant_id: str, user_id: str) -> dict[str, Any]:
    return members.get(actor, tenant_id, user_id).__dict__


@op("PATCH", "/tenants/{tenant_id}/members/{user_id}", permission=MEMBER_MANAGE, tags=TAGS,
    summary="Change the role of a member", returns=MemberDocument, problems=(404, 409))  # fmt: skip
def change_member(actor: Actor, portal: Portal, tenant_id: str, user_id: str, body: RoleOf) -> dict[str, Any]:
    """Nobody gives or takes a role with rights that they do not have themselves."""
    return members.change_role(portal, actor, tenant_id, user_id, body.role).__dict__


@op("DELETE", "/tenants/{tenant_id}/members/{user_id}", permission=SELF, tags=TAGS, status=204,
    summary="Remove a member, or leave", problems=(404, 409))  # fmt: skip
def remove_member(actor: Actor, portal: Portal, tenant_id: str, user_id: str) -> None:
    """The account stays; everybody may leave by themselves."""
    members.remove(portal, actor, tenant_id, user_id)


@op("GET", "/tenants/{tenant_id}/rights", permission=MEMBER_READ, tags=TAGS, returns=Rights,
    summary="Who can do what here, and why", problems=(404,))  # fmt: skip
def list_rights(actor: Actor, portal: Portal, tenant_id: str) -> dict[str, Any]:
    known, found = portal.permissions, members.rights(portal, actor, tenant_id)
    return {"items": [r.__dict__ | {"permissions": sorted(map(str, known.enumerate(r.permissions)))} for r in found]}


# ---- roles


@op("GET", "/tenants/{tenant_id}/roles", permission=TENANT_READ, tags=TAGS, summary="Roles", returns=Roles,
    problems=(404,))  # fmt: skip
def list_roles(actor: Actor, portal: Portal, tenant_id: str) -> dict[str, Any]:
    found = members.roles(portal, actor, tenant_id)
    parts = [{"name": str(one), "description": one.description} for one in portal.permissions.givable]
    return {"items": [_document(role) for role in found], "permissions": parts}


@op("POST", "/tenants/{tenant_id}/roles", permission=ROLE_MANAGE, tags=TAGS, summary="Make a role", status=201,
    returns=RoleDocument, problems=(404, 409),
    example={"name": "night-watch", "permissions": ["instance.read", "instance.operate"]})  # fmt: skip
def create_role(actor: Actor, portal: Portal, tenant_id: str, body: NewRoleBody) -> dict[str, Any]:
    made = members.create_role(portal, actor, tenant_id, body.name, body.permissions, body.description)
    return _role(portal, actor, tenant_id, made.id)


@op("PUT", "/tenants/{tenant_id}/roles/{role_id}", permission=ROLE_MANAGE, tags=TAGS, returns=RoleDocument,
    summary="Change a role", problems=(404, 409))  # fmt: skip
def replace_role(actor: Actor, portal: Portal, tenant_id: str, role_id: str, body: RoleBody) -> dict[str, Any]:
    """Whoever has it has the new rights from the next request on."""
    members.change_permissions(portal, actor, tenant_id, role_id, body.permissions, body.description)
    return _role(portal, actor, tenant_id, role_id)


def _role(portal: Portal, actor: Actor, tenant_id: str, role_id: str) -> dict[str, Any]:
    return _document(next(role for role in members.roles(portal, actor, tenant_id) if role.id == role_id))


def _document(role: members.RoleInfo) -> dict[str, Any]:
    return role.__dict__ | {"permissions": sorted(map(str, role.permissions)), "absent": list(role.absent)}


@op("DELETE", "/tenants/{tenant_id}/roles/{role_id}", permission=ROLE_MANAGE, tags=TAGS, status=204,
    summary="Delete a role", problems=(404, 409))  # fmt: skip
def delete_role(actor: Actor, portal: Portal, tenant_id: str, role_id: str) -> None:
    members.delete_role(portal, actor, tenant_id, role_id)


# ---- grants


@op("GET", "/tenants/{tenant_id}/grants", permission=MEMBER_READ, tags=TAGS, returns=GivenList,
    summary="Roles on single projects and instances", problems=(404,))  # fmt: skip
def list_grants(actor: Actor, tenant_id: str) -> dict[str, Any]:
    return {"items": [grant.__dict__ for grant in members.given(actor, tenant_id)]}


@op("POST", "/grants", permission=SELF, tags=TAGS, status=201, returns=GivenDocument,
    summary="Give a role on a project or an instance", problems=(403, 404, 409))  # fmt: skip
def create_grant(actor: Actor, portal: Portal, body: GiveBody) -> dict[str, Any]:
    """Replaces the role that the member has there already."""
    made = members.give(portal, actor, body.member, body.role, project_id=body.project, instance_id=body.instance)
    return made.__dict__


@op("DELETE", "/grants/{grant_id}", permission=SELF, tags=TAGS, status=204,
    summary="End a role on a project or an instance", problems=(403, 404))  # fmt: skip
def delete_grant(actor: Actor, portal: Portal, grant_id: str) -> None:
    members.take(portal, actor, grant_id)


@op("GET", "/instances/{instance_id}/shares", permission=INSTANCE_READ, tags=TAGS, returns=GivenList,
    summary="With whom an instance is shared", problems=(404,))  # fmt: skip
def list_shares(actor: Actor, instance_id: str) -> dict[str, Any]:
    return {"items": [grant.__dict__ for grant in members.shares(actor, instance_id)]}


@op("POST", "/instances/{instance_id}/shares", permission=INSTANCE_SHARE, tags=TAGS, status=201,
    returns=GivenDocument, summary="Share an instance with a member", problems=(404, 409))  # fmt: skip
def create_share(actor: Actor, portal: Portal, instance_id: str, body: ShareBody) -> dict[str, Any]:
    return members.give(portal, actor, body.member, body.role, instance_id=instance_id).__dict__


# ---- invitations


@op("GET", "/tenants/{tenant_id}/invitations", permission=MEMBER_READ, tags=TAGS, returns=InvitationList,
    summary="Open invitations", problems=(404,))  # fmt: skip
def list_invitations(actor: Actor, tenant_id: str) -> dict[str, Any]:
    return {"items": [_invitation(row) for row in members.invitations(actor, tenant_id)]}


@op("POST", "/tenants/{tenant_id}/invitations", permission=MEMBER_MANAGE, tags=TAGS, status=201,
    returns=NewInvitationDocument, summary="Invite somebody by a link", problems=(404, 409))  # fmt: skip
def create_invitation(actor: Actor, portal: Portal, tenant_id: str, body: InviteBody) -> dict[str, Any]:
    made = members.invite(portal, actor, tenant_id, body.role, note=body.note, days=body.days)
    return _invitation(made.row) | {"path": f"/invitations/{made.text}"}


def _invitation(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in InvitationDocument.model_fields}


@op("DELETE", "/tenants/{tenant_id}/invitations/{invitation_id}", permission=MEMBER_MANAGE, tags=TAGS, status=204,
    summary="Withdraw an invitation", problems=(404, 409))  # fmt: skip
def delete_invitation(actor: Actor, portal: Portal, tenant_id: str, invitation_id: str) -> None:
    members.withdraw(portal, actor, tenant_id, invitation_id)


# ---- accounts


@op("GET", "/users", permission=USER_MANAGE, tags=ACCOUNTS, summary="All accounts",
    returns=Page[AccountDocument])  # fmt: skip
def list_users(actor: Actor, query: MemberQuery) -> Any:
    page = accounts.listing(actor, text=query.q, which=query.which)
    return paged(page, query, [_account(row) for row in page.items])


@op("POST", "/users", permission=USER_MANAGE, tags=ACCOUNTS, summary="Make an account", status=201,
    returns=NewMemberDocument, problems=(404, 409))  # fmt: skip
def create_user(actor: Actor, portal: Portal, body: NewAccount) -> dict[str, Any]:
    user, password = accounts.create(portal, actor, body.name, body.role, body.tenant)
    return {"user_id": user.id, "name": user.name, "password": password}


@op("GET", "/users/{user_id}", permission=USER_MANAGE, tags=ACCOUNTS, summary="One account",
    returns=AccountDocument, problems=(404,))  # fmt: skip
def get_user(actor: Actor, user_id: str) -> dict[str, Any]:
    return _account(accounts.get(actor, user_id))


@op("PATCH", "/users/{user_id}", permission=USER_MANAGE, tags=ACCOUNTS, returns=AccountDocument,
    summary="Close or open an account, or change its role in the portal", problems=(404, 409))  # fmt: skip
def change_user(actor: Actor, portal: Portal, user_id: str, body: AccountPatch) -> dict[str, Any]:
    """The last administrator of the portal can neither be closed nor lose the role."""
    return _account(accounts.change(portal, actor, user_id, active=body.active, portal_role=body.portal_role))


def _account(row: accounts.Account) -> dict[str, Any]:
    tenants = [{"id": tenant_id, "title": title, "role": role} for tenant_id, title, role in row.tenants]
    return row.__dict__ | {"tenants": tenants}
