"""People and tokens: the first start, signing in, passwords, API tokens, and which grants somebody has."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import bindparam, func, select

from clawportal import clock
from clawportal.contracts.permissions import PORTAL_ROLES, ROLE_WORDS, SYSTEM, Actor, Grant, without_second_factor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from clawportal.ids import looks_like_id
from clawportal.messages import _m
from clawportal.models import ApiToken, Membership, Tenant, User
from clawportal.services.events import event_log
from clawportal.services.identity import names
from clawportal.services.rights import grants, token_limits
from clawportal.services.rights.token_limits import NO_LIMITS, Limits

TOKEN_PREFIX = "clp_"
MIN_PASSWORD = 10
NO_PASSWORD = ""
"""In the place of a hash: only another way of signing in lets this account in."""
_TOUCH_EVERY = timedelta(minutes=1)

# 19 MiB and two passes are the OWASP figures; about 30 ms, which is what a sign-in may cost
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_NOBODY = "$argon2id$v=19$m={0.memory_cost},t={0.time_cost},p={0.parallelism}${1}${2}".format(
    _hasher, *(base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
)
"""No password has this hash, and finding that out takes as long as with any other."""


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
    portal: Portal, actor: Actor, name: str, password: str, *, role: str, tenant: Tenant | None = None, must_change: bool = False,
    hashed: bool = False,
) -> User:  # fmt: skip
    """A new person with one role; `portal-admin` holds everywhere and needs no tenant. `hashed`: `password` is a hash."""
    check_name(name)
    check_hash(password) if hashed else check_password(password, "password")
    _check_role(role, tenant)
    with transaction():
        # Admin beside admin would be one person for everybody who reads
        if (known := names.taken_by(name)) is not None:
            message = _m("There is already a user named %(name)s.", name=repr(name))
            if known != name:
                message = _m("There is already a user named %(known)s, which reads the same.", known=repr(known))
            raise Invalid.field("name", message, "taken")
        user = User(name=name, password_hash=password if hashed else _hasher.hash(password), must_change_password=must_change)
        db.session.add(user)
        db.session.flush()
        db.session.add(Membership(user_id=user.id, tenant_id=tenant.id if tenant else None, role=role))
        event_log.record(
            portal,
            "user.created",
            actor=actor,
            message=_m("User %(name)s was created with the role %(role)s.", name=name, role=role),
        )
    return user


def check_name(name: str) -> None:
    names.check(name)
    if not (2 <= len(name) <= 100 and all(letter.isalnum() or letter in "._-@" for letter in name)):
        raise Invalid.field("name", _m("A user name has 2 to 100 letters, digits, or any of . _ - @"))
    if unicodedata.normalize("NFKC", name) != name:
        raise Invalid.field("name", _m("A user name has letters and digits in their usual form only."))
    if looks_like_id(name):
        # whoever names a person by id must never meet another one by name
        raise Invalid.field("name", _m("This looks like an id. Choose another user name."))


def _check_role(role: str, tenant: Tenant | None) -> None:
    if role not in ROLE_WORDS and (tenant is None or grants.custom_role(tenant.id, role) is None):
        raise Invalid.field(
            "role", _m("There is no role %(role)s. Known: %(join)s.", role=repr(role), join=[*ROLE_WORDS]), "unknown"
        )
    if role in PORTAL_ROLES and tenant is not None:
        raise Invalid.field("role", _m("The role %(role)s holds in the whole portal, not in one organisation.", role=role))
    if role not in PORTAL_ROLES and tenant is None:
        raise Invalid.field("tenant", _m("The role %(role)s holds inside an organisation; name one.", role=role), "missing")


def check_password(password: str, path: str) -> None:
    if len(password) < MIN_PASSWORD:
        raise Invalid.field(
            path,
            _m(
                "A password needs at least %(MIN_PASSWORD)s characters; a few words in a row are good.", MIN_PASSWORD=MIN_PASSWORD
            ),
        )
    if len(password) > 1000:
        raise Invalid.field(path, _m("A password may have 1,000 characters at most."))


def authenticate(portal: Portal, name: str, password: str) -> User:
    """The user, or Unauthenticated. Takes as long for a name that does not exist as for a wrong password."""
    user = names.person(name)
    known = user.password_hash if user is not None and user.active and user.password_hash != NO_PASSWORD else _NOBODY
    if not _matches(known, password) or user is None or known is _NOBODY:
        raise Unauthenticated(_m("The name or the password is wrong."))
    with transaction():
        user.last_login_at = clock.now()
        if _is_bcrypt(known) or _hasher.check_needs_rehash(known):
            user.password_hash = _hasher.hash(password)
    return user


def _matches(known: str, password: str) -> bool:
    if _is_bcrypt(known):
        return _matches_bcrypt(known, password)
    try:
        return _hasher.verify(known, password)
    except (VerifyMismatchError, InvalidHashError):
        return False


def _is_bcrypt(known: str) -> bool:
    return known.startswith(("$2a$", "$2b$", "$2y$"))


def _matches_bcrypt(known: str, password: str) -> bool:
    """Hashes of other systems; they say nothing about what comes after the 72nd byte, so longer passwords do not fit."""
    import bcrypt

    typed = password.encode()
    try:
        return bcrypt.checkpw(typed[:72], known.encode()) and len(typed) <= 72 and b"\0" not in typed
    except ValueError:
        return False


def check_hash(known: str) -> None:
    """A password hash of another system, as it can be taken over: bcrypt or argon2id."""
    good = re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", known) is not None
    if not good and known.startswith("$argon2id$"):
        try:
            good = extract_parameters(known).type is Type.ID
        except InvalidHashError:
            good = False
    if not good:
        raise Invalid.field("password_hash", _m("This is not a hash of bcrypt ($2b$...) or argon2id ($argon2id$...)."))


def set_password(
    portal: Portal, actor: Actor, user_id: str, new: str, *, old: str | None = None, end_tokens: bool = False
) -> User:
    """A new password; all sessions of the user end, and API tokens where that is wanted. `old`: asked of people themselves."""
    check_password(new, "new_password")
    with transaction():
        user = db.session.get(User, user_id)
        if user is None or user.service_tenant_id is not None:
            raise NotFound(_m("There is no such user."))
        if old is not None:
            verify_own(user, old, "old_password")
        check_not_given(user, new, "new_password")
        user.password_hash = _hasher.hash(new)
        user.session_epoch += 1
        user.must_change_password = False
        event_log.record(
            portal, "user.password_changed", actor=actor, message=_m("The password of %(name)s was changed.", name=user.name)
        )
        if end_tokens:
            end_all_tokens(portal, actor, user)
    return user


def end_all_tokens(portal: Portal, actor: Actor, user: User) -> int:
    """Revoke every API token of somebody; how many there were."""
    with transaction():
        rows = list_tokens(user.id)
        for row in rows:
            row.revoked_at = clock.now()
        if rows:
            message = _m("All API tokens of %(name)s were revoked: %(len)s.", name=user.name, len=len(rows))
            event_log.record(portal, "token.revoked", actor=actor, tenant_id=_home(user.id), message=message, level="warning")
    return len(rows)


def check_not_given(user: User, new: str, path: str) -> None:
    """A password that somebody else made is not chosen again: they know it."""
    if user.must_change_password and _matches(user.password_hash, new):
        raise Invalid.field(path, _m("Choose a password that nobody else knows: this one was given to you."))


def verify_own(user: User, password: str, path: str) -> None:
    """Ask for the password again before something that weakens the account; `path` is the field it was typed into."""
    if not _matches(user.password_hash, password):
        raise Invalid.field(path, _m("This is not your present password."))


def find_user(name: str) -> User:
    """A person; service accounts have neither password nor second factor."""
    user = names.person(name)
    if user is None:
        raise NotFound(_m("There is no user named %(name)s.", name=repr(name)))
    return user


def set_preferences(user_id: str, *, language: str | None = None, theme: str | None = None) -> None:
    with transaction():
        user = db.session.get(User, user_id)
        if user is not None:
            user.language = user.language if language is None else language
            user.theme = user.theme if theme is None else theme


def actor_of(portal: Portal, user: User, token_id: str | None = None) -> Actor:
    """The user with all grants: those from memberships and those that plugins add.

    What a tenant keeps back from people without a second factor is withheld. Programs have none, and need none.
    """
    db.session.info["actor_row"] = user  # held for the rest of the request: the identity map alone would let it go
    found, asking = grants.of_user(portal.permissions, user.id)
    found.extend(_granted_by_plugins(portal, user.id))
    kind = "service" if user.service_tenant_id else "token" if token_id else "user"
    given = user.must_change_password
    actor = Actor(user.id, user.name, kind, tuple(found), user.language, user.theme, token_id, password_given=given)
    return without_second_factor(actor, asking) if asking and kind != "service" else actor


def actor_by_id(portal: Portal, user_id: str) -> Actor | None:
    """Somebody who is not here, for what was left to be done in their name; None once the account is closed or gone."""
    user = db.session.get(User, user_id)
    return actor_of(portal, user) if user is not None and user.active else None


def _granted_by_plugins(portal: Portal, user_id: str) -> list[Grant]:
    """Grants add up, so a plugin that fails takes away only its own, and locks nobody out."""
    return portal.registry.items("actor_grants", actor_id=user_id)


def create_token(
    portal: Portal, actor: Actor, user_id: str, name: str, days: int | None, *, limits: Limits = NO_LIMITS,
    owner: Actor | None = None,
) -> NewToken:  # fmt: skip
    """A token that acts as `user_id`; `days` None means that it does not expire. `owner`: whose it is, if not the maker's."""
    if owner is None and actor.kind == "service":
        raise Forbidden(_m("A service account cannot make tokens. Whoever manages the members makes them."))
    if not 1 <= len(name.strip()) <= 100:
        raise Invalid.field("name", _m("Give the token a name of 1 to 100 characters, such as the machine it is for."), "missing")
    if days is not None and not 1 <= days <= 3650:
        raise Invalid.field("days", _m("A token lives from 1 to 3,650 days."))
    limits = token_limits.checked(portal.permissions, actor, limits, owner)
    expires_at = clock.now() + timedelta(days=days) if days else None
    if owner is None:
        expires_at = token_limits.end_of_own(actor, expires_at)
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        user_id=user_id,
        name=name.strip(),
        prefix=text[:12],
        token_hash=_digest(text),
        expires_at=expires_at,
        scopes=limits.stored_scopes,
        addresses=limits.stored_addresses,
    )
    with transaction():
        db.session.add(row)
        whose = owner or actor
        event_log.record(
            portal, "token.created", actor=actor, tenant_id=_home(user_id),
            message=_m("API token %(name)s was created for %(name2)s.", name=row.name, name2=whose.name),
        )  # fmt: skip
    return NewToken(row, text)


def list_tokens(user_id: str) -> list[ApiToken]:
    query = select(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
    return list(db.session.scalars(query.order_by(ApiToken.created_at.desc())))


def revoke_token(portal: Portal, actor: Actor, user_id: str, token_id: str) -> None:
    if actor.kind == "service" and actor.id == user_id:
        raise Forbidden(_m("A service account cannot revoke tokens. Whoever manages the members does that."))
    with transaction():
        row = db.session.scalar(select(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id))
        if row is None:
            raise NotFound(_m("There is no such token."))
        if row.revoked_at is not None:
            raise Conflict(_m("This token is revoked already."))
        row.revoked_at = clock.now()
        message = _m("API token %(name)s was revoked.", name=row.name)
        event_log.record(portal, "token.revoked", actor=actor, tenant_id=_home(user_id), message=message)


def _home(user_id: str) -> str | None:
    """The tenant whose service account this is; None for people, who may be in many."""
    return db.session.scalar(select(User.service_tenant_id).where(User.id == user_id))


_BY_TOKEN = (
    select(ApiToken, User).join(User, User.id == ApiToken.user_id).where(ApiToken.token_hash == bindparam("token_hash"))
)  # made once: every request of a program begins with it


def actor_from_token(portal: Portal, text: str, address: str = "") -> Actor | None:
    """Whom a bearer token stands for; None for anything unknown, expired, revoked, or used from where it may not be."""
    found = db.session.execute(_BY_TOKEN, {"token_hash": _digest(text)}).one_or_none()
    if found is None:
        return None
    row, user = found
    if not token_valid(row) or not user.active or not token_limits.address_allowed(row.addresses, address):
        return None
    scopes = row.scopes
    _touch(row)
    return token_limits.narrowed(actor_of(portal, user, row.id), scopes)


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
