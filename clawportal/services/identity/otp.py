"""The second factor: codes of an authenticator app (TOTP), and ten backup codes for the day when the app is lost."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from pyotp import TOTP, random_base32
from sqlalchemy import delete, func, or_, select, update

from clawportal import clock
from clawportal.contracts.permissions import Actor
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid, Unauthenticated
from clawportal.messages import _m
from clawportal.models import BackupCode, Membership, Otp, Tenant, User
from clawportal.services.events import event_log
from clawportal.services.identity import identity, sessions, throttle

STEP = 30
BACKUP_CODES = 10
ISSUER = "clawportal"
_NAMED = 5
"""So many organisations are named at most."""
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_BACKUP_LENGTH = 16
WRONG = _m("The code is wrong, was used already, or is too old. Wait for the next one and try again.")


class OtpRequired(Unauthenticated):
    """The password was right; a code of the authenticator app is needed too. `challenge` proves the first step."""

    title, code = _m("A code of your authenticator app is needed"), "otp_required"

    def __init__(self, challenge: str = "") -> None:
        super().__init__(_m("The password is right. Send the code that your authenticator app shows, or a backup code, too."))
        self.extra = {"challenge": challenge} if challenge else {}


class OtpWrong(Unauthenticated):
    title, code = _m("The code is wrong"), "otp_wrong"


@dataclass(frozen=True)
class Offer:
    """A new secret, to be put into an app; not in force before a code of it was seen."""

    secret: str
    uri: str


@dataclass(frozen=True)
class Status:
    enabled: bool
    enabled_at: datetime | None
    backup_codes_left: int
    required_by: tuple[str, ...] = ()
    """Titles of the organisations of this person that ask for a second factor."""


def status(user_id: str) -> Status:
    row = db.session.get(Otp, user_id)
    required_by = asked_by(user_id)
    if row is None or row.enabled_at is None:
        return Status(False, None, 0, required_by)
    unused = select(func.count()).select_from(BackupCode).where(BackupCode.user_id == user_id, BackupCode.used_at.is_(None))
    return Status(True, row.enabled_at, db.session.scalar(unused) or 0, required_by)


def asked_by(user_id: str) -> tuple[str, ...]:
    """Titles of the tenants that ask this person for a second factor: as a member, or as somebody with rights everywhere."""
    mine = select(Membership.tenant_id).where(Membership.user_id == user_id)
    everywhere = mine.where(Membership.tenant_id.is_(None)).exists()
    query = select(Tenant.title, Tenant.name).where(Tenant.require_totp, or_(Tenant.id.in_(mine), everywhere))
    return tuple(title or name for title, name in db.session.execute(query.order_by(Tenant.name).limit(_NAMED)))


def enabled(user_id: str) -> bool:
    return db.session.scalar(select(Otp.enabled_at).where(Otp.user_id == user_id)) is not None


def generate(portal: Portal, actor: Actor) -> Offer:
    """Offer a secret; a former offer is void. What is in force has to be switched off first."""
    sessions.require_person(actor)
    secret = random_base32(32)
    with transaction():
        row = db.session.get(Otp, actor.id)
        if row is not None and row.enabled_at is not None:
            raise Conflict(_m("Codes are asked for already. Switch that off first to use another app."))
        if row is None:
            row = Otp(user_id=actor.id)
            db.session.add(row)
        row.sealed, row.created_at, row.last_step = portal.keyring.seal(secret, _place(actor.id)), clock.now(), 0
    return _offer(actor.name, secret)


def offered(portal: Portal, actor: Actor) -> Offer | None:
    """The offer that is not in force yet, for showing it again."""
    row = db.session.get(Otp, actor.id)
    if row is None or row.enabled_at is not None:
        return None
    return _offer(actor.name, portal.keyring.open(row.sealed, _place(actor.id)))


def _offer(name: str, secret: str) -> Offer:
    return Offer(secret, TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER))


def _place(user_id: str) -> str:
    return f"user:{user_id}/otp"


def enable(portal: Portal, actor: Actor, code: str, address: str) -> list[str]:
    """Put the offered secret in force, once a code proves that the app has it. Returns backup codes, which exist nowhere else."""
    sessions.require_person(actor)
    with _tries(portal, actor, address), transaction():
        row = db.session.get(Otp, actor.id)
        if row is None:
            raise Conflict(_m("Nothing was offered yet. Begin with a new secret."))
        if row.enabled_at is not None:
            raise Conflict(_m("Codes are asked for already."))
        if not _take_step(portal, actor.id, code):
            raise Invalid.field("code", WRONG)
        db.session.execute(update(Otp).where(Otp.user_id == actor.id).values(enabled_at=clock.now()))
        words = _m("%(name)s switched on codes of an authenticator app.", name=actor.name)
        event_log.record(portal, "otp.enabled", actor=actor, message=words)
        return _new_backup_codes(actor.id)


def disable(portal: Portal, actor: Actor, password: str, code: str, address: str) -> None:
    """Ask for no more codes. Needs the password and a code: an open browser alone must not weaken the account."""
    sessions.require_person(actor)
    _require_enabled(actor)
    if names := asked_by(actor.id):
        raise Conflict(_m("It cannot be switched off: %(join)s asks everybody for a second factor.", join=[*names]))
    user = db.session.get_one(User, actor.id)
    if user.password_hash != identity.NO_PASSWORD:
        with throttle.guarded(portal, "password", actor.name, address):
            identity.verify_own(user, password, "password")
    with _tries(portal, actor, address), transaction():
        _use(portal, actor.id, code)
        _remove(actor.id)
        event_log.record(
            portal, "otp.disabled", actor=actor, message=_m("%(name)s switched off codes.", name=actor.name), level="warning"
        )


def new_backup_codes(portal: Portal, actor: Actor, code: str, address: str) -> list[str]:
    """Ten new backup codes; the former ones are void."""
    sessions.require_person(actor)
    _require_enabled(actor)
    with _tries(portal, actor, address), transaction():
        _use(portal, actor.id, code)
        event_log.record(portal, "otp.backup_codes", actor=actor, message=_m("%(name)s made new backup codes.", name=actor.name))
        return _new_backup_codes(actor.id)


def reset(portal: Portal, actor: Actor, name: str) -> bool:
    """Take the second factor from somebody who lost app and codes; all their sessions end. False when there was none."""
    user = identity.find_user(name)
    with transaction():
        if not enabled(user.id):
            return False
        _remove(user.id)
        db.session.execute(update(User).where(User.id == user.id).values(session_epoch=User.session_epoch + 1))
        words = _m(
            "The second factor of %(name)s was taken away; the password alone is enough until a new one is set up.", name=name
        )
        event_log.record(portal, "otp.reset", actor=actor, message=words, level="warning")
    return True


def check(portal: Portal, user: User, code: str, address: str) -> None:
    """The second step of signing in; OtpWrong for anything that is not a fresh code or an unused backup code."""
    try:
        with throttle.guarded(portal, "otp", user.name, address), transaction():
            _use(portal, user.id, code)
    except Invalid as problem:
        raise OtpWrong(problem.detail, errors=problem.errors) from problem


@contextmanager
def _tries(portal: Portal, actor: Actor, address: str) -> Iterator[None]:
    with throttle.guarded(portal, "otp", actor.name, address):
        yield


def _require_enabled(actor: Actor) -> None:
    if not enabled(actor.id):
        raise Conflict(_m("Codes are not asked for; there is nothing to switch off."))


def _use(portal: Portal, user_id: str, code: str) -> None:
    """Use up a code of the app or a backup code."""
    typed = "".join(letter for letter in code.upper() if letter.isalnum())
    good = _take_step(portal, user_id, typed) if len(typed) == 6 else _take_backup(user_id, typed)
    if not good:
        raise Invalid.field("code", WRONG)


def _take_step(portal: Portal, user_id: str, code: str) -> bool:
    """Codes of now, of the step before, and of the next one, since clocks differ; a step counts once, and only forwards."""
    row = db.session.get_one(Otp, user_id)
    app, now = TOTP(portal.keyring.open(row.sealed, _place(user_id))), int(clock.now().timestamp()) // STEP
    typed = "".join(code.split())
    fits = [step for step in (now - 1, now, now + 1) if hmac.compare_digest(app.generate_otp(step).encode(), typed.encode())]
    # one statement decides, so that of two requests with the same code only one is let in
    return any(
        changed_rows(update(Otp).where(Otp.user_id == user_id, Otp.last_step < step).values(last_step=step)) for step in fits
    )


def _take_backup(user_id: str, typed: str) -> bool:
    unused = update(BackupCode).where(
        BackupCode.user_id == user_id, BackupCode.code_hash == _hash(user_id, typed), BackupCode.used_at.is_(None)
    )
    return bool(changed_rows(unused.values(used_at=clock.now())))


def _hash(user_id: str, typed: str) -> str:
    """80 random bits need no slow hash; the user's id keeps one guess from fitting many people."""
    return hashlib.sha256(f"{user_id}/{typed}".encode()).hexdigest()


def _new_backup_codes(user_id: str) -> list[str]:
    db.session.execute(delete(BackupCode).where(BackupCode.user_id == user_id))
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_BACKUP_LENGTH)) for _ in range(BACKUP_CODES)]
    db.session.add_all([BackupCode(user_id=user_id, code_hash=_hash(user_id, code)) for code in codes])
    return ["-".join(code[start : start + 4] for start in range(0, _BACKUP_LENGTH, 4)) for code in codes]


def _remove(user_id: str) -> None:
    db.session.execute(delete(BackupCode).where(BackupCode.user_id == user_id))
    db.session.execute(delete(Otp).where(Otp.user_id == user_id))


def reseal(portal: Portal) -> int:
    """Move every secret to the newest key; returns how many were moved."""
    with transaction():
        stale = [row for row in db.session.scalars(select(Otp)) if not portal.keyring.is_current(row.sealed)]
        for row in stale:
            place = _place(row.user_id)
            row.sealed = portal.keyring.seal(portal.keyring.open(row.sealed, place), place)
    return len(stale)
