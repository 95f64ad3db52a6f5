"""Measurements over time: as sampled for a day, five-minute points for thirty days, hourly points for a year.

Points travel from the sampling round through memory (a minute at most) into rows of packed points, and are condensed from
there, so that a crash costs the last minute and nothing else. What was condensed so far is written down with it.
"""

from __future__ import annotations

import functools
import math
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.engine.live_samples import Usage
from clawportal.errors import Invalid
from clawportal.messages import _m
from clawportal.models import Instance, SampleChunk

_POINT = struct.Struct("<IHHfffff")
_BATCH = 500
_LATE = 30
"""Seconds after the end of a stretch until it is condensed: the last samples may still be in memory."""
_CATCH_UP = 86_400
MAX_POINTS = 2_000


class Point(NamedTuple):
    """One moment, or the mean of a stretch with its highest values. NaN for what was not measured."""

    at: int
    """Seconds since 1970."""
    samples: int
    restarts: int
    cpu: float
    """Percent of one core."""
    cpu_max: float
    memory: float
    """Bytes."""
    memory_max: float
    disk: float
    """Bytes."""


@dataclass(frozen=True)
class Tier:
    """One resolution."""

    number: int
    name: str
    step: int
    """Seconds from point to point; 0 as sampled."""
    stretch: int
    """Seconds that one row holds."""
    kept: timedelta

    def start(self, at: int) -> int:
        return at - at % self.stretch


RAW = Tier(0, "raw", 0, 600, timedelta(hours=24))
FIVE = Tier(1, "5m", 300, 10_800, timedelta(days=30))
HOUR = Tier(2, "1h", 3600, 172_800, timedelta(days=365))
TIERS = {tier.name: tier for tier in (RAW, FIVE, HOUR)}
_BELOW = {FIVE: RAW, HOUR: FIVE}


# ---- packing


def pack(start: int, points: Iterable[Point]) -> bytes:
    return b"".join(_POINT.pack(point.at - start, *point[1:]) for point in points)


def unpack(start: int, packed: bytes) -> list[Point]:
    whole = len(packed) - len(packed) % _POINT.size
    return [Point(start + raw[0], *raw[1:]) for raw in _POINT.iter_unpack(packed[:whole])]


def condense(points: Iterable[Point], step: int) -> list[Point]:
    """The mean of each `step` seconds, with the highest values; points stand at the beginning of their stretch."""
    groups: dict[int, list[Point]] = {}
    for point in points:
        groups.setdefault(point.at - point.at % step, []).append(point)
    return [_mean(at, groups[at]) for at in sorted(groups)]


def _mean(at: int, points: Sequence[Point]) -> Point:
    count = sum(point.samples for point in points)
    return Point(
        at, min(count, 65_535), max(point.restarts for point in points),
        _average((point.cpu, point.samples) for point in points), _highest(point.cpu_max for point in points),
        _average((point.memory, point.samples) for point in points), _highest(point.memory_max for point in points),
        _highest(point.disk for point in points),
    )  # fmt: skip


def _average(values: Iterable[tuple[float, int]]) -> float:
    known = [(value, weight) for value, weight in values if not math.isnan(value)]
    weight = sum(weight for _, weight in known)
    return sum(value * part for value, part in known) / weight if weight else math.nan


def _highest(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known) if known else math.nan


# ---- taking in


class Recorder:
    """Holds what was sampled until it is written; belongs to the process that samples."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh: dict[str, list[Point]] = {}
        self._open: dict[str, tuple[int, bytes]] = {}
        """The row of each instance that is being filled, so that it need not be read again."""
        self.condensed: dict[int, int] = {}
        """Up to where each tier is condensed, seconds since 1970."""

    def add(self, usages: Mapping[str, Usage]) -> None:
        with self._lock:
            for instance_id, usage in usages.items():
                cpu = math.nan if usage.cpu_percent is None else usage.cpu_percent
                disk = math.nan if usage.disk_bytes is None else float(usage.disk_bytes)
                memory = float(usage.memory_bytes)
                point = Point(int(usage.at.timestamp()), 1, 0, cpu, cpu, memory, memory, disk)
                self._fresh.setdefault(instance_id, []).append(point)

    def pending(self, instance_id: str) -> list[Point]:
        """What was sampled and is not written yet."""
        with self._lock:
            return list(self._fresh.get(instance_id, ()))

    def flush(self) -> int:
        """Write everything; returns how many instances had something. What cannot be written stays for the next time."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        try:
            return self._write(fresh)
        except Exception:
            with self._lock:
                for instance_id, points in fresh.items():
                    self._fresh[instance_id] = [*points, *self._fresh.get(instance_id, ())][-240:]
            raise

    def _write(self, fresh: Mapping[str, list[Point]]) -> int:
        counts = _restarts(fresh)
        written: dict[tuple[str, int], list[Point]] = {}
        for instance_id, points in fresh.items():
            if instance_id not in counts:
                continue  # deleted meanwhile
            for point in points:
                told = point._replace(restarts=min(counts[instance_id], 65_535))
                written.setdefault((instance_id, RAW.start(point.at)), []).append(told)
        missing = [key for key in written if self._open.get(key[0], (-1, b""))[0] != key[1]]
        known = _rows(RAW, missing)
        rows = {}
        for (instance_id, start), points in written.items():
            held = self._open.get(instance_id)
            before = held[1] if held and held[0] == start else known.get((instance_id, start), b"")
            rows[instance_id, start] = before + pack(start, points)
        _upsert(RAW, rows)
        self._open = {key: held for key, held in self._open.items() if key in fresh}
        for (instance_id, start), packed in sorted(rows.items()):
            self._open[instance_id] = (start, packed)
        return len(written)


def _restarts(ids: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in _batches(list(ids)):
        rows = db.session.execute(select(Instance.id, Instance.restart_count).where(Instance.id.in_(part)))
        found |= {row.id: row.restart_count for row in rows}
    return found


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    return (items[first : first + _BATCH] for first in range(0, len(items), _BATCH))


def _rows(tier: Tier, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
    """Rows by instance and start."""
    found: dict[tuple[str, int], bytes] = {}
    wanted = set(keys)
    starts = sorted({start for _, start in keys})
    for part in _batches(sorted({instance_id for instance_id, _ in keys})):
        query = select(SampleChunk.instance_id, SampleChunk.start, SampleChunk.points).where(
            SampleChunk.tier == tier.number, SampleChunk.start.in_(starts), SampleChunk.instance_id.in_(part)
        )
        found |= {(row.instance_id, row.start): row.points for row in db.session.execute(query)}
    return {key: packed for key, packed in found.items() if key in wanted}


def _upsert(tier: Tier, rows: Mapping[tuple[str, int], bytes]) -> None:
    if not rows:
        return
    with transaction():
        dialect: Any = postgresql if db.engine.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(SampleChunk)
        statement = insert.on_conflict_do_update(
            index_elements=["instance_id", "tier", "start"], set_={"points": insert.excluded.points}
        )
        values = [
            {"instance_id": instance_id, "tier": tier.number, "start": start, "points": packed}
            for (instance_id, start), packed in rows.items()
        ]
        for part in _batches(values):
            db.session.execute(statement, part)


# ---- condensing


def condense_once(recorder: Recorder) -> int:
    """Make the five-minute and hourly points of all stretches that have ended since the last time. Returns how many stretches."""
    return sum(_condense_tier(recorder, tier) for tier in (FIVE, HOUR))


def _condense_tier(recorder: Recorder, tier: Tier) -> int:
    now = int(clock.now().timestamp())
    end = (now - _LATE) // tier.step * tier.step
    if tier.number not in recorder.condensed:
        recorder.condensed[tier.number] = _newest(tier)
    first = max(recorder.condensed[tier.number], end - _CATCH_UP)
    done = 0
    for start in range(first, end, tier.step):
        with transaction():
            _condense_stretch(tier, start)
        recorder.condensed[tier.number] = start + tier.step
        done += 1
    return done


def _newest(tier: Tier) -> int:
    """Up to where an earlier process condensed: a stretch is written whole or not at all."""
    chunk = db.session.scalar(select(func.max(SampleChunk.start)).where(SampleChunk.tier == tier.number))
    if chunk is None:
        return 0
    query = select(SampleChunk.points).where(SampleChunk.tier == tier.number, SampleChunk.start == chunk)
    return max(points[-1].at + tier.step for packed in db.session.scalars(query) if (points := unpack(chunk, packed)))


def _condense_stretch(tier: Tier, start: int) -> None:
    below = _BELOW[tier]
    query = select(SampleChunk.instance_id, SampleChunk.start, SampleChunk.points).where(
        SampleChunk.tier == below.number, SampleChunk.start >= below.start(start), SampleChunk.start < start + tier.step
    )
    points: dict[str, list[Point]] = {}
    for row in db.session.execute(query):
        inside = [point for point in unpack(row.start, row.points) if start <= point.at < start + tier.step]
        if inside:
            points.setdefault(row.instance_id, []).extend(inside)
    if not points:
        return
    chunk = tier.start(start)
    before = _rows(tier, [(instance_id, chunk) for instance_id in points])
    rows = {}
    for instance_id, found in points.items():
        kept = [point for point in unpack(chunk, before.get((instance_id, chunk), b"")) if point.at != start]
        rows[instance_id, chunk] = pack(chunk, sorted([*kept, _mean(start, found)]))
    _upsert(tier, rows)


def forget_old(portal: object = None) -> None:
    """How long they are kept is the same for all portals."""
    with transaction():
        for tier in TIERS.values():
            limit = int((clock.now() - tier.kept).timestamp()) - tier.stretch
            db.session.execute(delete(SampleChunk).where(SampleChunk.tier == tier.number, SampleChunk.start < limit))


# ---- reading


@dataclass(frozen=True)
class Series:
    """Points of one instance, oldest first."""

    resolution: str
    step: int
    """Seconds from point to point; 0 as sampled."""
    since: datetime
    until: datetime
    points: tuple[Point, ...]


def read(
    recorder: Recorder, instance_id: str, *, since: datetime | None = None, until: datetime | None = None,
    resolution: str = "auto", points: int = 400,
) -> Series:  # fmt: skip
    """The measurements of an instance, whoever asks. `points`: about so many at most; more are condensed further."""
    until = until or clock.now()
    since = since or until - timedelta(hours=1)
    if since >= until:
        raise Invalid.field("since", _m("must be earlier than `until`"))
    if resolution not in ("auto", *TIERS):
        raise Invalid.field("resolution", _m("must be auto, %(join)s", join=[*TIERS]))
    tier = _fitting(since, until) if resolution == "auto" else TIERS[resolution]
    told = _between(tier, instance_id, int(since.timestamp()), int(until.timestamp()))
    if tier is RAW:
        newest = told[-1].at if told else 0
        told += [point for point in recorder.pending(instance_id) if newest < point.at <= until.timestamp()]
    step = tier.step
    if len(told) > points:
        step = _round_step((until - since).total_seconds() / points, tier.step)
        told = condense(told, step)
    return Series(tier.name, step, since, until, tuple(told))


def _fitting(since: datetime, until: datetime) -> Tier:
    """The finest that is kept so long and gives no more points than a screen can show."""
    age, span = clock.now() - since, until - since
    if age <= RAW.kept and span <= timedelta(hours=6):
        return RAW
    return FIVE if age <= FIVE.kept and span <= timedelta(days=8) else HOUR


def _round_step(seconds: float, step: int) -> int:
    least = max(math.ceil(seconds), step, 1)
    for nice in (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400):
        if nice >= least and nice % max(step, 1) == 0:
            return nice
    return -(-least // 86_400) * 86_400


def _between(tier: Tier, instance_id: str, first: int, last: int) -> list[Point]:
    query = (
        select(SampleChunk.start, SampleChunk.points)
        .where(
            SampleChunk.instance_id == instance_id, SampleChunk.tier == tier.number,
            SampleChunk.start >= tier.start(first), SampleChunk.start <= last,
        )
        .order_by(SampleChunk.start)
    )  # fmt: skip
    told = [point for row in db.session.execute(query) for point in unpack(row.start, row.points) if first <= point.at <= last]
    if tier in _BELOW:  # what is too new to be condensed comes from below
        newest = told[-1].at + tier.step if told else max(first, last - int(_BELOW[tier].kept.total_seconds()))
        if newest < last and last - newest < _CATCH_UP:
            told += condense(_between(_BELOW[tier], instance_id, newest, last), tier.step)
    return told


@dataclass(frozen=True)
class Spark:
    """CPU and memory over the last hours, a value for each five minutes, oldest first; None where nothing was measured."""

    cpu: tuple[float | None, ...]
    """Percent of one core."""
    memory: tuple[float | None, ...]
    """Bytes."""


SPARK_HOURS = 2


def sparks(ids: Sequence[str], hours: int = SPARK_HOURS) -> dict[str, Spark]:
    """What a list draws of each instance that was measured. One statement for all."""
    width = hours * 3600 // FIVE.step
    first = int(clock.now().timestamp()) // FIVE.step - width
    given = {"ids": list(ids), "since": FIVE.start(first * FIVE.step)}
    found: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for row in db.session.execute(_sparks(), given):
        for at, cpu, memory in _lean(row.start, row.points):
            place = at // FIVE.step - first
            if 0 <= place < width:
                drawn = found.setdefault(row.instance_id, ([None] * width, [None] * width))
                drawn[0][place], drawn[1][place] = _known(cpu), _known(memory)
    return {instance_id: Spark(tuple(cpu), tuple(memory)) for instance_id, (cpu, memory) in found.items()}


@functools.cache
def _sparks() -> Select[Any]:
    """Kept, because making a statement takes longer than running it."""
    chunk = SampleChunk.__table__.c
    return select(chunk.instance_id, chunk.start, chunk.points).where(
        chunk.instance_id.in_(bindparam("ids", expanding=True)), chunk.tier == FIVE.number, chunk.start >= bindparam("since")
    )


def _lean(start: int, packed: bytes) -> Iterable[tuple[int, float, float]]:
    """Time, CPU and memory alone: a list has hundreds of rows."""
    whole = len(packed) - len(packed) % _POINT.size
    return ((start + raw[0], raw[3], raw[5]) for raw in _POINT.iter_unpack(packed[:whole]))


@dataclass(frozen=True)
class Summary:
    """What a chart says in words; None for what was not measured."""

    cpu: float | None
    cpu_max: float | None
    memory: float | None
    memory_max: float | None
    disk: float | None
    restarts: int


def summary(series: Series) -> Summary | None:
    if not series.points:
        return None
    whole = _mean(series.points[0].at, series.points)
    counts = [point.restarts for point in series.points]
    more = sum(max(0, after - before) for before, after in pairwise(counts))
    return Summary(
        _known(whole.cpu), _known(whole.cpu_max), _known(whole.memory), _known(whole.memory_max),
        _known(series.points[-1].disk), more,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def utc(moment: datetime | None) -> datetime | None:
    """A time that somebody sent; without an offset it is UTC."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise Invalid.field("since", _m("is outside of the calendar")) from error


def columns(series: Series) -> dict[str, list[Any]]:
    """One list for each quantity, as charts want them; null for what was not measured."""
    told: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for point in series.points:
        told["at"].append(datetime.fromtimestamp(point.at, UTC).isoformat().replace("+00:00", "Z"))
        for name, value in zip(COLUMNS[1:], (point.cpu, point.cpu_max, point.memory, point.memory_max, point.disk), strict=False):
            told[name].append(None if math.isnan(value) else round(value, 2))
        told["restarts"].append(point.restarts)
    return told


COLUMNS = ("at", "cpu_percent", "cpu_percent_max", "memory_bytes", "memory_bytes_max", "disk_bytes", "restarts")
