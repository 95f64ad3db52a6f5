"""Who belongs to a tenant and with which rights: members, roles, grants on projects and instances, invitations.

One rule holds for all of it: nobody gives or takes away what they do not have themselves, and nobody reaches into another
tenant. A stranger's id gives 404.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select

from clawportal import clock, folding, paging
from clawportal.contracts.core_permissions import (
    INSTANCE_READ,
    INSTANCE_SHARE,
    MEMBER_MANAGE,
    MEMBER_READ,
    ROLE_MANAGE,
    TENANT_READ,
    USER_MANAGE,
)
from clawportal.contracts.extensions import ROLE_USES
from clawportal.contracts.permissions import (
    PORTAL_ROLES,
    ROLE_WORDS,
    SELF,
    Actor,
    Permission,
    PermissionSet,
    Scope,
)
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from clawportal.messages import Message, _m, _n, joined
from clawportal.models import (
    CustomRole,
    Instance,
    Invitation,
    Membership,
    Project,
    RoleGrant,
    Tenant,
    User,
)
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.events import event_log
from clawportal.services.identity import identity
from clawportal.services.identity.names import check_title, is_named, person, taken_by
from clawportal.services.rights import access, grants

_ROLE_NAME = re.compile(r"^[a-z][a-z0-9-]{1,39}$")
INVITATION_PREFIX = "cli_"


@dataclass(frozen=True)
class Member:
    user_id: str
    name: str
    display_name: str
    role: str
    active: bool
    since: datetime
    last_login_at: datetime | None
    grants: int
    """On single projects and instances."""


@dataclass(frozen=True)
class RoleInfo:
    name: str
    description: str
    permissions: tuple[Permission, ...]
    built_in: bool
    members: int
    id: str = ""
    givable: bool = False
    """Whether the one who asks may give it to others."""
    absent: tuple[str, ...] = ()
    """Permissions in it that no loaded plugin declares: kept, and without effect until their plugin is back."""


@dataclass(frozen=True)
class NewMember:
    """An account just made; the password is shown this once."""

    user: User
    password: str


@dataclass(frozen=True)
class NewInvitation:
    row: Invitation
    text: str
    """The secret part of the link, shown this once."""


@dataclass(frozen=True)
class Given:
    """A role on one project or instance."""

    id: str
    user_id: str
    user: str
    role: str
    project_id: str | None
    instance_id: str | None
    place: str
    """Name of the project or instance."""
    created_by: str
    created_at: datetime
    group: str = ""
    """The group of a sign-in provider that gave it; `created_by` is the provider then."""


@dataclass(frozen=True)
class Right:
    """One reason why somebody may do something here."""

    user_id: str
    user: str
    role: str
    permissions: PermissionSet
    kind: str
    """`portal`, `member`, `project` or `instance`: how far it reaches."""
    place: str = ""
    given_by: str = ""
    group: str = ""
    """The group of `provider` that gave it; empty where somebody here did."""
    provider: str = ""


# ---- the one rule


def tenant_for(actor: Actor, tenant_id: str, permission: Permission, *, lock: bool = False) -> Tenant:
    tenant = access.get_or_404(Tenant, tenant_id, actor, permission, lock=lock)
    if lock and tenant.deleting_at is not None:
        raise Conflict(_m("%(title)s is being deleted.", title=tenant.title or tenant.name))
    return tenant


def permissions_of(portal: Portal, tenant_id: str, role: str) -> PermissionSet | None:
    """What a role means inside a tenant; None for a role that is unknown there."""
    own = None if role in ROLE_WORDS else grants.custom_role(tenant_id, role)
    return portal.permissions.meaning(role, own.permissions if own else None)


_WORDS = {
    "give": _n("You cannot give rights that you do not have here yourself: %(words)s."),
    "take": _n("You cannot take away rights that you do not have here yourself: %(words)s."),
    "put": _n("You cannot put into a role rights that you do not have here yourself: %(words)s."),
}


def _require_all(actor: Actor, permissions: Iterable[Permission], scope: Scope, doing: str) -> None:
    lacking = [p for p in permissions if p != SELF and not actor.allows(p, scope)]
    if lacking:
        words = joined([*(p.description for p in sorted(lacking)[:3]), *(["..."] if len(lacking) > 3 else [])], "; ")
        raise Forbidden(Message(_WORDS[doing], {"words": words}))


def check_givable(portal: Portal, actor: Actor, tenant_id: str, role: str, scope: Scope) -> None:
    """Whether `actor` may give this role in this scope."""
    if role in PORTAL_ROLES:
        raise Invalid.field("role", _m("The role %(role)s holds in the whole portal, not in one organisation.", role=role))
    custom = None if role in ROLE_WORDS else grants.custom_role(tenant_id, role)
    permissions = portal.permissions.meaning(role, custom.permissions if custom else None)
    if permissions is None:
        own = db.session.scalars(select(CustomRole.name).where(CustomRole.tenant_id == tenant_id).order_by(CustomRole.name))
        known = [*(name for name in ROLE_WORDS if name not in PORTAL_ROLES), *own]
        raise Invalid.field(
            "role", _m("There is no role %(role)s here. Known: %(known)s.", role=repr(role), known=known), "unknown"
        )
    # what an absent plugin declares gives nothing now, but will when the plugin is back
    absent = [Permission(name, name) for name in portal.permissions.absent(custom.permissions if custom else ())]
    _require_all(actor, [*portal.permissions.enumerate(permissions), *absent], scope, "give")


def check_takable(portal: Portal, actor: Actor, tenant_id: str, role: str, scope: Scope) -> None:
    """Whether `actor` may take this role from somebody: only what one could give."""
    held = permissions_of(portal, tenant_id, role) or frozenset()
    _require_all(actor, portal.permissions.enumerate(held), scope, "take")


# ---- members


def listing(actor: Actor, tenant_id: str, *, text: str = "", which: Which = FIRST_PAGE) -> Slice[Member]:
    tenant_for(actor, tenant_id, MEMBER_READ)
    where: list[ColumnElement[bool]] = [Membership.tenant_id == tenant_id, User.service_tenant_id.is_(None)]
    if text:
        where.append(User.searched.contains(folding.fold(text), autoescape=True))
    base: Any = select(Membership, User).join(User, User.id == Membership.user_id).where(*where)
    total = db.session.scalar(select(func.count()).select_from(base.subquery())) or 0
    order = paging.by_name(User, lambda row: row[1])
    return paging.page(
        base, order, which, about=("members", tenant_id, text), total=total, fetch=lambda query: db.session.execute(query).all()
    ).map(lambda found: _members(tenant_id, found))


def _members(tenant_id: str, found: Sequence[Any]) -> list[Member]:
    counts = _grant_counts(tenant_id, [user.id for _, user in found])
    return [_member(row, user, counts.get(user.id, 0)) for row, user in found]


def names(actor: Actor, tenant_id: str, limit: int = 300) -> list[tuple[str, str]]:
    """Names of members, for choosing one; none for those who may not see who is a member."""
    if not actor.allows(MEMBER_READ, Scope(tenant_id)):
        return []
    query = (
        select(User.name, User.display_name)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.tenant_id == tenant_id, User.service_tenant_id.is_(None))
    )
    return [(name, full or "") for name, full in db.session.execute(query.order_by(User.name).limit(limit))]


def _grant_counts(tenant_id: str, user_ids: Sequence[str]) -> dict[str, int]:
    query = select(RoleGrant.user_id, func.count()).where(RoleGrant.tenant_id == tenant_id, RoleGrant.user_id.in_(user_ids))
    return {row[0]: row[1] for row in db.session.execute(query.group_by(RoleGrant.user_id))}


def _member(row: Membership, user: User, count: int) -> Member:
    return Member(user.id, user.name, user.display_name, row.role, user.active, row.created_at, user.last_login_at, count)


def get(actor: Actor, tenant_id: str, user_id: str) -> Member:
    tenant_for(actor, tenant_id, MEMBER_READ)
    row = _membership(tenant_id, user_id)
    user = db.session.get_one(User, user_id)
    return _member(row, user, _grant_counts(tenant_id, [user_id]).get(user_id, 0))


def _membership(tenant_id: str, user_id: str, *, lock: bool = False) -> Membership:
    query = select(Membership).join(User, User.id == Membership.user_id)
    query = query.where(Membership.tenant_id == tenant_id, User.id == user_id, User.service_tenant_id.is_(None))
    if lock:
        query = query.with_for_update(of=Membership).execution_options(populate_existing=True)
    row = db.session.scalar(query)
    if row is None:
        raise NotFound(_m("There is no such member in this organisation."))
    return row


def _member_named(tenant_id: str, name: str, path: str = "member") -> User:
    """By name or id. Whoever is no member is told apart from nobody at all in no way."""
    exact = ((User.id == name).desc(), (User.name == name).desc())
    query = select(User).join(Membership, Membership.user_id == User.id).order_by(*exact)
    found = db.session.scalar(query.where(Membership.tenant_id == tenant_id, or_(User.id == name, is_named(name))).limit(1))
    if found is None:
        raise Invalid.field(path, _m("There is no member named %(name)s in this organisation.", name=repr(name)), "unknown")
    return found


def create(portal: Portal, actor: Actor, tenant_id: str, name: str, role: str, *, display_name: str = "") -> NewMember:
    """A new account as member of this tenant, with a password that has to be changed at the first sign-in."""
    password = secrets.token_urlsafe(12)
    with transaction():
        tenant = tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
        check_givable(portal, actor, tenant_id, role, Scope(tenant_id))
        if len(display_name.strip()) > 200:
            raise Invalid.field("display_name", _m("A name may have 200 characters at most."))
        if errors := check_title(display_name.strip(), "display_name"):
            raise Invalid(errors[0].message, errors=errors)
        identity.check_name(name)
        if taken_by(name) is not None:
            remedy = _m("Choose another name, or make an invitation if this person has an account already.")
            raise Invalid.field("name", _m("The name %(name)s cannot be used. %(remedy)s", name=name, remedy=remedy), "taken")
        user = identity.create_user(portal, actor, name, password, role=role, tenant=tenant, must_change=True)
        user.display_name = display_name.strip()
        _record(
            portal,
            actor,
            tenant_id,
            "member.added",
            _m("%(name)s joined with the role %(role)s.", name=user.name, role=role),
            user.id,
            role=role,
        )
    return NewMember(user, password)


def add(portal: Portal, actor: Actor, tenant_id: str, name: str, role: str) -> Member:
    """An account that exists already, by its name. Only for those who manage all accounts: others make an invitation."""
    access.require(actor, USER_MANAGE, Scope())
    with transaction():
        tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
        check_givable(portal, actor, tenant_id, role, Scope(tenant_id))
        known = db.session.get(User, name)
        user = known if known is not None and known.service_tenant_id is None else person(name)
        if user is None:
            raise Invalid.field("name", _m("There is no account named %(name)s.", name=repr(name)), "unknown")
        _join(portal, actor, tenant_id, user, role)
    return get(actor, tenant_id, user.id)


def _join(portal: Portal, actor: Actor, tenant_id: str, user: User, role: str) -> None:
    known = select(Membership.id).where(Membership.tenant_id == tenant_id, Membership.user_id == user.id)
    if db.session.scalar(known) is not None:
        raise Conflict(_m("%(name)s is a member of this organisation already.", name=user.name))
    db.session.add(Membership(user_id=user.id, tenant_id=tenant_id, role=role))
    _record(
        portal,
        actor,
        tenant_id,
        "member.added",
        _m("%(name)s joined with the role %(role)s.", name=user.name, role=role),
        user.id,
        role=role,
    )


def change_role(portal: Portal, actor: Actor, tenant_id: str, user_id: str, role: str) -> Member:
    with transaction():
        tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
        row = _membership(tenant_id, user_id, lock=True)
        check_takable(portal, actor, tenant_id, row.role, Scope(tenant_id))
        check_givable(portal, actor, tenant_id, role, Scope(tenant_id))
        before, row.role = row.role, role
        row.source, row.source_group, row.source_title = "", "", ""  # by hand from now on: no group changes it any more
        user = db.session.get_one(User, user_id)
        _record(
            portal,
            actor,
            tenant_id,
            "member.changed",
            _m("%(name)s has the role %(role)s now, it was %(before)s.", name=user.name, role=role, before=before),
            user_id,
            before=before,
            after=role,
        )
    return get(actor, tenant_id, user_id) if actor.allows(MEMBER_READ, Scope(tenant_id)) else _member(row, user, 0)


def remove(portal: Portal, actor: Actor, tenant_id: str, user_id: str) -> None:
    """Out of the tenant, with every grant inside it. Everybody may leave by themselves."""
    with transaction():
        leaving = user_id == actor.id
        if not leaving:
            access.get_or_404(Tenant, tenant_id, actor, MEMBER_MANAGE, lock=True)
        row = _membership(tenant_id, user_id, lock=True)
        if not leaving:
            check_takable(portal, actor, tenant_id, row.role, Scope(tenant_id))
        user = db.session.get_one(User, user_id)
        db.session.execute(delete(RoleGrant).where(RoleGrant.tenant_id == tenant_id, RoleGrant.user_id == user_id))
        db.session.execute(delete(Invitation).where(Invitation.tenant_id == tenant_id, Invitation.created_by_id == user_id))
        db.session.delete(row)
        words = _m("%(name)s left.", name=user.name) if leaving else _m("%(name)s was removed.", name=user.name)
        _record(portal, actor, tenant_id, "member.removed", words, user_id, before=row.role)


def _record(portal: Portal, actor: Actor, tenant_id: str, kind: str, message: str, user_id: str = "", **data: Any) -> None:
    if user_id:
        data["user_id"] = user_id
    event_log.record(portal, kind, actor=actor, tenant_id=tenant_id, message=message, data=data)


# ---- roles


def roles(portal: Portal, actor: Actor, tenant_id: str) -> list[RoleInfo]:
    """The roles that can be given in a tenant: built-in ones, then its own."""
    tenant_for(actor, tenant_id, TENANT_READ)
    query = select(Membership.role, func.count()).where(Membership.tenant_id == tenant_id).group_by(Membership.role)
    counts = {row[0]: row[1] for row in db.session.execute(query)}
    scope = Scope(tenant_id)

    def info(name: str, words: str, held: PermissionSet, role_id: str = "", absent: tuple[str, ...] = ()) -> RoleInfo:
        permissions = known.enumerate(held)
        givable = all(actor.allows(p, scope) for p in (*permissions, *map(Permission, absent)) if p != SELF)
        return RoleInfo(name, words, permissions, not role_id, counts.get(name, 0), role_id, givable, absent)

    known = portal.permissions
    built_in = [info(name, ROLE_WORDS[name], known.roles[name]) for name in ROLE_WORDS if name not in PORTAL_ROLES]
    own = db.session.scalars(select(CustomRole).where(CustomRole.tenant_id == tenant_id).order_by(CustomRole.name))
    return built_in + [
        info(row.name, row.description, known.custom(row.permissions), row.id, known.absent(row.permissions)) for row in own
    ]


def create_role(
    portal: Portal, actor: Actor, tenant_id: str, name: str, permissions: Iterable[str], description: str = ""
) -> CustomRole:
    with transaction():
        tenant_for(actor, tenant_id, ROLE_MANAGE, lock=True)
        if not _ROLE_NAME.fullmatch(name):
            raise Invalid.field(
                "name", _m("A role's name has 2 to 40 small letters, digits or dashes, and begins with a letter.")
            )
        if name in ROLE_WORDS or grants.custom_role(tenant_id, name):
            raise Invalid.field("name", _m("There is already a role named %(name)s. Choose another name.", name=name), "taken")
        row = CustomRole(tenant_id=tenant_id, name=name, **_role_content(portal, actor, tenant_id, permissions, description))
        db.session.add(row)
        db.session.flush()
        _record(portal, actor, tenant_id, "role.created", _m("The role %(name)s was made.", name=name), after=row.permissions)
    return row


def _role_content(
    portal: Portal, actor: Actor, tenant_id: str, permissions: Iterable[str], description: str, kept: Collection[str] = ()
) -> dict[str, Any]:
    """What is stored of a role. `kept`: permissions of absent plugins in it, which stay whatever is wanted."""
    wanted = [name for name in dict.fromkeys(permissions) if name not in kept]
    known = {str(permission): permission for permission in portal.permissions.givable}
    errors = [
        FieldError(
            "permissions", _m("%(name)s is not a right that a role of an organisation can have.", name=repr(name)), "unknown"
        )
        for name in wanted
        if name not in known
    ]
    if not wanted and not kept:
        errors.append(FieldError("permissions", _m("Choose at least one right."), "missing"))
    if len(description.strip()) > 200:
        errors.append(FieldError("description", _m("A description may have 200 characters at most.")))
    if errors:
        raise Invalid(joined((error.message for error in errors[:3]), "; "), errors=errors)
    _require_all(actor, [known[name] for name in wanted], Scope(tenant_id), "put")
    return {"permissions": sorted([*wanted, *kept]), "description": description.strip()}


def _own_role(tenant_id: str, role_id: str) -> CustomRole:
    query = select(CustomRole).where(CustomRole.tenant_id == tenant_id, CustomRole.id == role_id)
    row = db.session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if row is None:
        raise NotFound(_m("There is no such role in this organisation."))
    return row


def change_permissions(
    portal: Portal, actor: Actor, tenant_id: str, role_id: str, permissions: Iterable[str], description: str
) -> CustomRole:
    """Of a role that the tenant made; whoever has it has the new rights from the next request on."""
    with transaction():
        tenant_for(actor, tenant_id, ROLE_MANAGE, lock=True)
        row = _own_role(tenant_id, role_id)
        check_takable(portal, actor, tenant_id, row.name, Scope(tenant_id))
        before = row.permissions
        kept = portal.permissions.absent(before)
        content = _role_content(portal, actor, tenant_id, permissions, description, kept)
        row.permissions, row.description = content["permissions"], content["description"]
        message = _m("The role %(name)s was changed.", name=row.name)
        _record(portal, actor, tenant_id, "role.changed", message, before=before, after=row.permissions)
    return row


def delete_role(portal: Portal, actor: Actor, tenant_id: str, role_id: str) -> None:
    with transaction():
        tenant_for(actor, tenant_id, ROLE_MANAGE, lock=True)
        row = _own_role(tenant_id, role_id)
        check_takable(portal, actor, tenant_id, row.name, Scope(tenant_id))
        used = sum(
            db.session.scalar(
                select(func.count()).select_from(model).where(model.tenant_id == tenant_id, model.role == row.name)
            ) or 0
            for model in (Membership, RoleGrant, Invitation)
        )  # fmt: skip
        used += sum(target(tenant_id, row.name) for target in portal.registry.targets(ROLE_USES))
        if used:
            raise Conflict(
                _m(
                    "The role %(name)s is in use %(used)s times. Give those who have it another role first.",
                    name=row.name,
                    used=used,
                )
            )
        db.session.delete(row)
        _record(
            portal, actor, tenant_id, "role.deleted", _m("The role %(name)s was deleted.", name=row.name), before=row.permissions
        )


# ---- roles on single projects and instances


def give(
    portal: Portal, actor: Actor, who: str, role: str, *, project_id: str | None = None, instance_id: str | None = None
) -> Given:
    """A role on one project or one instance for a member of the same tenant; one that they have there already is replaced."""
    if (project_id is None) == (instance_id is None):
        raise Invalid.field("project", _m("Name either a project or an instance."), "missing")
    with transaction():
        place, scope = _place(actor, project_id, instance_id)
        tenant_id = place.tenant_id
        # as the tenant's row is locked, the membership cannot end meanwhile
        db.session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update())
        if role == "guest":
            raise Invalid.field("role", _m("A guest has no rights, so there is nothing to give. Choose another role."))
        check_givable(portal, actor, tenant_id, role, scope)
        user = _member_named(tenant_id, who)
        row = db.session.scalar(
            select(RoleGrant)
            .where(RoleGrant.user_id == user.id, RoleGrant.project_id == project_id, RoleGrant.instance_id == instance_id)
            .with_for_update()
        )
        if row is None:
            row = RoleGrant(tenant_id=tenant_id, user_id=user.id, project_id=project_id, instance_id=instance_id, role=role)
            db.session.add(row)
        else:
            check_takable(portal, actor, tenant_id, row.role, scope)
        row.role, row.created_by, row.created_at = role, actor.name, clock.now()
        row.source, row.source_group = "", ""
        db.session.flush()
        _tell_grant(
            portal,
            actor,
            "grant.given",
            _m("%(name)s has the role %(role)s on %(place)s now.", name=user.name, role=role, place=place.name),
            row,
            place,
        )
    return Given(row.id, user.id, user.name, role, project_id, instance_id, place.name, row.created_by, row.created_at)


def _place(actor: Actor, project_id: str | None, instance_id: str | None) -> tuple[Project | Instance, Scope]:
    """Where a role is to hold, if the actor may give roles there."""
    if project_id is not None:
        project = access.get_or_404(Project, project_id, actor, MEMBER_MANAGE)
        return project, access.scope_of(project)
    instance = access.get_or_404(Instance, instance_id or "", actor, INSTANCE_READ)
    scope = access.scope_of(instance)
    if not actor.allows(MEMBER_MANAGE, scope):
        access.require(actor, INSTANCE_SHARE, scope)
    if instance.destroyed_at is not None:
        raise NotFound(_m("There is no instance with this id, or it is not yours."))
    return instance, scope


def _tell_grant(portal: Portal, actor: Actor, kind: str, message: str, row: RoleGrant, place: Project | Instance) -> None:
    data = {"user_id": row.user_id, "role": row.role, "project_id": row.project_id, "grant_id": row.id}
    if isinstance(place, Instance):
        event_log.record(portal, kind, actor=actor, instance=place, message=message, data=data)
    else:
        event_log.record(portal, kind, actor=actor, tenant_id=row.tenant_id, message=message, data=data)


def take(portal: Portal, actor: Actor, grant_id: str) -> None:
    """End a role on a project or instance. One's own can always be given up."""
    with transaction():
        row = db.session.get(RoleGrant, grant_id, with_for_update=True)
        missing = NotFound(_m("There is no such grant, or it is not yours."))
        if row is None:
            raise missing
        place: Any
        if row.user_id == actor.id:
            place = db.session.get(Project, row.project_id) if row.project_id else db.session.get(Instance, row.instance_id)
        else:
            try:
                place, scope = _place(actor, row.project_id, row.instance_id)
            except NotFound as error:
                raise missing from error
            check_takable(portal, actor, row.tenant_id, row.role, scope)
        user = db.session.get_one(User, row.user_id)
        db.session.delete(row)
        _tell_grant(
            portal,
            actor,
            "grant.taken",
            _m("%(name)s lost the role %(role)s on %(place)s.", name=user.name, role=row.role, place=place.name),
            row,
            place,
        )


def given(actor: Actor, tenant_id: str) -> list[Given]:
    """All roles on single projects and instances of a tenant."""
    tenant_for(actor, tenant_id, MEMBER_READ)
    return _given(RoleGrant.tenant_id == tenant_id)


def shares(actor: Actor, instance_id: str) -> list[Given]:
    """With whom an instance is shared."""
    access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
    return _given(RoleGrant.instance_id == instance_id)


def _given(where: ColumnElement[bool]) -> list[Given]:
    query = (
        select(RoleGrant, User.name, func.coalesce(Project.name, Instance.name))
        .join(User, User.id == RoleGrant.user_id)
        .outerjoin(Project, Project.id == RoleGrant.project_id)
        .outerjoin(Instance, Instance.id == RoleGrant.instance_id)
        .where(where, or_(RoleGrant.instance_id.is_(None), Instance.destroyed_at.is_(None)))
        .order_by(User.name, RoleGrant.id)
    )
    return [
        Given(
            row.id, row.user_id, user, row.role, row.project_id, row.instance_id, place, row.created_by, row.created_at,
            row.source_group,
        )
        for row, user, place in db.session.execute(query)
    ]  # fmt: skip


# ---- who can do what here, and why


def rights(portal: Portal, actor: Actor, tenant_id: str) -> list[Right]:
    """Every reason why anybody may do anything in a tenant: one per person and grant. Three statements."""
    tenant_for(actor, tenant_id, MEMBER_READ)
    query = (
        select(
            User.id, User.name, Membership.role, Membership.tenant_id, CustomRole.permissions, Membership.source_group,
            Membership.source_title,
        )
        .join(Membership, Membership.user_id == User.id)
        .outerjoin(CustomRole, (CustomRole.tenant_id == Membership.tenant_id) & (CustomRole.name == Membership.role))
        .where(User.active, or_(Membership.tenant_id == tenant_id, Membership.tenant_id.is_(None)))
        .order_by(User.name)
    )  # fmt: skip
    found = [
        Right(
            user_id, name, role, _meaning(portal, role, custom), "member" if inside else "portal", group=group, provider=provider,
        )
        for user_id, name, role, inside, custom, group, provider in db.session.execute(query)
    ]  # fmt: skip
    own = _custom(tenant_id)
    found += [
        Right(
            row.user_id, row.user, row.role, _meaning(portal, row.role, own.get(row.role)),
            "project" if row.project_id else "instance", row.place, row.created_by, row.group,
            row.created_by if row.group else "",
        )
        for row in _given(RoleGrant.tenant_id == tenant_id)
    ]  # fmt: skip
    return sorted(found, key=lambda right: (right.user, _REACH.index(right.kind), right.place))


_REACH = ("portal", "member", "project", "instance")
"""How far a right reaches, farthest first."""


def _meaning(portal: Portal, role: str, custom: Sequence[str] | None) -> PermissionSet:
    return portal.permissions.meaning(role, custom) or frozenset()


def _custom(tenant_id: str) -> Mapping[str, Sequence[str]]:
    query = select(CustomRole.name, CustomRole.permissions).where(CustomRole.tenant_id == tenant_id)
    return {row[0]: row[1] for row in db.session.execute(query)}


# ---- invitations


def invitations(actor: Actor, tenant_id: str) -> list[Invitation]:
    tenant_for(actor, tenant_id, MEMBER_READ)
    query = select(Invitation).where(Invitation.tenant_id == tenant_id, Invitation.expires_at > clock.now())
    return list(db.session.scalars(query.order_by(Invitation.created_at.desc(), Invitation.id.desc())))


def invite(portal: Portal, actor: Actor, tenant_id: str, role: str, *, note: str = "", days: int = 7) -> NewInvitation:
    """A link for one person, with or without account. Nobody has to be named, so nobody learns which accounts exist."""
    if not 1 <= days <= 90:
        raise Invalid.field("days", _m("An invitation is good for 1 to 90 days."))
    if len(note.strip()) > 200:
        raise Invalid.field("note", _m("A note may have 200 characters at most."))
    text = INVITATION_PREFIX + secrets.token_urlsafe(24)
    with transaction():
        tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
        check_givable(portal, actor, tenant_id, role, Scope(tenant_id))
        row = Invitation(
            tenant_id=tenant_id, role=role, note=note.strip(), token_hash=_digest(text), created_by_id=actor.id,
            created_by=actor.name, expires_at=clock.now() + timedelta(days=days),
        )  # fmt: skip
        db.session.add(row)
        db.session.flush()
        _record(
            portal,
            actor,
            tenant_id,
            "invitation.created",
            _m("An invitation with the role %(role)s was made.", role=role),
            role=role,
        )
    return NewInvitation(row, text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def withdraw(portal: Portal, actor: Actor, tenant_id: str, invitation_id: str) -> None:
    with transaction():
        tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
        row = db.session.scalar(select(Invitation).where(Invitation.tenant_id == tenant_id, Invitation.id == invitation_id))
        if row is None:
            raise NotFound(_m("There is no such invitation. It may have been used already."))
        check_takable(portal, actor, tenant_id, row.role, Scope(tenant_id))
        db.session.delete(row)
        _record(
            portal,
            actor,
            tenant_id,
            "invitation.withdrawn",
            _m("An invitation with the role %(role)s was withdrawn.", role=row.role),
        )


@dataclass(frozen=True)
class Offer:
    """What an invitation offers to whoever holds its link."""

    tenant_id: str
    tenant: str
    role: str
    by: str
    expires_at: datetime


_INVALID = _m("This invitation was used, withdrawn or has ended. Ask for a new one.")


def look_at(portal: Portal, text: str) -> Offer:
    row, tenant = _open_invitation(portal, text)
    return Offer(tenant.id, tenant.title or tenant.name, row.role, row.created_by, row.expires_at)


def _open_invitation(portal: Portal, text: str, *, lock: bool = False) -> tuple[Invitation, Tenant]:
    """An invitation that still holds: whoever made it could give its role today."""
    query = select(Invitation).where(Invitation.token_hash == _digest(text), Invitation.expires_at > clock.now())
    row = db.session.scalar(query.with_for_update() if lock else query)
    maker = db.session.get(User, row.created_by_id) if row else None
    if row is None or maker is None or not maker.active:
        raise NotFound(_INVALID)
    tenant = db.session.get_one(Tenant, row.tenant_id)
    by = identity.actor_of(portal, maker)
    try:
        access.require(by, MEMBER_MANAGE, Scope(tenant.id))
        check_givable(portal, by, tenant.id, row.role, Scope(tenant.id))
    except (Forbidden, Invalid) as error:
        raise NotFound(_INVALID) from error
    if tenant.deleting_at is not None:
        raise NotFound(_INVALID)
    return row, tenant


def accept(portal: Portal, actor: Actor, text: str) -> Tenant:
    """Join with the account that one has."""
    if actor.kind != "user":
        raise Forbidden(_m("A token cannot accept an invitation. Sign in with your password instead."))
    with transaction():
        row, tenant = _open_invitation(portal, text, lock=True)
        _join(portal, actor, tenant.id, db.session.get_one(User, actor.id), row.role)
        db.session.delete(row)
    return tenant


def register(portal: Portal, text: str, name: str, password: str) -> User:
    """Join with a new account."""
    with transaction():
        row, tenant = _open_invitation(portal, text, lock=True)
        by = Actor(name, name)
        user = identity.create_user(portal, by, name, password, role=row.role, tenant=tenant)
        _record(
            portal,
            by,
            tenant.id,
            "member.added",
            _m("%(name)s joined with the role %(role)s.", name=user.name, role=row.role),
            user.id,
            role=row.role,
        )
        db.session.delete(row)
    return user
