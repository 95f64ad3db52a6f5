"""People and tokens: the first start, signing in, passwords, API tokens, and which grants somebody has."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import bindparam, func, select

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.errors import Conflict, Invalid, NotFound, Unauthenticated
from clawportal.models import ApiToken, Membership, Tenant, User
from clawportal.permissions import EVERYWHERE, ROLES, SYSTEM, Actor, Grant, role_grants
from clawportal.services import ledger
from clawportal.services.portal import Portal

log = logging.getLogger(__name__)

TOKEN_PREFIX = "clp_"
MIN_PASSWORD = 10
_TOUCH_EVERY = timedelta(minutes=1)

# 19 MiB and two passes are the OWASP figures; about 30 ms, which is what a sign-in may cost
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_NOBODY = _hasher.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True)
class NewToken:
    """A token just made; `text` is shown this once."""

    row: ApiToken
    text: str


def first_start(portal: Portal) -> str | None:
    """Make the first administrator when there is no user at all. Returns the password, which exists nowhere else."""
    with transaction():
        if db.session.scalar(select(func.count()).select_from(User)):
            return None
        password = secrets.token_urlsafe(12)
        create_user(portal, SYSTEM, "admin", password, role="portal-admin", must_change=True)
    return password


def create_user(
    portal: Portal, actor: Actor, name: str, password: str, *, role: str, tenant: Tenant | None = None, must_change: bool = False
) -> User:
    """A new person with one role; `portal-admin` holds everywhere and needs no tenant."""
    _check_name(name)
    check_password(password, "password")
    _check_role(role, tenant)
    with transaction():
        if db.session.scalar(select(User.id).where(User.name == name)):
            raise Invalid.field("name", f"There is already a user named {name!r}.", "taken")
        user = User(name=name, password_hash=_hasher.hash(password), must_change_password=must_change)
        db.session.add(user)
        db.session.flush()
        db.session.add(Membership(user_id=user.id, tenant_id=tenant.id if tenant else None, role=role))
        ledger.record(portal, "user.created", actor=actor, message=f"User {name} was created with the role {role}.")
    return user


def _check_name(name: str) -> None:
    if not (2 <= len(name) <= 100 and all(letter.isalnum() or letter in "._-@" for letter in name)):
        raise Invalid.field("name", "A user name has 2 to 100 letters, digits, or any of . _ - @")


def _check_role(role: str, tenant: Tenant | None) -> None:
    if role not in ROLES:
        raise Invalid.field("role", f"There is no role {role!r}. Known: {', '.join(ROLES)}.", "unknown")
    if role != EVERYWHERE and tenant is None:
        raise Invalid.field("tenant", f"The role {role} holds inside an organisation; name one.", "missing")


def check_password(password: str, path: str) -> None:
    if len(password) < MIN_PASSWORD:
        raise Invalid.field(path, f"A password needs at least {MIN_PASSWORD} characters; a few words in a row are good.")
    if len(password) > 1000:
        raise Invalid.field(path, "A password may have 1,000 characters at most.")


def authenticate(portal: Portal, name: str, password: str) -> User:
    """The user, or Unauthenticated. Takes as long for a name that does not exist as for a wrong password."""
    user = db.session.scalar(select(User).where(User.name == name))
    known = user.password_hash if user is not None and user.active else _NOBODY
    try:
        _hasher.verify(known, password)
    except (VerifyMismatchError, InvalidHashError):
        user = None
    if user is None or known is _NOBODY:
        raise Unauthenticated("The name or the password is wrong.")
    with transaction():
        user.last_login_at = clock.now()
        if _hasher.check_needs_rehash(known):
            user.password_hash = _hasher.hash(password)
    return user


def set_password(portal: Portal, actor: Actor, user_id: str, new: str, *, old: str | None = None) -> User:
    """A new password; all sessions of the user end. `old` is asked for when people change their own."""
    check_password(new, "new_password")
    with transaction():
        user = db.session.get(User, user_id)
        if user is None:
            raise NotFound("There is no such user.")
        if old is not None:
            _verify_old(user, old)
        user.password_hash = _hasher.hash(new)
        user.session_epoch += 1
        user.must_change_password = False
        ledger.record(portal, "user.password_changed", actor=actor, message=f"The password of {user.name} was changed.")
    return user


def _verify_old(user: User, old: str) -> None:
    try:
        _hasher.verify(user.password_hash, old)
    except (VerifyMismatchError, InvalidHashError) as error:
        raise Invalid.field("old_password", "This is not your present password.") from error


def find_user(name: str) -> User:
    user = db.session.scalar(select(User).where(User.name == name))
    if user is None:
        raise NotFound(f"There is no user named {name!r}.")
    return user


def set_preferences(user_id: str, *, language: str | None = None, theme: str | None = None) -> None:
    with transaction():
        user = db.session.get(User, user_id)
        if user is not None:
            user.language = user.language if language is None else language
            user.theme = user.theme if theme is None else theme


def actor_of(portal: Portal, user: User, token_id: str | None = None) -> Actor:
    """The user with all grants: those from memberships and those that plugins add."""
    memberships = db.session.execute(_MEMBERSHIPS, {"user_id": user.id}).all()
    return _actor(portal, user, ((role, tenant_id, name) for role, tenant_id, name in memberships), token_id)


_MEMBERSHIPS = (
    select(Membership.role, Membership.tenant_id, Tenant.name)
    .outerjoin(Tenant, Tenant.id == Membership.tenant_id)
    .where(Membership.user_id == bindparam("user_id"))
)


def _actor(portal: Portal, user: User, memberships: Iterable[tuple[str, str | None, str | None]], token_id: str | None) -> Actor:
    grants: list[Grant] = []
    for role, tenant_id, tenant_name in memberships:
        where = f"in {tenant_name}" if tenant_name else "of the whole portal"
        grants.extend(role_grants(role, tenant_id, f"role {role} {where}"))
    grants.extend(_granted_by_plugins(portal, user.id))
    return Actor(user.id, user.name, "token" if token_id else "user", tuple(grants), user.language, user.theme, token_id)


def _granted_by_plugins(portal: Portal, user_id: str) -> list[Grant]:
    """Grants add up, so a plugin that fails takes away only its own, and locks nobody out."""
    found: list[Grant] = []
    for implementation in portal.registry.hook.actor_grants.get_hookimpls():
        try:
            found += implementation.function(*(user_id for _ in implementation.argnames)) or ()
        except Exception:
            log.exception("plugin %s failed to tell the grants of a user", implementation.plugin_name)
    return found


def actor_from_session(portal: Portal, user_id: str, epoch: int) -> Actor | None:
    user = db.session.get(User, user_id)
    if user is None or not user.active or user.session_epoch != epoch:
        return None
    return actor_of(portal, user)


def create_token(portal: Portal, actor: Actor, user_id: str, name: str, days: int | None) -> NewToken:
    """A token that acts as `user_id`; `days` None means that it does not expire."""
    if not 1 <= len(name.strip()) <= 100:
        raise Invalid.field("name", "Give the token a name of 1 to 100 characters, such as the machine it is for.", "missing")
    if days is not None and not 1 <= days <= 3650:
        raise Invalid.field("days", "A token lives from 1 to 3,650 days.")
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        user_id=user_id,
        name=name.strip(),
        prefix=text[:12],
        token_hash=_digest(text),
        expires_at=clock.now() + timedelta(days=days) if days else None,
    )
    with transaction():
        db.session.add(row)
        ledger.record(portal, "token.created", actor=actor, message=f"API token {row.name} was created for {actor.name}.")
    return NewToken(row, text)


def list_tokens(user_id: str) -> list[ApiToken]:
    query = select(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
    return list(db.session.scalars(query.order_by(ApiToken.created_at.desc())))


def revoke_token(portal: Portal, actor: Actor, user_id: str, token_id: str) -> None:
    with transaction():
        row = db.session.scalar(select(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id))
        if row is None:
            raise NotFound("There is no such token.")
        if row.revoked_at is not None:
            raise Conflict("This token is revoked already.")
        row.revoked_at = clock.now()
        ledger.record(portal, "token.revoked", actor=actor, message=f"API token {row.name} was revoked.")


_BY_TOKEN = (
    select(ApiToken, User, Membership.role, Membership.tenant_id, Tenant.name)
    .join(User, User.id == ApiToken.user_id)
    .outerjoin(Membership, Membership.user_id == User.id)
    .outerjoin(Tenant, Tenant.id == Membership.tenant_id)
    .where(ApiToken.token_hash == bindparam("token_hash"))
)  # made once, and one statement for all: every request of a program begins with it


def actor_from_token(portal: Portal, text: str) -> Actor | None:
    """Whom a bearer token stands for; None for anything unknown, expired or revoked."""
    found = db.session.execute(_BY_TOKEN, {"token_hash": _digest(text)}).all()
    if not found:
        return None
    row, user = found[0][0], found[0][1]
    if not token_valid(row) or not user.active:
        return None
    _touch(row)
    memberships = ((role, tenant_id, name) for _, _, role, tenant_id, name in found if role is not None)
    return _actor(portal, user, memberships, row.id)


def token_valid(row: ApiToken) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > clock.now())


def _touch(row: ApiToken) -> None:
    """Remember the last use, to the minute: a write per request would be too dear."""
    now: datetime = clock.now()
    if row.last_used_at is None or now - row.last_used_at > _TOUCH_EVERY:
        with transaction():
            row.last_used_at = now


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
