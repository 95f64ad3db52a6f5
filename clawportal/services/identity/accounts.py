"""All accounts of the portal, for those who manage them: make and close accounts, and say who administers the portal."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select

from clawportal import folding, paging
from clawportal.contracts.core_permissions import MEMBER_MANAGE, USER_MANAGE
from clawportal.contracts.permissions import EVERYWHERE, PORTAL_ROLES, Actor, Scope
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid, NotFound
from clawportal.messages import _m
from clawportal.models import Membership, Tenant, User
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.events import event_log
from clawportal.services.identity import identity, otp
from clawportal.services.rights import access


@dataclass(frozen=True)
class Account:
    id: str
    name: str
    display_name: str
    active: bool
    created_at: datetime
    last_login_at: datetime | None
    portal_role: str
    """Empty for people who only belong to tenants."""
    tenants: Sequence[tuple[str, str, str]]
    """Id, title and role of each tenant that they belong to."""


def _require(actor: Actor) -> None:
    access.require(actor, USER_MANAGE, Scope())


def listing(actor: Actor, *, text: str = "", which: Which = FIRST_PAGE) -> Slice[Account]:
    """One page and the true total; three statements, whatever the number."""
    _require(actor)
    where: list[ColumnElement[bool]] = [User.service_tenant_id.is_(None)]
    if text:
        where.append(User.searched.contains(folding.fold(text), autoescape=True))
    total = db.session.scalar(select(func.count()).select_from(User).where(*where)) or 0
    return paging.page(
        select(User).where(*where), paging.by_name(User), which, about=("accounts", text), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    ).map(_accounts)  # fmt: skip


def get(actor: Actor, user_id: str) -> Account:
    _require(actor)
    return _accounts([_user(user_id)])[0]


def _accounts(users: Sequence[User]) -> list[Account]:
    query = (
        select(Membership.user_id, Membership.role, Tenant.id, Tenant.title, Tenant.name)
        .outerjoin(Tenant, Tenant.id == Membership.tenant_id)
        .where(Membership.user_id.in_([user.id for user in users]))
        .order_by(Tenant.name)
    )
    roles: dict[str, str] = {}
    tenants: dict[str, list[tuple[str, str, str]]] = {}
    for user_id, role, tenant_id, title, name in db.session.execute(query):
        if tenant_id is None:
            roles[user_id] = role
        else:
            tenants.setdefault(user_id, []).append((tenant_id, title or name, role))
    return [
        Account(
            user.id, user.name, user.display_name, user.active, user.created_at, user.last_login_at, roles.get(user.id, ""),
            tuple(tenants.get(user.id, ())),
        )
        for user in users
    ]  # fmt: skip


def _user(user_id: str, *, lock: bool = False) -> User:
    user = db.session.get(User, user_id, with_for_update=True if lock else None)
    if user is None or user.service_tenant_id is not None:  # those of programs are looked after in their organisation
        raise NotFound(_m("There is no account with this id."))
    return user


def create(portal: Portal, actor: Actor, name: str, role: str, tenant_id: str | None = None) -> tuple[User, str]:
    """A new account with a role in one tenant, or over the portal, and a password that has to be changed at once."""
    _require(actor)
    password = secrets.token_urlsafe(12)
    with transaction():
        tenant = access.get_or_404(Tenant, tenant_id, actor, MEMBER_MANAGE, lock=True) if tenant_id else None
        user = identity.create_user(portal, actor, name, password, role=role, tenant=tenant, must_change=True)
        if tenant is not None:
            data = {"user_id": user.id, "role": role}
            message = _m("%(name)s joined with the role %(role)s.", name=user.name, role=role)
            event_log.record(portal, "member.added", actor=actor, tenant_id=tenant.id, message=message, data=data)
    return user, password


def change(portal: Portal, actor: Actor, user_id: str, *, active: bool | None = None, portal_role: str | None = None) -> Account:
    """Both at once or nothing. An account that shall become what it is already stays as it is."""
    with transaction():
        before = get(actor, user_id)
        if portal_role is not None and portal_role != before.portal_role:
            set_portal_role(portal, actor, user_id, portal_role)
        if active is not None and active != before.active:
            set_active(portal, actor, user_id, active)
        db.session.flush()
        return get(actor, user_id)


def set_active(portal: Portal, actor: Actor, user_id: str, active: bool) -> User:
    """Close an account: sessions and tokens end at once. Or open it again."""
    _require(actor)
    with transaction():
        if not active:
            keep_an_admin({user_id})
        user = _user(user_id, lock=True)
        if user.active == active:
            raise Conflict(
                _m("The account of %(name)s is open already.", name=user.name)
                if active
                else _m("The account of %(name)s is closed already.", name=user.name)
            )
        user.active = active
        user.session_epoch += 1
        event_log.record(
            portal,
            "user.opened" if active else "user.closed",
            actor=actor,
            level="info" if active else "warning",
            message=_m("The account of %(name)s was opened again.", name=user.name)
            if active
            else _m("The account of %(name)s was closed.", name=user.name),
            data={"user_id": user.id},
        )
    return user


def set_portal_role(portal: Portal, actor: Actor, user_id: str, role: str) -> User:
    """Make somebody administrator or auditor of the whole portal; an empty role ends it."""
    _require(actor)
    if role and role not in PORTAL_ROLES:
        raise Invalid.field("role", _m("must be one of %(join)s, or empty", join=sorted(PORTAL_ROLES)), "unknown")
    with transaction():
        if role != EVERYWHERE:
            keep_an_admin({user_id})
        user = _user(user_id, lock=True)
        row = db.session.scalar(select(Membership).where(Membership.user_id == user.id, Membership.tenant_id.is_(None)))
        before = row.role if row else ""
        if row is not None and not role:
            db.session.delete(row)
        elif row is not None:
            row.role, row.source, row.source_group, row.source_title = role, "", "", ""  # by hand from now on
        elif role:
            db.session.add(Membership(user_id=user.id, tenant_id=None, role=role))
        message = (
            _m("%(name)s has the role %(role)s in the whole portal now.", name=user.name, role=role)
            if role
            else _m("%(name)s has no role in the whole portal any more.", name=user.name)
        )
        event_log.record(
            portal, "user.role_changed", actor=actor, level="warning", message=message,
            data={"user_id": user.id, "before": before, "after": role},
        )  # fmt: skip
    return user


def end_ways_in(portal: Portal, user: User) -> None:
    """Password, second factor, API tokens and sessions of an account end, inside the transaction in which somebody else than
    whoever made it has proved to be its owner."""
    actor = Actor(user.id, user.name)
    otp.reset(portal, actor, user.name)
    for token in identity.list_tokens(user.id):
        identity.revoke_token(portal, actor, user.id, token.id)
    user.password_hash, user.must_change_password = identity.NO_PASSWORD, False
    user.session_epoch += 1
    message = _m("The password of %(name)s was changed.", name=user.name)
    event_log.record(portal, "user.password_changed", actor=actor, level="warning", message=message)
    db.session.flush()


def keep_an_admin(leaving: Collection[str]) -> None:
    """Somebody must be able to let others in again. All of them are locked, so that two who leave at once cannot both pass."""
    query = (
        select(Membership.user_id)
        .join(User, User.id == Membership.user_id)
        .where(Membership.tenant_id.is_(None), Membership.role == EVERYWHERE, User.active)
        .order_by(Membership.id)
        .with_for_update()
    )
    admins = set(db.session.scalars(query))
    if leaving and admins and admins <= set(leaving):
        raise Conflict(_m("This is the last administrator of the portal. Make somebody else one first."))
