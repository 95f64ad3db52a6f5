"""Slows guessing down without letting a guesser lock anybody out.

Wrong tries are counted for name and address together, for the name alone, and for the address alone. Only the first count
holds for an address from which this person has signed in before; the others wait a minute at most, or spare those who are known.
A try is counted before it is made, so that a hundred at once are a hundred. The counts live in the database: all processes see
them, and an administrator can clear them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from clawportal import clock, folding
from clawportal.client_addresses import network_of
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import TooManyRequests
from clawportal.messages import _m
from clawportal.models import KnownAddress, User, WrongTries
from clawportal.services.events import event_log
from clawportal.services.identity import names

FORGET_AFTER = timedelta(hours=1)
KNOWN_FOR = timedelta(days=180)


@dataclass(frozen=True)
class Pace:
    """So many wrong tries are free; each further one doubles the wait, from `first` to `most` seconds."""

    free: int
    first: float
    most: float

    def wait(self, failures: int) -> float:
        return min(self.first * 2.0 ** min(failures - self.free, 30), self.most) if failures >= self.free else 0.0


HERE = Pace(10, 60, 3600)
"""One name from one address: nobody elsewhere is touched, so it may become long."""
NAME = Pace(100, 1, 60)
"""One name from everywhere: slow, since its owner may come from a new address too."""
ADDRESS = Pace(100, 10, 600)
"""One address with many names: passwords that are tried on everybody."""
CODE_HERE = Pace(5, 60, 3600)
"""Codes of six digits: whoever comes so far knows the password."""

_Key = tuple[str, str, str]
_DEVICE = "device:"


@contextmanager
def guarded(portal: Portal, purpose: str, name: str, address: str, *, device: str = "") -> Iterator[None]:
    """Around one try, outside of any transaction. TooManyRequests when it is too early; leaving without error clears it.

    `device`: one from which this person has signed in before; its tries count for themselves.
    """
    keys = _keys(purpose, name, network_of(address)) if not device else {(purpose, subject_of(name), _DEVICE + device): HERE}
    _take(portal, keys, name)
    yield
    _passed(keys)


@contextmanager
def guarded_address(portal: Portal, purpose: str, address: str) -> Iterator[None]:
    """As `guarded`, for a try that names nobody: only the address counts, which many may share."""
    keys = {(purpose, "", network_of(address)): ADDRESS}
    _take(portal, keys, "")
    yield
    _passed(keys)


def _keys(purpose: str, name: str, address: str) -> dict[_Key, Pace]:
    subject = subject_of(name)
    here = {(purpose, subject, address): CODE_HERE if purpose == "otp" else HERE}
    if _known(name, address):
        return here
    return here | {(purpose, subject, ""): NAME, (purpose, "", address): ADDRESS}


def subject_of(name: str) -> str:
    return hashlib.sha256(folding.fold(name).encode("utf-8", "surrogatepass")).hexdigest()


def _known(name: str, address: str) -> bool:
    query = select(KnownAddress.last_at).join(User).where(names.is_named(name), KnownAddress.address == address)
    return db.session.scalar(query) is not None


def _take(portal: Portal, keys: dict[_Key, Pace], name: str) -> None:
    refused: float = 0.0
    with transaction():
        _make_rows(keys)
        now, rows = clock.now(), _rows(keys)
        refused = max(((row.until - now).total_seconds() for row in rows.values() if row.until), default=0.0)
        if refused <= 0:
            for key, pace in keys.items():
                _count(portal, rows[key], pace, now, name)
    if refused > 0:
        seconds = math.ceil(refused)
        words = _m("Too many wrong tries. Wait %(in_words)s, then try again.", in_words=in_words(seconds))
        raise TooManyRequests(words, headers={"Retry-After": str(seconds)})


def _make_rows(keys: dict[_Key, Pace]) -> None:
    """Two at once may both be the first: the database lets one of them make the row, and the other one finds it."""
    make = postgresql.insert if db.engine.dialect.name == "postgresql" else sqlite.insert
    wanted = [
        {"purpose": purpose, "subject": subject, "address": address, "failures": 0, "last_at": clock.now()}
        for purpose, subject, address in sorted(keys)
    ]
    db.session.execute(make(WrongTries).values(wanted).on_conflict_do_nothing())


def _rows(keys: dict[_Key, Pace]) -> dict[_Key, WrongTries]:
    key = (WrongTries.purpose, WrongTries.subject, WrongTries.address)
    query = select(WrongTries).where(tuple_(*key).in_(list(keys))).order_by(*key).with_for_update()
    query = query.execution_options(populate_existing=True)
    return {(row.purpose, row.subject, row.address): row for row in db.session.scalars(query)}


def _count(portal: Portal, row: WrongTries, pace: Pace, now: datetime, name: str) -> None:
    if now - row.last_at > FORGET_AFTER:
        row.failures = 0
    row.failures, row.last_at = row.failures + 1, now
    wait = pace.wait(row.failures)
    row.until = now + timedelta(seconds=wait) if wait else None
    if row.failures == pace.free and row.subject and row.address:
        _tell(portal, name, _m("a device of theirs") if row.address.startswith(_DEVICE) else row.address)


def _tell(portal: Portal, name: str, address: str) -> None:
    """Once for each series, and only of names that exist: what else was typed may be a password."""
    if names.person(name) is not None:
        words = _m(
            "Signing in as %(name)s went wrong many times from %(address)s; further tries from there have to wait.",
            name=name,
            address=address,
        )
        event_log.record(portal, "user.sign_in_slowed", actor=SYSTEM, message=words, level="warning", data={"address": address})


def _passed(keys: dict[_Key, Pace]) -> None:
    """The try was right: the pair starts anew, and the other counts are as if it had not been."""
    with transaction():
        for row in _rows(keys).values():
            both = row.subject and row.address
            row.failures, row.until = 0 if both else max(row.failures - 1, 0), None


def spend(purpose: str, subjects: Iterable[str], most: int, within: timedelta = timedelta(days=1)) -> None:
    """Count one use of what each of `subjects` may have so often in a time, whether it goes well or not.

    TooManyRequests for the use after the last one; nothing is counted then. No later success takes the count back. `purpose` has
    ten letters at most.
    """
    keys = {(purpose, subject_of(subject), ""): HERE for subject in subjects}
    with transaction():
        _make_rows(keys)
        rows, now = _rows(keys).values(), clock.now()
        for row in rows:
            if row.until is None or row.until <= now:
                row.failures, row.until = 0, now + within
        if (full := [row.until for row in rows if row.failures >= most and row.until]) and (until := max(full)):
            seconds = math.ceil((until - now).total_seconds())
            raise TooManyRequests(_too_often(seconds), headers={"Retry-After": str(seconds)})
        for row in rows:
            row.failures, row.last_at = row.failures + 1, now


def _too_often(seconds: int) -> str:
    return _m("That was asked for too often. Wait %(in_words)s, then try again.", in_words=in_words(seconds))


def in_words(seconds: int) -> str:
    if seconds < 90:
        if seconds > 50:
            return _m("a minute")
        return _m("%(seconds)s seconds", seconds=seconds) if seconds > 1 else _m("a second")
    if seconds > 7200:
        return _m("%(hours)s hours", hours=math.ceil(seconds / 3600))
    return _m("%(minutes)s minutes", minutes=math.ceil(seconds / 60))


def remember(user_id: str, address: str) -> bool:
    """Somebody signed in from here; inside the transaction of the sign-in. Says whether they came from elsewhere until now."""
    address = network_of(address)
    with transaction():
        row = db.session.get(KnownAddress, (user_id, address))
        if row is not None:
            row.last_at = clock.now()
            return False
        elsewhere = db.session.scalar(select(KnownAddress.address).where(KnownAddress.user_id == user_id).limit(1))
        db.session.add(KnownAddress(user_id=user_id, address=address))
    return elsewhere is not None


def unlock(portal: Portal, name: str) -> int:
    """Forget the wrong tries of one name, from everywhere; returns how many addresses had to wait."""
    with transaction():
        rows = list(db.session.scalars(select(WrongTries).where(WrongTries.subject == subject_of(name))))
        waiting = sum(1 for row in rows if row.until and row.until > clock.now())
        for row in rows:
            db.session.delete(row)
        event_log.record(
            portal, "user.unlocked", actor=SYSTEM, message=_m("Wrong sign-ins of %(name)s were forgotten.", name=name)
        )
    return waiting


def forget_old(portal: object = None) -> None:
    """How long they are kept is the same for all portals."""
    with transaction():
        now = clock.now()
        db.session.execute(delete(WrongTries).where(WrongTries.last_at < now - timedelta(days=1)))
        db.session.execute(delete(KnownAddress).where(KnownAddress.last_at < now - KNOWN_FOR))
