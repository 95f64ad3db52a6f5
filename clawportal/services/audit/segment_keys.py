"""The keys that sign the chain of the audit, one after the other: each signs one segment and is then erased.

A segment has a pair of keys. The private one is sealed by the key ring, signs the head while the segment is open, vouches for the
next segment when it ends, and is deleted: nobody can sign anew what is older than the open segment, neither with the database nor
with the key ring. The public ones stay, and verify. A code of the key ring over each segment keeps out whoever has the database
alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Engine, select

from clawportal import clock
from clawportal.db import db
from clawportal.keyring import Keyring, KeyringError
from clawportal.models import AuditSegment

LONGEST = timedelta(days=1)
"""After so long the next segment begins."""
_PURPOSE = "audit"
_MARK = "s"


@dataclass(frozen=True)
class Signer:
    """The open segment, as one process keeps it."""

    number: int
    ring: int
    """Number of the key of the ring that its private key is sealed with."""
    opened_at: datetime
    private: Ed25519PrivateKey

    def sign(self, text: str) -> str:
        return f"{_MARK}{self.number}:{_text(self.private.sign(text.encode()))}"

    def signed(self, text: str, signature: str) -> bool:
        number, value = parts(signature)
        return number == self.number and _right(self.private.public_key(), text, value)


_kept: WeakKeyDictionary[Engine, Signer] = WeakKeyDictionary()


def parts(signature: str) -> tuple[int | None, str]:
    """Number of the segment and what it signed; no number for what an earlier version signed with the key ring."""
    mark, _, value = signature.partition(":")
    number = mark.removeprefix(_MARK)
    return (int(number) if mark.startswith(_MARK) and number.isdigit() and len(number) < 10 else None), value


def signer(ring: Keyring, number: int | None) -> Signer | None:
    """The one of an open segment; None where there is none, or its key does not open with this ring."""
    if number is None:
        return None
    known = _kept.get(db.engine)
    return known if known is not None and known.number == number else load(ring, number)


def load(ring: Keyring, number: int) -> Signer | None:
    """As the database has it now."""
    row = db.session.get(AuditSegment, number, populate_existing=True)
    if row is None or row.sealed is None or not right_code(ring, row):
        return None
    try:
        private = _private(ring.open(row.sealed, _place(number)))
    except (KeyringError, ValueError):
        return None
    if _public(private) != row.public_key:
        return None
    return _keep(Signer(number, int.from_bytes(row.sealed[:4], "big"), row.opened_at, private))


def _keep(found: Signer) -> Signer:
    _kept[db.engine] = found
    return found


def newest() -> int | None:
    return db.session.scalar(select(AuditSegment.number).order_by(AuditSegment.number.desc()).limit(1))


def begin(ring: Keyring, seq: int, last: str, before: Signer | None, *, acknowledges: int | None = None, why: str = "") -> Signer:
    """A segment for the entries after `seq`. `before` ends with it, and is erased."""
    private = Ed25519PrivateKey.generate()
    number = (newest() or 0) + 1
    row = AuditSegment(
        number=number, first_seq=seq + 1, prev_hash=last, public_key=_public(private), opened_at=clock.now(),
        sealed=ring.seal(base64.b64encode(private.private_bytes_raw()).decode(), _place(number)),
        acknowledges=acknowledges, why=why,
    )  # fmt: skip
    row.code = f"{ring.current}:{_code(ring, ring.current, _statement(row))}"
    if before is not None:
        row.vouched = _text(before.private.sign(_statement(row).encode()))
        _end(before.number)
    db.session.add(row)
    db.session.flush()
    return _keep(Signer(number, ring.current, row.opened_at, private))


def _end(number: int) -> None:
    """From now on nobody signs for it, and nothing in it can be made anew."""
    row = db.session.get(AuditSegment, number)
    if row is not None:
        row.sealed = None


# ---- verifying


def right_code(ring: Keyring, row: AuditSegment) -> bool:
    """Whether the key ring made it."""
    number, _, code = row.code.partition(":")
    wanted = _code(ring, int(number), _statement(row)) if number.isdigit() and len(number) < 10 else ""
    return bool(wanted) and hmac.compare_digest(wanted.encode(), code.encode())


def vouched(row: AuditSegment, before: AuditSegment) -> bool:
    """Whether the segment before it signed that this one follows, and after which entry."""
    return _right(_from_text(before.public_key), _statement(row), row.vouched)


def signed(row: AuditSegment, text: str, signature: str) -> bool:
    number, value = parts(signature)
    return number == row.number and _right(_from_text(row.public_key), text, value)


def _statement(row: AuditSegment) -> str:
    told = "" if row.acknowledges is None else f"{row.acknowledges}"
    return f"segment:{row.number}:{row.first_seq}:{row.prev_hash}:{row.public_key}:{told}"


def _code(ring: Keyring, number: int, text: str) -> str:
    key = _key(ring, number)
    return "" if key is None else hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=16)
def _key(ring: Keyring, number: int) -> bytes | None:
    return ring.derived(number, _PURPOSE, retired=True)


def ring_code(ring: Keyring, number: int, text: str) -> str:
    """As heads and checkpoints were signed before there were segments."""
    return _code(ring, number, text)


def _right(key: Ed25519PublicKey | None, text: str, value: str) -> bool:
    try:
        if key is not None:
            key.verify(base64.b64decode(value, validate=True), text.encode())
            return True
    except (InvalidSignature, ValueError):
        pass
    return False


def _public(private: Ed25519PrivateKey) -> str:
    return _text(private.public_key().public_bytes_raw())


def _from_text(text: str) -> Ed25519PublicKey | None:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        return None


def _private(text: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True))


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _place(number: int) -> str:
    return f"audit/segment:{number}"
