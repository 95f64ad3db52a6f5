"""The chain of the audit: appends entries, each with the hash of the one before, verifies them, and cuts off the oldest.

One chain per portal. The row of its head is locked from the append to the commit, so entries stand in the order of the commits
and no number is missing. Head and checkpoints are signed by the keys of `segment_keys`: who can write to the database alone can
break the chain, but not make one that verifies. What is broken is never signed over: it stays broken until it is acknowledged.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, delete, func, insert, select, update

from clawportal import clock
from clawportal.db import changed_rows, db, transaction
from clawportal.keyring import Keyring
from clawportal.models import AuditCheckpoint, AuditEntry, AuditHead, AuditSegment
from clawportal.models.audit import GENESIS
from clawportal.services.audit import segment_keys

log = logging.getLogger(__name__)

FIELDS = tuple(column.key for column in AuditEntry.__table__.columns if column.key != "hash")
"""What the hash of an entry is over: every column but the hash itself."""
_ADDED = frozenset({"project_id", "person_id", "read_permission", "messages"})
"""Columns that came later. Empty ones are left out, so that entries from before keep their hash."""

_BATCH = 1000
PIECE = 5000
"""Entries that retention deletes in one transaction."""
_HEAD = select(AuditHead.seq, AuditHead.hash, AuditHead.signature, AuditHead.broken_at).where(AuditHead.id == 1)
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
    acknowledged: tuple[tuple[int, str], ...] = ()
    """Breaks that somebody acknowledged: the entry, and what they said about it."""


# ---- appending


_rings: WeakKeyDictionary[Engine, Keyring] = WeakKeyDictionary()


def use(engine: Engine, ring: Keyring) -> None:
    """Sign what is written to this database with this ring."""
    _rings[engine] = ring


def append(rows: Sequence[dict[str, Any]]) -> None:
    """Add entries as the last thing of the running transaction; nobody else appends until it ends."""
    ring = _rings[db.engine]
    head = _Head(*db.session.execute(_LOCKED_HEAD).one())
    signer, head = _continued(ring, head)
    seq, last = head.seq, head.hash
    for row in rows:
        seq += 1
        row |= {"seq": seq, "prev_hash": last}
        row["hash"] = last = digest(row)
    db.session.execute(insert(AuditEntry), list(rows))
    _set_head(signer, replace(head, seq=seq, hash=last))


@dataclass(frozen=True)
class _Head:
    seq: int
    hash: str
    signature: str
    broken_at: int | None = None

    @property
    def text(self) -> str:
        return f"head:{self.seq}:{self.hash}:{'' if self.broken_at is None else self.broken_at}"


def _set_head(signer: segment_keys.Signer, head: _Head) -> None:
    """The database takes it only where the head is still the one that was locked, or further back."""
    values = {"seq": head.seq, "hash": head.hash, "signature": signer.sign(head.text), "broken_at": head.broken_at}
    db.session.execute(update(AuditHead).where(AuditHead.id == 1).values(values))


def _continued(ring: Keyring, head: _Head) -> tuple[segment_keys.Signer, _Head]:
    """Who signs what follows, and after which entry it stands. A head that is not right is marked as broken for good."""
    signer = _signer_of(ring, head)
    if signer is not None:
        fresh = signer.ring == ring.current
        return (signer if fresh else segment_keys.begin(ring, head.seq, head.hash, signer)), head
    if _before_segments(ring, head):
        return segment_keys.begin(ring, head.seq, head.hash, None), head
    log.error("the head of the audit at entry %s is not the one that this portal signed", head.seq)
    broken = _at_the_end(head)
    number = segment_keys.newest()
    signer = segment_keys.load(ring, number) if number is not None else None
    return signer or segment_keys.begin(ring, broken.seq, broken.hash, None), broken


def _signer_of(ring: Keyring, head: _Head) -> segment_keys.Signer | None:
    """The open segment's, if it signed this head."""
    number, _value = segment_keys.parts(head.signature)
    signer = segment_keys.signer(ring, number)
    if signer is not None and not signer.signed(head.text, head.signature):
        signer = segment_keys.load(ring, signer.number)  # the database may be one that was restored meanwhile
    return signer if signer is not None and signer.signed(head.text, head.signature) else None


def _before_segments(ring: Keyring, head: _Head) -> bool:
    """Whether it is the head of a new chain, or of one that an earlier version wrote."""
    if segment_keys.newest() is not None or head.broken_at is not None:
        return False
    if head.seq == 0 and head.hash == GENESIS:
        return db.session.scalar(select(func.max(AuditEntry.seq))) is None
    return _signed_by_ring(ring, head.seq, head.hash, head.signature)


def _at_the_end(head: _Head) -> _Head:
    """After the last entry that is there, with the mark."""
    row = db.session.execute(select(AuditEntry.seq, AuditEntry.hash).order_by(AuditEntry.seq.desc()).limit(1)).one_or_none()
    broken_at = head.seq if head.broken_at is None else head.broken_at
    if row is not None and row.seq >= head.seq:
        return _Head(row.seq, row.hash, "", broken_at)
    return replace(head, broken_at=broken_at)


def digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over canonical JSON: keys sorted, no spaces, UTF-8, times as ISO 8601 in UTC."""
    document = {name: row[name] for name in FIELDS if name not in _ADDED or row.get(name)}
    document["at"] = _time(row["at"])
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _time(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")


def _signed_by_ring(ring: Keyring, seq: int, last: str, signature: str) -> bool:
    """As earlier versions signed heads and checkpoints."""
    number, _, code = signature.partition(":")
    wanted = segment_keys.ring_code(ring, int(number), f"{seq}:{last}") if number.isdigit() and len(number) < 10 else ""
    return bool(wanted) and hmac.compare_digest(wanted.encode(), code.encode())


def turn(*, at_once: bool = False) -> bool:
    """Begin the next segment once the open one is a day old, or at once; what came before can then not be signed anew.

    One that was opened by a clock that has gone back since is a day off as well.
    """
    ring = _rings[db.engine]
    with transaction():
        head = _Head(*db.session.execute(_LOCKED_HEAD).one())
        signer = _signer_of(ring, head)
        if signer is None or not (at_once or abs(clock.now() - signer.opened_at) >= segment_keys.LONGEST):
            return False
        _set_head(segment_keys.begin(ring, head.seq, head.hash, signer), head)
    return True


# ---- what is broken


def known_break() -> int | None:
    """Where the head was found broken when somebody wanted to go on from it; None where it is whole, as far as it is known."""
    found = db.session.scalar(select(AuditHead.broken_at).where(AuditHead.id == 1))
    return None if found is None else int(found)


def acknowledge(verdict: Verdict, why: str) -> None:
    """Go on from here: what is broken stays told, and what follows is whole again. The caller writes the entry about it."""
    assert verdict.broken is not None
    ring = _rings[db.engine]
    with transaction():
        row = db.session.execute(_LOCKED_HEAD).one_or_none()
        if row is None:
            db.session.execute(insert(AuditHead).values(id=1, seq=verdict.end.seq, hash=verdict.end.hash, signature=""))
        end = _at_the_end(_Head(*row) if row is not None else _Head(verdict.end.seq, verdict.end.hash, ""))
        head = replace(end, broken_at=None, signature="")
        number = segment_keys.newest()
        before = segment_keys.load(ring, number) if number is not None else None
        signer = segment_keys.begin(ring, head.seq, head.hash, before, acknowledges=verdict.broken, why=why)
        _set_head(signer, head)


# ---- verifying


def end() -> End:
    head = _Head(*db.session.execute(_HEAD).one())
    return End(head.seq, head.hash)


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
    """From the last checkpoint to where the head was when the walk began; past what somebody acknowledged."""

    def __init__(self, ring: Keyring, known: End | None) -> None:
        self.ring, self.known, self.entries = ring, known, 0
        row = db.session.execute(_HEAD).one_or_none()
        self.head = _Head(*row) if row is not None else None
        self.start = _checkpoint()
        self.seq: int = self.start.seq if self.start else 0
        self.last: str = self.start.hash if self.start else GENESIS
        self.first = self.seq + 1
        self.segments = list(db.session.scalars(select(AuditSegment).order_by(AuditSegment.number)))
        self.ends = {row.first_seq - 1: row for row in self.segments}
        told = (row for row in self.segments if row.acknowledges is not None)
        self.acknowledged = [row for row in told if segment_keys.right_code(ring, row)]
        self.passed: set[int] = set()

    def result(self) -> Verdict:
        wrong = self._look()
        while wrong is not None and (passed := self._acknowledgement(wrong[0])) is not None:
            self.passed.add(passed.number)
            self.seq, self.last = passed.first_seq - 1, passed.prev_hash
            self.segments = [row for row in self.segments if row.number >= passed.number]
            wrong = self._look(again=True)
        broken, reason = wrong or (None, "")
        told = tuple((row.acknowledges or 0, row.why) for row in self.acknowledged)
        return Verdict(self.entries, self.first, End(self.seq, self.last), broken, reason, told)

    def _acknowledgement(self, broken: int) -> AuditSegment | None:
        """The segment with which somebody went on after this break, knowing of it."""
        return next((row for row in self.acknowledged if broken < row.first_seq and row.number not in self.passed), None)

    def _look(self, *, again: bool = False) -> tuple[int, str] | None:
        if self.head is None:
            return self.seq, "the head of the chain is gone"
        wrong = self._keys() or (None if again else self._beginning())
        if wrong is None:
            for row in _rows(self.seq, self.head.seq):
                wrong = self._entry(row)
                if wrong is not None:
                    return wrong
        return wrong or self._end(self.head)

    def _keys(self) -> tuple[int, str] | None:
        """Each segment was made by this portal, and follows the one before it."""
        before: AuditSegment | None = None
        for row in self.segments:
            follows = before is None or row.acknowledges is not None or segment_keys.vouched(row, before)
            first = before is not None or row.number == 1 or row.acknowledges is not None
            if not first or not follows or not segment_keys.right_code(self.ring, row):
                return row.first_seq - 1, "the keys that sign what follows this entry were not made by this portal"
            before = row
        return None

    def _beginning(self) -> tuple[int, str] | None:
        if self.start is None:
            return None
        if not self._signed_checkpoint():
            return self.start.seq, "the checkpoint at this entry is not signed by this portal"
        left = db.session.scalar(select(func.min(AuditEntry.seq)))
        if left is not None and left <= self.start.seq:
            return left, "this entry is older than the checkpoint that replaced it"
        return None

    def _signed_checkpoint(self) -> bool:
        seq, last, signature = self.start
        number, _value = segment_keys.parts(signature)
        segment = next((row for row in self.segments if row.number == number), None)
        if segment is not None:
            return segment_keys.signed(segment, _checkpoint_text(seq, last), signature)
        return _signed_by_ring(self.ring, seq, last, signature)

    def _entry(self, row: Mapping[str, Any]) -> tuple[int, str] | None:
        if row["seq"] != self.seq + 1:
            return self.seq + 1, f"this entry is missing; the next one is {row['seq']}"
        if row["prev_hash"] != self.last:
            return row["seq"], "this entry does not follow the one before it"
        if digest(row) != row["hash"]:
            return row["seq"], "this entry was changed after it was written"
        following = self.ends.get(row["seq"])
        if following is not None and following.prev_hash != row["hash"]:
            return row["seq"], "this is not the entry that was here when its segment ended"
        self.seq, self.last, self.entries = row["seq"], row["hash"], self.entries + 1
        if self.known is not None and self.known.seq == self.seq and self.known.hash != self.last:
            return self.seq, "this is not the entry that was noted"
        return None

    def _end(self, head: _Head) -> tuple[int, str] | None:
        if head.seq != self.seq:
            return self.seq + 1, f"this entry is missing at the end; there were {head.seq}"
        if head.hash != self.last or (self.seq and not self._signed_head(head)):
            return self.seq, "the head of the chain is not signed by this portal for this entry"
        if head.broken_at is not None:
            return head.broken_at, "the head of the chain was not signed by this portal when the next entry was written"
        if self.known is not None and self.known.seq > self.seq:
            return self.seq + 1, f"this entry is missing at the end; {self.known.seq} was noted"
        newest = select(func.max(AuditEntry.seq)).scalar_subquery()
        seq, beyond = db.session.execute(select(AuditHead.seq, newest).where(AuditHead.id == 1)).one()
        if beyond is not None and beyond > seq:
            return seq + 1, "this entry was added past the head of the chain"
        return None

    def _signed_head(self, head: _Head) -> bool:
        if not self.segments:
            return _signed_by_ring(self.ring, head.seq, head.hash, head.signature)
        last = self.segments[-1]
        ring = last.code.partition(":")[0]
        in_use = ring.isdigit() and self.ring.in_use(int(ring))
        return in_use and segment_keys.signed(last, head.text, head.signature)


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

    Nothing goes where all is older: then the clock is wrong, or nobody used the portal for so long that nothing is in the way.
    Goes piece by piece, so that changes do not wait for long.
    """
    gone = 0
    while piece := _prune(before):
        gone += piece
    return gone


def _prune(before: datetime) -> int:
    ring = _rings[db.engine]
    with transaction():
        head = _Head(*db.session.execute(_LOCKED_HEAD).one())
        signer = _signer_of(ring, head)
        if signer is None or head.broken_at is not None:
            return 0  # what is broken is evidence; and what an earlier version wrote is signed anew with the next entry
        newest = db.session.scalar(select(AuditEntry.at).where(AuditEntry.seq == head.seq))
        if newest is None or newest < before:
            return 0
        kept = db.session.scalar(select(func.min(AuditEntry.seq)).where(AuditEntry.at >= before))
        first = db.session.scalar(select(func.min(AuditEntry.seq))) or 0
        last = min((head.seq if kept is None else kept) - 1, first + PIECE - 1)
        row = db.session.execute(select(AuditEntry.seq, AuditEntry.hash).where(AuditEntry.seq == last)).one_or_none()
        if row is None:
            return 0
        count = db.session.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.seq <= last)) or 0
        signature = signer.sign(_checkpoint_text(last, row.hash))
        db.session.add(AuditCheckpoint(seq=last, hash=row.hash, entries=count, signature=signature))
        db.session.flush()  # the trigger lets go only what a checkpoint covers
        return changed_rows(delete(AuditEntry).where(AuditEntry.seq <= last))


def _checkpoint_text(seq: int, last: str) -> str:
    return f"checkpoint:{seq}:{last}"
