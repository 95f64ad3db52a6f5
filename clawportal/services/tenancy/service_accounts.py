"""Accounts of programs: each belongs to one tenant, has roles like a member, and comes with API tokens only.

Whoever changes one, or makes a token of it, needs every right that it has: it must not be a way to more than one's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, or_, select

from clawportal import clock
from clawportal.contracts.core_permissions import MEMBER_MANAGE, MEMBER_READ
from clawportal.contracts.permissions import SELF, Actor, Permission, Scope
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Forbidden, Invalid, NotFound
from clawportal.messages import _m, joined
from clawportal.models import ApiToken, Membership, RoleGrant, User
from clawportal.services.events import event_log
from clawportal.services.identity import identity
from clawportal.services.identity.identity import NewToken
from clawportal.services.rights.token_limits import NO_LIMITS, Limits
from clawportal.services.tenancy import members

MOST = 200
"""Service accounts of one tenant."""
MOST_TOKENS = 50
"""Tokens of one account that are good."""
_NAME = re.compile(r"^[a-z](?:[a-z0-9-]{0,34}[a-z0-9])?$")


@dataclass(frozen=True)
class ServiceAccount:
    id: str
    name: str
    """As the audit names it: the name of the tenant, a slash, and its own."""
    description: str
    role: str
    active: bool
    created_at: datetime
    grants: int
    """Roles on single projects and instances."""
    tokens: int
    """Those that are good."""
    last_used_at: datetime | None


@dataclass(frozen=True)
class Change:
    """What shall be different; None keeps what is there."""

    role: str | None = None
    description: str | None = None
    active: bool | None = None


# ---- reading


def listing(actor: Actor, tenant_id: str) -> list[ServiceAccount]:
    """All of a tenant, by name; there are never many. Two statements."""
    members.tenant_for(actor, tenant_id, MEMBER_READ)
    return _found(tenant_id)


def get(actor: Actor, tenant_id: str, account_id: str) -> ServiceAccount:
    members.tenant_for(actor, tenant_id, MEMBER_READ)
    return _one(tenant_id, account_id)


def _one(tenant_id: str, account_id: str) -> ServiceAccount:
    found = _found(tenant_id, User.id == account_id)
    if not found:
        raise NotFound(_m("There is no such service account in this organisation."))
    return found[0]


def _found(tenant_id: str, *where: Any) -> list[ServiceAccount]:
    good = (ApiToken.revoked_at.is_(None), or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > clock.now()))
    tokens = select(func.count()).where(ApiToken.user_id == User.id, *good).correlate(User).scalar_subquery()
    used = select(func.max(ApiToken.last_used_at)).where(ApiToken.user_id == User.id).correlate(User).scalar_subquery()
    grants = select(func.count()).where(RoleGrant.user_id == User.id).correlate(User).scalar_subquery()
    query = (
        select(User, Membership.role, grants, tokens, used)
        .join(Membership, Membership.user_id == User.id)
        .where(User.service_tenant_id == tenant_id, Membership.tenant_id == tenant_id, *where)
        .order_by(User.name)
    )
    return [
        ServiceAccount(user.id, user.name, user.display_name, role, user.active, user.created_at, *counted)
        for user, role, *counted in db.session.execute(query)
    ]


def tokens(actor: Actor, tenant_id: str, account_id: str) -> Sequence[ApiToken]:
    """Those that are not revoked, newest first; never their text."""
    return identity.list_tokens(get(actor, tenant_id, account_id).id)


def rights_of(portal: Portal, actor: Actor, tenant_id: str, account_id: str) -> tuple[Permission, ...]:
    """What it may do anywhere in the tenant: what a token of it can be limited to."""
    found = get(actor, tenant_id, account_id)
    as_account = identity.actor_of(portal, db.session.get_one(User, found.id))
    return portal.permissions.enumerate(*(grant.permissions for grant in as_account.grants))


# ---- changing


def create(portal: Portal, actor: Actor, tenant_id: str, name: str, role: str, *, description: str = "") -> ServiceAccount:
    with transaction():
        tenant = members.tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
        if not _NAME.fullmatch(name):
            rule = _m("A name has 1 to 36 small letters, digits or dashes, begins with a letter and ends with a letter or digit.")
            raise Invalid.field("name", rule)
        members.check_givable(portal, actor, tenant_id, role, Scope(tenant_id))
        full = f"{tenant.name}/{name}"
        if db.session.scalar(select(User.id).where(User.name == full)):
            raise Invalid.field(
                "name", _m("There is already a service account named %(name)s. Choose another name.", name=name), "taken"
            )
        if (db.session.scalar(select(func.count()).where(User.service_tenant_id == tenant_id)) or 0) >= MOST:
            raise Conflict(
                _m("An organisation can have %(MOST)s service accounts. Delete those that are not used any more.", MOST=MOST)
            )
        user = User(
            name=full, display_name=_description(description), password_hash=identity.NO_PASSWORD, service_tenant_id=tenant_id
        )
        db.session.add(user)
        db.session.flush()
        db.session.add(Membership(user_id=user.id, tenant_id=tenant_id, role=role))
        _record(
            portal,
            actor,
            user,
            "created",
            message=_m("Service account %(full)s was made with the role %(role)s.", full=full, role=role),
        )
    return _one(tenant_id, user.id)


def _description(text: str) -> str:
    if len(text.strip()) > 200:
        raise Invalid.field("description", _m("A description may have 200 characters at most."))
    return text.strip()


def change(portal: Portal, actor: Actor, tenant_id: str, account_id: str, wanted: Change) -> ServiceAccount:
    """All of it or nothing. One that is switched off keeps its tokens, but none of them is good before it is on again."""
    with transaction():
        user = _changeable(portal, actor, tenant_id, account_id)
        if wanted.role is not None:
            _change_role(portal, actor, tenant_id, user, wanted.role)
        if wanted.description is not None and (words := _description(wanted.description)) != user.display_name:
            user.display_name = words
            _record(portal, actor, user, "changed", message=_m("Service account %(name)s was described anew.", name=user.name))
        if wanted.active is not None and wanted.active != user.active:
            user.active = wanted.active
            _record_switch(portal, actor, user)
    return _one(tenant_id, account_id)


def _record_switch(portal: Portal, actor: Actor, user: User) -> None:
    if user.active:
        _record(portal, actor, user, "enabled", message=_m("Service account %(name)s was switched on.", name=user.name))
    else:
        message = _m("Service account %(name)s was switched off; none of its tokens works any more.", name=user.name)
        _record(portal, actor, user, "disabled", message=message, level="warning")


def _change_role(portal: Portal, actor: Actor, tenant_id: str, user: User, role: str) -> None:
    members.check_givable(portal, actor, tenant_id, role, Scope(tenant_id))
    row = db.session.scalars(select(Membership).where(Membership.tenant_id == tenant_id, Membership.user_id == user.id)).one()
    if row.role != role:
        before, row.role = row.role, role
        message = _m(
            "Service account %(name)s has the role %(role)s now, it was %(before)s.", name=user.name, role=role, before=before
        )
        _record(portal, actor, user, "changed", message=message, before=before, after=role)


def delete(portal: Portal, actor: Actor, tenant_id: str, account_id: str) -> None:
    """With its tokens and all its rights. What it did stays in the audit under its name."""
    with transaction():
        user = _changeable(portal, actor, tenant_id, account_id)
        _record(
            portal, actor, user, "deleted", message=_m("Service account %(name)s was deleted.", name=user.name), level="warning"
        )
        for model in (ApiToken, RoleGrant, Membership):
            db.session.execute(sql_delete(model).where(model.user_id == user.id))
        db.session.delete(user)


def create_token(
    portal: Portal, actor: Actor, tenant_id: str, account_id: str, name: str, days: int | None, *, limits: Limits = NO_LIMITS
) -> NewToken:
    """A token that acts as the account, limited to some of its rights or not."""
    with transaction():
        user = _changeable(portal, actor, tenant_id, account_id)
        if not user.active:
            raise Conflict(_m("%(name)s is switched off. Switch it on first.", name=user.name))
        if len([row for row in identity.list_tokens(user.id) if identity.token_valid(row)]) >= MOST_TOKENS:
            raise Conflict(
                _m(
                    "%(name)s has %(MOST_TOKENS)s tokens already. Revoke those that are not used any more.",
                    name=user.name,
                    MOST_TOKENS=MOST_TOKENS,
                )
            )
        owner = identity.actor_of(portal, user)
        return identity.create_token(portal, actor, user.id, name, days, limits=limits, owner=owner)


def revoke_token(portal: Portal, actor: Actor, tenant_id: str, account_id: str, token_id: str) -> None:
    with transaction():
        user = _changeable(portal, actor, tenant_id, account_id)
        identity.revoke_token(portal, actor, user.id, token_id)


def _changeable(portal: Portal, actor: Actor, tenant_id: str, account_id: str) -> User:
    """The account, locked, if the actor manages members here and could do all that it can do."""
    members.tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
    query = select(User).where(User.id == account_id, User.service_tenant_id == tenant_id)
    user = db.session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if user is None:
        raise NotFound(_m("There is no such service account in this organisation."))
    if actor.id == user.id:
        raise Forbidden(_m("A service account cannot change itself. Whoever manages the members does that."))
    for grant in identity.actor_of(portal, user).grants:
        scope = Scope(grant.tenant_id, grant.project_id, grant.instance_id)
        held = portal.permissions.enumerate(grant.permissions)
        lacking = sorted(p for p in held if p != SELF and not actor.allows(p, scope))
        if lacking:
            words = joined([*(p.description for p in lacking[:3]), *(["..."] if len(lacking) > 3 else [])], "; ")
            raise Forbidden(_m("%(name)s has rights that you do not have here yourself: %(words)s.", name=user.name, words=words))
    return user


def _record(portal: Portal, actor: Actor, user: User, verb: str, *, message: str, level: str = "info", **data: Any) -> None:
    data |= {"service_account_id": user.id, "service_account_name": user.name}
    event_log.record(
        portal, f"service_account.{verb}", actor=actor, tenant_id=user.service_tenant_id, message=message, level=level, data=data
    )
