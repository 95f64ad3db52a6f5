"""The chain of the audit: appends entries, each with the hash of the one before, verifies them, and cuts off the oldest.

One chain per portal. The row of its head is locked from the append to the commit, so entries stand in the order of the commits
and no number is missing. Head and checkpoints are signed with a key that is not in the database: who can write to the database
alone can break the chain, but not make one that verifies.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, delete, func, insert, select, update

from clawportal.db import changed_rows, db, transaction
from clawportal.keyring import Keyring
from clawportal.models import AuditCheckpoint, AuditEntry, AuditHead
from clawportal.models.audit import GENESIS

FIELDS = tuple(column.key for column in AuditEntry.__table__.columns if column.key != "hash")
"""What the hash of an entry is over: every column but the hash itself."""

_PURPOSE = "audit"
_BATCH = 1000
PIECE = 5000
"""Entries that retention deletes in one transaction."""
_HEAD = select(AuditHead.seq, AuditHead.hash, AuditHead.signature).where(AuditHead.id == 1)
_LOCKED_HEAD = _HEAD.with_for_update()


@dataclass(frozen=True)
class End:
    """Where the chain ends."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True)
class Verdict:
    """What a walk along the chain found. `broken` names the first entry that is wrong, None when all are right."""

    entries: int
    first: int
    end: End
    broken: int | None = None
    reason: str = ""


# ---- appending


_rings: WeakKeyDictionary[Engine, Keyring] = WeakKeyDictionary()


def use(engine: Engine, ring: Keyring) -> None:
    """Sign what is written to this database with this ring."""
    _rings[engine] = ring


def append(rows: Sequence[dict[str, Any]]) -> None:
    """Add entries as the last thing of the running transaction; nobody else appends until it ends."""
    ring = _rings[db.engine]
    seq, last, _signature = db.session.execute(_LOCKED_HEAD).one()
    for row in rows:
        seq += 1
        row |= {"seq": seq, "prev_hash": last}
        row["hash"] = last = digest(row)
    db.session.execute(insert(AuditEntry), list(rows))
    db.session.execute(update(AuditHead).where(AuditHead.id == 1).values(seq=seq, hash=last, signature=sign(ring, seq, last)))


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over canonical JSON: keys sorted, no spaces, UTF-8, times as ISO 8601 in UTC."""
    document = {name: row[name] for name in FIELDS}
    document["at"] = _time(row["at"])
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _time(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")


def sign(ring: Keyring, seq: int, last: str) -> str:
    return f"{ring.current}:{_mac(ring, ring.current, seq, last)}"


@lru_cache(maxsize=16)
def _key(ring: Keyring, number: int) -> bytes | None:
    return ring.derived(number, _PURPOSE)


def _mac(ring: Keyring, number: int, seq: int, last: str) -> str:
    key = _key(ring, number)
    return "" if key is None else hmac.new(key, f"{seq}:{last}".encode(), hashlib.sha256).hexdigest()


def signed(ring: Keyring, seq: int, last: str, signature: str) -> bool:
    number, _, mac = signature.partition(":")
    wanted = _mac(ring, int(number), seq, last) if number.isdigit() and len(number) < 10 else ""
    return bool(wanted) and hmac.compare_digest(wanted.encode(), mac.encode())


# ---- verifying


def end() -> End:
    seq, last, _signature = db.session.execute(_HEAD).one()
    return End(seq, last)


def verify(known: End | None = None) -> Verdict:
    """Walk the whole chain, oldest first. `known`: an end that was noted earlier and has to be part of it.

    Nobody is locked out meanwhile: entries up to the head do not change, and if retention cuts some off, the walk begins again.
    """
    while True:
        db.session.rollback()  # what is read has to be of now
        walk = _Walk(_rings[db.engine], known)
        verdict = walk.result()
        if verdict.broken is None or walk.start == _checkpoint():
            return verdict


def _checkpoint() -> Any:
    columns = (AuditCheckpoint.seq, AuditCheckpoint.hash, AuditCheckpoint.signature)
    return db.session.execute(select(*columns).order_by(AuditCheckpoint.seq.desc()).limit(1)).one_or_none()


class _Walk:
    """From the last checkpoint to where the head was when the walk began."""

    def __init__(self, ring: Keyring, known: End | None) -> None:
        self.ring, self.known, self.entries = ring, known, 0
        self.head = db.session.execute(_HEAD).one_or_none()
        self.start = _checkpoint()
        self.seq: int = self.start.seq if self.start else 0
        self.last: str = self.start.hash if self.start else GENESIS
        self.first = self.seq + 1

    def result(self) -> Verdict:
        broken, reason = self._look() or (None, "")
        return Verdict(self.entries, self.first, End(self.seq, self.last), broken, reason)

    def _look(self) -> tuple[int, str] | None:
        if self.head is None:
            return self.seq, "the head of the chain is gone"
        wrong = self._beginning()
        if wrong is None:
            for row in _rows(self.seq, self.head.seq):
                wrong = self._entry(row)
                if wrong is not None:
                    return wrong
        return wrong or self._end(*self.head)

    def _beginning(self) -> tuple[int, str] | None:
        if self.start is None:
            return None
        if not signed(self.ring, *self.start):
            return self.start.seq, "the checkpoint at this entry is not signed by this portal"
        left = db.session.scalar(select(func.min(AuditEntry.seq)))
        if left is not None and left <= self.start.seq:
            return left, "this entry is older than the checkpoint that replaced it"
        return None

    def _entry(self, row: Mapping[str, Any]) -> tuple[int, str] | None:
        if row["seq"] != self.seq + 1:
            return self.seq + 1, f"this entry is missing; the next one is {row['seq']}"
        if row["prev_hash"] != self.last:
            return row["seq"], "this entry does not follow the one before it"
        if digest(row) != row["hash"]:
            return row["seq"], "this entry was changed after it was written"
        self.seq, self.last, self.entries = row["seq"], row["hash"], self.entries + 1
        if self.known is not None and self.known.seq == self.seq and self.known.hash != self.last:
            return self.seq, "this is not the entry that was noted"
        return None

    def _end(self, head: int, last: str, signature: str) -> tuple[int, str] | None:
        if head != self.seq:
            return self.seq + 1, f"this entry is missing at the end; there were {head}"
        if last != self.last or (self.seq and not signed(self.ring, head, last, signature)):
            return self.seq, "the head of the chain is not signed by this portal for this entry"
        if self.known is not None and self.known.seq > self.seq:
            return self.seq + 1, f"this entry is missing at the end; {self.known.seq} was noted"
        newest = select(func.max(AuditEntry.seq)).scalar_subquery()
        seq, beyond = db.session.execute(select(AuditHead.seq, newest).where(AuditHead.id == 1)).one()
        if beyond is not None and beyond > seq:
            return seq + 1, "this entry was added past the head of the chain"
        return None


def _rows(after: int, last: int) -> Iterator[Mapping[str, Any]]:
    """In pieces, so that a long chain needs little memory."""
    columns = AuditEntry.__table__.columns
    while after < last:
        within = (columns.seq > after, columns.seq <= last)
        found = db.session.execute(select(*columns).where(*within).order_by(columns.seq).limit(_BATCH)).mappings().all()
        yield from (dict(row) for row in found)
        if len(found) < _BATCH:
            return
        after = found[-1]["seq"]


# ---- cutting off


def prune(before: datetime) -> int:
    """Delete what is older, and leave a signed checkpoint from which the rest verifies. Returns how many entries went.

    The newest entry always stays. Goes piece by piece, so that changes do not wait for long.
    """
    gone = 0
    while piece := _prune(before):
        gone += piece
    return gone


def _prune(before: datetime) -> int:
    ring = _rings[db.engine]
    with transaction():
        head = db.session.execute(_LOCKED_HEAD).one()
        kept = db.session.scalar(select(func.min(AuditEntry.seq)).where(AuditEntry.at >= before))
        first = db.session.scalar(select(func.min(AuditEntry.seq))) or 0
        last = min((head.seq if kept is None else kept) - 1, first + PIECE - 1)
        row = db.session.execute(select(AuditEntry.seq, AuditEntry.hash).where(AuditEntry.seq == last)).one_or_none()
        if row is None:
            return 0
        count = db.session.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.seq <= last)) or 0
        db.session.add(AuditCheckpoint(seq=last, hash=row.hash, entries=count, signature=sign(ring, last, row.hash)))
        db.session.flush()  # the trigger lets go only what a checkpoint covers
        return changed_rows(delete(AuditEntry).where(AuditEntry.seq <= last))
