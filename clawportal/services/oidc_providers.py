"""OpenID providers and what their groups give, as administrators of the portal set them up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update

from clawportal import addresses, clock, pasted, secret_settings
from clawportal.contracts.core_permissions import MEMBER_MANAGE, PORTAL_ADMIN, TENANT_READ, USER_MANAGE
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.extensions import SignInWay
from clawportal.contracts.permissions import EVERYWHERE, PORTAL_ROLES, Actor, Scope
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid, NotFound
from clawportal.messages import _m, joined
from clawportal.models import Membership, OidcGroupRole, OidcIdentity, OidcProvider, Project, RoleGrant, Tenant, UserSession
from clawportal.models.oidc import SOURCE
from clawportal.services.events import event_log
from clawportal.services.identity import accounts
from clawportal.services.oidc_calls import ProviderCalls, Setup, check_address
from clawportal.services.rights import access
from clawportal.services.tenancy import members

_SLUG = re.compile(r"^[a-z][a-z0-9-]{1,39}$")
_SCOPE = re.compile(r"^[\x21\x23-\x5b\x5d-\x7e]+$")
_DOMAIN = re.compile(r"^(?=.{3,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$")


@dataclass(frozen=True)
class Wanted:
    """A provider as somebody wants it. `secret`: None leaves what is stored, empty takes it away."""

    slug: str = ""
    title: str = ""
    issuer: str = ""
    client_id: str = ""
    secret: str | None = None
    scopes: str = "openid profile email"
    username_claim: str = "preferred_username"
    email_claim: str = "email"
    name_claim: str = "name"
    groups_claim: str = "groups"
    email_domains: tuple[str, ...] = ()
    create_users: bool = False
    link_by_email: bool = False
    second_factor: bool = False
    tenant_id: str | None = None
    role: str = "viewer"
    enabled: bool = True


@dataclass(frozen=True)
class Known:
    """A provider as it is shown; never its secret."""

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
    email_domains: tuple[str, ...]
    create_users: bool
    link_by_email: bool
    second_factor: bool
    tenant_id: str | None
    role: str
    enabled: bool
    people: int
    """How many accounts are linked to it."""


@dataclass(frozen=True)
class GroupRole:
    """What a group gives."""

    id: str
    group: str
    role: str
    tenant_id: str | None
    tenant: str
    project_id: str | None
    project: str


@dataclass(frozen=True)
class Button:
    """What the sign-in page shows of a provider."""

    slug: str
    title: str


def require(actor: Actor) -> None:
    """Whoever chooses a provider decides who gets in, and its groups can give any role."""
    access.require(actor, PORTAL_ADMIN, Scope())
    access.require(actor, USER_MANAGE, Scope())


# ---- reading


def listing(actor: Actor) -> list[Known]:
    require(actor)
    people = select(OidcIdentity.provider_id, func.count().label("people")).group_by(OidcIdentity.provider_id).subquery()
    query = select(OidcProvider, func.coalesce(people.c.people, 0)).outerjoin(people, people.c.provider_id == OidcProvider.id)
    return [_known(row, count) for row, count in db.session.execute(query.order_by(OidcProvider.title, OidcProvider.id))]


def get(actor: Actor, provider_id: str) -> Known:
    require(actor)
    row = _row(provider_id)
    query = select(func.count()).select_from(OidcIdentity).where(OidcIdentity.provider_id == row.id)
    return _known(row, db.session.scalar(query) or 0)


def by_slug(slug: str) -> OidcProvider:
    row = db.session.scalar(select(OidcProvider).where(OidcProvider.slug == slug))
    if row is None:
        raise NotFound(_m("There is no sign-in provider named %(slug)s.", slug=repr(slug)))
    return row


def buttons() -> list[Button]:
    """Providers that anybody may try, for the sign-in page."""
    query = select(OidcProvider.slug, OidcProvider.title).where(OidcProvider.enabled).order_by(OidcProvider.title)
    return [Button(slug, title) for slug, title in db.session.execute(query)]


def sign_in_ways(portal: Portal) -> list[SignInWay]:
    return [way_of(button.slug, button.title) for button in buttons()]


def way_of(slug: str, title: str) -> SignInWay:
    return SignInWay(slug, title, "web.oidc_begin", "web.oidc_sign_out")


def role_uses(tenant_id: str, role: str) -> int:
    """How often groups, and providers for new people, give a role that an organisation made."""
    models = (OidcGroupRole, OidcProvider)
    queries = (select(func.count()).select_from(one).where(one.tenant_id == tenant_id, one.role == role) for one in models)
    return sum(db.session.scalar(query) or 0 for query in queries)


def _row(provider_id: str, *, lock: bool = False) -> OidcProvider:
    row = db.session.get(OidcProvider, provider_id, with_for_update=True if lock else None, populate_existing=lock)
    if row is None:
        raise NotFound(_m("There is no such sign-in provider."))
    return row


def _known(row: OidcProvider, people: int) -> Known:
    plain = {item.name: getattr(row, item.name) for item in fields(Known) if item.name not in ("has_secret", "people")}
    return Known(**plain | {"email_domains": tuple(row.email_domains)}, has_secret=row.sealed is not None, people=people)


def setup_of(portal: Portal, row: OidcProvider) -> Setup:
    secret = portal.keyring.open(row.sealed, _place(row.id)) if row.sealed is not None else ""
    return Setup(row.issuer, row.client_id, secret, row.scopes)


def _place(provider_id: str) -> str:
    return f"oidc:{provider_id}/client-secret"


# ---- changing


def create(portal: Portal, actor: Actor, wanted: Wanted) -> Known:
    require(actor)
    with transaction():
        wanted = _checked(portal, actor, wanted)
        if db.session.scalar(select(OidcProvider.id).where(OidcProvider.slug == wanted.slug)):
            raise Invalid.field(
                "slug", _m("There is already a sign-in provider named %(slug)s.", slug=repr(wanted.slug)), "taken"
            )
        row = OidcProvider(slug=wanted.slug)
        _take(row, wanted)
        db.session.add(row)
        db.session.flush()
        _seal(portal, row, wanted.secret)
        message = _m("The sign-in provider %(title)s was set up.", title=row.title)
        event_log.record(portal, "provider.created", actor=actor, message=message, level="warning", data={"provider_id": row.id})
        return get(actor, row.id)


def change(portal: Portal, actor: Actor, provider_id: str, wanted: Wanted) -> Known:
    """All but the slug. Switching it off ends the sessions that it began."""
    require(actor)
    with transaction():
        row = _row(provider_id, lock=True)
        wanted = _checked(portal, actor, replace(wanted, slug=row.slug))
        if wanted.issuer != row.issuer and _has_people(row.id):
            raise Invalid.field(
                "issuer", _m("People are linked to this issuer. Set up a second provider for another one."), "used"
            )
        _check_secret_stays(row, wanted)
        if row.enabled and not wanted.enabled:
            _end_sessions(row.id)
        _take(row, wanted)
        _seal(portal, row, wanted.secret)
        _name_source(row)
        row.updated_at = clock.now()
        message = _m("The sign-in provider %(title)s was changed.", title=row.title)
        event_log.record(portal, "provider.changed", actor=actor, message=message, level="warning", data={"provider_id": row.id})
        db.session.flush()
        known = get(actor, row.id)
    portal.part(ProviderCalls).forget(known.issuer)
    return known


def _check_secret_stays(row: OidcProvider, wanted: Wanted) -> None:
    """The stored secret goes to the issuer that it was entered for, and to nobody who only looks like it."""
    was, there = addresses.endpoint(row.issuer), addresses.endpoint(wanted.issuer.strip())
    if row.sealed is not None and wanted.secret is None and was != there:
        error = secret_settings.asked_again("secret", was, there)
        raise Invalid(f"{error.path}: {error.message}", errors=[error])


def _has_people(provider_id: str) -> bool:
    return db.session.scalar(select(OidcIdentity.id).where(OidcIdentity.provider_id == provider_id).limit(1)) is not None


def _name_source(row: OidcProvider) -> None:
    """What came from it says who it is now, and its sessions whether it asks for a second factor."""
    db.session.execute(update(Membership).where(Membership.source == row.source).values(source_title=row.title))
    named = {"source_title": row.title, "vouched": row.second_factor}
    db.session.execute(update(UserSession).where(UserSession.source == row.source).values(**named))


def _end_sessions(provider_id: str) -> None:
    query = update(UserSession).where(UserSession.source == f"{SOURCE}{provider_id}", UserSession.ended_at.is_(None))
    db.session.execute(query.values(ended_at=clock.now()))


def remove(portal: Portal, actor: Actor, provider_id: str) -> None:
    """With what its groups gave and the sessions that it began. Accounts stay; those without a password cannot sign in."""
    require(actor)
    with transaction():
        row = _row(provider_id, lock=True)
        _end_sessions(row.id)
        mine = (Membership.source == row.source, Membership.source_group == "")
        db.session.execute(update(Membership).where(*mine).values(source="", source_title=""))
        _keep_an_admin(row.id)
        _delete_all(select(Membership).where(Membership.source == row.source))
        _delete_all(select(RoleGrant).where(RoleGrant.source == row.source))
        message = _m("The sign-in provider %(title)s was removed.", title=row.title)
        event_log.record(portal, "provider.removed", actor=actor, message=message, level="warning", data={"provider_id": row.id})
        db.session.delete(row)


def _take(row: OidcProvider, wanted: Wanted) -> None:
    for item in fields(Wanted):
        if item.name not in ("slug", "secret"):
            setattr(row, item.name, getattr(wanted, item.name))
    row.email_domains = list(wanted.email_domains)


def _seal(portal: Portal, row: OidcProvider, secret: str | None) -> None:
    if secret is not None:
        row.sealed = portal.keyring.seal(secret, _place(row.id)) if secret else None


def _checked(portal: Portal, actor: Actor, wanted: Wanted) -> Wanted:
    """In its final form; all that is wrong at once."""
    domains = (name.strip().lower().removeprefix("@") for name in wanted.email_domains)
    names = ("username_claim", "email_claim", "name_claim", "groups_claim", "role")
    tidy = Wanted(**asdict(wanted) | {
        "title": wanted.title.strip(), "issuer": wanted.issuer.strip(), "client_id": wanted.client_id.strip(),
        "scopes": " ".join(dict.fromkeys(wanted.scopes.split())), "tenant_id": wanted.tenant_id or None,
        "secret": None if wanted.secret is None else pasted.key(wanted.secret, "").text,
        "email_domains": tuple(dict.fromkeys(filter(None, domains))), **{name: getattr(wanted, name).strip() for name in names},
    })  # fmt: skip
    errors = [*_errors(tidy), *_errors_of_place(portal, actor, tidy)]
    if errors:
        raise Invalid(joined((error.message for error in errors[:3]), "; "), errors=errors)
    return tidy


def _errors(wanted: Wanted) -> Iterator[FieldError]:
    if not _SLUG.match(wanted.slug):
        yield FieldError("slug", _m("A short name has 2 to 40 small letters, digits or dashes, and begins with a letter."))
    if not 1 <= len(wanted.title) <= 100:
        yield FieldError("title", _m("Give it a title of 1 to 100 characters; it stands on the button."), "missing")
    try:
        check_address(wanted.issuer, "issuer")
    except Invalid as problem:
        yield from problem.errors
    if len(wanted.issuer) > 500 or "?" in wanted.issuer or "#" in wanted.issuer:
        yield FieldError("issuer", _m("An issuer has 500 characters at most, and no ? or # in it."))
    if not 1 <= len(wanted.client_id) <= 200 or not wanted.client_id.isprintable():
        yield FieldError("client_id", _m("Enter the client id that the provider gave to the portal."), "missing")
    if wanted.secret and len(wanted.secret) > 1000:
        yield FieldError("secret", _m("A client secret has 1,000 plain characters at most."))
    elif flaw := pasted.flaw_in_header(wanted.secret or ""):
        yield FieldError("secret", flaw)
    scopes = wanted.scopes.split()
    if "openid" not in scopes or len(wanted.scopes) > 500 or not all(map(_SCOPE.match, scopes)):
        yield FieldError("scopes", _m("Scopes are words with spaces between, and openid is one of them."))
    for name in ("username_claim", "email_claim", "name_claim", "groups_claim"):
        text = getattr(wanted, name)
        if len(text) > 100 or not text.isprintable() or " " in text:
            yield FieldError(name, _m("A claim's name has 100 characters at most, without spaces."))
    if len(wanted.email_domains) > 100:
        yield FieldError("email_domains", _m("Name 100 domains at most."))
    for name in wanted.email_domains:
        if not _DOMAIN.match(name):
            yield FieldError("email_domains", _m("%(name)s is no domain such as example.com.", name=repr(name[:100])))
            return


def _errors_of_place(portal: Portal, actor: Actor, wanted: Wanted) -> Iterator[FieldError]:
    """Where new people become members, and as what."""
    if wanted.tenant_id is None:
        return
    try:
        members.tenant_for(actor, wanted.tenant_id, TENANT_READ)
    except NotFound:
        yield FieldError("tenant", _m("There is no such organisation."), "unknown")
        return
    try:
        members.check_givable(portal, actor, wanted.tenant_id, wanted.role, Scope(wanted.tenant_id))
    except Invalid as problem:
        yield from problem.errors


def examine(
    portal: Portal, actor: Actor, wanted: Wanted, redirect_uri: str, provider_id: str | None = None
) -> list[DoctorResult]:
    """What is right and what is missing, before anything is saved. `provider_id`: whose stored secret is used for None."""
    require(actor)
    secret = wanted.secret
    if secret is None and provider_id is not None:
        row = _row(provider_id)
        _check_secret_stays(row, wanted)
        secret = setup_of(portal, row).secret
    claims = [wanted.username_claim, wanted.email_claim, *([wanted.groups_claim] if _groups_count(wanted, provider_id) else [])]
    db.session.rollback()  # nothing stays open while the network is asked
    setup = Setup(wanted.issuer.strip(), wanted.client_id.strip(), pasted.key(secret or "", "").text, wanted.scopes)
    return portal.part(ProviderCalls).examine(setup, redirect_uri, claims)


def _groups_count(wanted: Wanted, provider_id: str | None) -> bool:
    """Whether somebody would miss the groups: they were named, or roles come from them. Many providers send none."""
    if wanted.groups_claim != Wanted.groups_claim:
        return True
    query = select(OidcGroupRole.id).where(OidcGroupRole.provider_id == provider_id)
    return provider_id is not None and db.session.scalar(query.limit(1)) is not None


# ---- names as people write them


def tenant_named(actor: Actor, text: str) -> str:
    """Id of a tenant by its name or id."""
    require(actor)
    found = db.session.scalar(select(Tenant.id).where(or_(Tenant.id == text.strip(), Tenant.name == text.strip())))
    if found is None:
        raise Invalid.field("tenant", _m("There is no organisation named %(strip)s.", strip=repr(text.strip())), "unknown")
    return found


def tenant_name(tenant_id: str | None) -> str:
    """The name; what was written where there is no such id."""
    return (db.session.scalar(select(Tenant.name).where(Tenant.id == tenant_id)) or tenant_id or "") if tenant_id else ""


def tenant_names(actor: Actor, most: int = 200) -> list[str]:
    """To choose from while typing."""
    return list(db.session.scalars(select(Tenant.name).where(access.visible(Tenant, actor)).order_by(Tenant.name).limit(most)))


def with_tenant(actor: Actor, wanted: Wanted) -> Wanted:
    """With the id of the tenant that was written as name."""
    return replace(wanted, tenant_id=tenant_named(actor, wanted.tenant_id) if wanted.tenant_id else None)


# ---- what groups give


def groups(actor: Actor, provider_id: str) -> list[GroupRole]:
    require(actor)
    _row(provider_id)
    query = (
        select(OidcGroupRole, Tenant.title, Tenant.name, Project.title, Project.name)
        .outerjoin(Tenant, Tenant.id == OidcGroupRole.tenant_id)
        .outerjoin(Project, Project.id == OidcGroupRole.project_id)
        .where(OidcGroupRole.provider_id == provider_id)
        .order_by(OidcGroupRole.group, OidcGroupRole.id)
    )
    return [
        GroupRole(row.id, row.group, row.role, row.tenant_id, tenant or name or "", row.project_id, project or called or "")
        for row, tenant, name, project, called in db.session.execute(query)
    ]


def map_group(
    portal: Portal, actor: Actor, provider_id: str, group: str, role: str, *, tenant_id: str | None = None,
    project_id: str | None = None,
) -> GroupRole:  # fmt: skip
    """From now on whoever is in this group has this role, as of the next sign-in."""
    require(actor)
    group = group.strip()
    if not 1 <= len(group) <= 255 or not group.isprintable():
        raise Invalid.field("group", _m("Enter the group as the provider sends it, with 1 to 255 characters."), "missing")
    with transaction():
        provider = _row(provider_id, lock=True)
        project_id = project_id or None
        tenant_id = _place_of(portal, actor, role, tenant_id or None, project_id)
        mapped = OidcGroupRole(provider_id=provider.id, group=group, tenant_id=tenant_id, project_id=project_id, role=role)
        same = (OidcGroupRole.group == group, OidcGroupRole.tenant_id == tenant_id, OidcGroupRole.project_id == project_id)
        if db.session.scalar(select(OidcGroupRole.id).where(OidcGroupRole.provider_id == provider.id, *same)):
            raise Invalid.field("group", _m("This group gives a role there already. Take that away first."), "taken")
        db.session.add(mapped)
        db.session.flush()
        message = _m(
            "The group %(group)s of %(title)s gives the role %(role)s now.", group=group, title=provider.title, role=role
        )
        _tell(portal, actor, "group_role.created", message, mapped)
        return next(found for found in groups(actor, provider.id) if found.id == mapped.id)


def _place_of(portal: Portal, actor: Actor, role: str, tenant_id: str | None, project_id: str | None) -> str | None:
    """The tenant where a group's role holds; None for a role over the whole portal."""
    if project_id is not None:
        project = access.get_or_404(Project, project_id, actor, MEMBER_MANAGE)
        if tenant_id not in (None, project.tenant_id):
            raise Invalid.field("project", _m("This project belongs to another organisation."))
        tenant_id = project.tenant_id
    if tenant_id is None:
        if role not in PORTAL_ROLES:
            raise Invalid.field("tenant", _m("The role %(role)s holds inside an organisation; name one.", role=role), "missing")
        return None
    members.tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
    members.check_givable(portal, actor, tenant_id, role, Scope(tenant_id, project_id))
    if project_id is not None and role == "guest":
        raise Invalid.field("role", _m("A guest has no rights, so there is nothing to give. Choose another role."))
    return tenant_id


def map_named(
    portal: Portal, actor: Actor, provider_id: str, group: str, role: str, *, tenant: str = "", project: str = ""
) -> GroupRole:
    """As `map_group`, with names or ids as people write them."""
    require(actor)
    tenant_id = tenant_named(actor, tenant) if tenant.strip() else None
    project_id = None
    if project.strip():
        if tenant_id is None:
            raise Invalid.field("tenant", _m("Name the organisation of the project too."), "missing")
        named = or_(Project.id == project.strip(), Project.name == project.strip())
        project_id = db.session.scalar(select(Project.id).where(Project.tenant_id == tenant_id, named))
        if project_id is None:
            raise Invalid.field(
                "project", _m("There is no project named %(strip)s there.", strip=repr(project.strip())), "unknown"
            )
    return map_group(portal, actor, provider_id, group, role, tenant_id=tenant_id, project_id=project_id)


def unmap(portal: Portal, actor: Actor, provider_id: str, mapping_id: str) -> None:
    """What it gave is gone at once; what another group of the same person gives comes with their next sign-in."""
    require(actor)
    with transaction():
        provider = _row(provider_id, lock=True)
        mapped = db.session.get(OidcGroupRole, mapping_id)
        if mapped is None or mapped.provider_id != provider.id:
            raise NotFound(_m("There is no such group here."))
        _take_back(provider, mapped)
        message = _m(
            "The group %(group)s of %(title)s gives the role %(role)s no more.",
            group=mapped.group,
            title=provider.title,
            role=mapped.role,
        )
        _tell(portal, actor, "group_role.removed", message, mapped)
        db.session.delete(mapped)


def _tell(portal: Portal, actor: Actor, kind: str, message: str, mapped: OidcGroupRole) -> None:
    data = {"group_role_id": mapped.id, "group": mapped.group, "role": mapped.role, "project_id": mapped.project_id}
    event_log.record(portal, kind, actor=actor, tenant_id=mapped.tenant_id, message=message, level="warning", data=data)


def _take_back(provider: OidcProvider, mapped: OidcGroupRole) -> None:
    """The rights that people have through this group, there."""
    if mapped.project_id is None:
        if mapped.tenant_id is None and mapped.role == EVERYWHERE:
            _keep_an_admin(provider.id, Membership.source_group == mapped.group)
        mine = (Membership.source == provider.source, Membership.source_group == mapped.group)
        _delete_all(select(Membership).where(*mine, Membership.tenant_id == mapped.tenant_id))
    else:
        given = (RoleGrant.source == provider.source, RoleGrant.source_group == mapped.group)
        _delete_all(select(RoleGrant).where(*given, RoleGrant.project_id == mapped.project_id))


def _delete_all(query: Any) -> None:
    for row in list(db.session.scalars(query)):
        db.session.delete(row)
    db.session.flush()


def _keep_an_admin(provider_id: str, *which: ColumnElement[bool]) -> None:
    mine = (Membership.tenant_id.is_(None), Membership.role == EVERYWHERE, Membership.source == f"{SOURCE}{provider_id}")
    accounts.keep_an_admin(set(db.session.scalars(select(Membership.user_id).where(*mine, *which))))


def reseal(portal: Portal) -> int:
    """Move every client secret to the newest key; returns how many were moved."""
    with transaction():
        rows: Sequence[OidcProvider] = db.session.scalars(select(OidcProvider).where(OidcProvider.sealed.is_not(None))).all()
        stale = [row for row in rows if row.sealed is not None and not portal.keyring.is_current(row.sealed)]
        for row in stale:
            row.sealed = portal.keyring.seal(portal.keyring.open(row.sealed or b"", _place(row.id)), _place(row.id))
    return len(stale)
