"""Follows the log of an instance once, for as many viewers as there are, and only while there is one.

A viewer holds a place in the channel's ring of latest lines, not a queue of its own: memory is bounded by the ring whatever the
number of viewers, and who is too slow, or meets a flood, loses the lines that the ring let go and is told how many.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from clawportal import clock
from clawportal.adapter_helpers import plain
from clawportal.contracts.adapters import LogRecord
from clawportal.contracts.runtimes import LogLine
from clawportal.messages import _m
from clawportal.redact import Masker

log = logging.getLogger(__name__)

RING_LINES = 2_000
RING_BYTES = 4 * 1024 * 1024
MAX_TEXT = 16_384
"""Characters of one line that are shown; the download has all."""
BATCH_LINES = 500
BATCH_BYTES = 512 * 1024
SETTLE = 0.15
"""A tail has arrived when nothing came for so long."""
SETTLE_LIMIT = 2.0
RETRY_FIRST, RETRY_MAX = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line as people see it: secrets masked, level read by the adapter."""

    at: datetime
    stream: str
    source: str
    level: str
    text: str

    @property
    def time(self) -> str:
        """Always of the same length, so that times can be compared as text."""
        return stamp(self.at)

    def row(self) -> list[str]:
        return [self.time, self.stream, self.source, self.level, self.text]


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


class Follow(Protocol):
    """The log of one instance, ready to be read."""

    def __call__(
        self, *, tail: int | None, since: datetime | None, follow: bool, stop: Callable[[], bool]
    ) -> Iterator[LogLine | None]: ...


@dataclass(frozen=True)
class Upstream:
    """One instance's log and what is needed to show it. Holds no database session."""

    follow: Follow
    parse: Callable[[str], LogRecord]
    secrets: Mapping[str, str] = field(default_factory=dict)


def dress(line: LogLine, parse: Callable[[str], LogRecord], mask: Callable[[str], str], limit: int | None = None) -> Line:
    """A raw line as people see it. An adapter that fails on a line costs that line its level, nothing more."""
    try:
        record = parse(line.text)
    except Exception as error:
        log.debug("an adapter cannot read a log line: %r", error)
        record = LogRecord("", line.text)
    level = record.level
    text = mask(_said(record, line.text))
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]} … ({len(text) - limit:,} more characters; download the log for all)"
    if line.stream == "portal":
        level = level or "warning"
    return Line(line.at, line.stream, line.source, level, text)


def _said(record: LogRecord, raw: str) -> str:
    """What the adapter took out of the line; a line that it did not understand keeps its colours."""
    return record.message if record.message and record.message != plain(raw) else raw


@dataclass(frozen=True)
class Batch:
    """What a viewer gets next. `dropped` lines were left out before the first of them."""

    lines: tuple[Line, ...] = ()
    dropped: int = 0
    first: int = 0
    """Number of the first line in its channel."""
    cut: bool = False
    """Whether the first line says that older ones are left out."""

    @property
    def place(self) -> tuple[int, int, int, bool]:
        """Equal for batches of one channel that say the same."""
        return self.first, len(self.lines), self.dropped, self.cut

    def __bool__(self) -> bool:
        return bool(self.lines or self.dropped)


def _unread(text: str) -> LogRecord:
    return LogRecord("", text)


class Channel:
    """The latest lines of one instance, and the thread that reads them."""

    def __init__(self, key: str, open_upstream: Callable[[], Upstream], hub: LogHub) -> None:
        self.key = key
        self.hub = hub
        self.viewers = 0
        self.stopped = threading.Event()
        self.stale = False
        """Something about the instance changed: look at its secrets again before the next line."""
        self._open = open_upstream
        self._ring: deque[LogLine | Line] = deque()
        self._size = 0
        self._first = 0
        """Number of the oldest line in the ring; lines are counted from 0."""
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._waiting = 0
        self._mask = Masker()
        self._parse: Callable[[str], LogRecord] = _unread
        self._started = time.monotonic()
        self._started_at = clock.now()
        self._touched = 0.0
        self._failures = 0
        self._settled = False
        self._seen: tuple[datetime | None, int] = (None, 0)
        """Time of the newest line and how many have exactly that time: where to go on after an interruption."""
        self.thread = threading.Thread(target=self._run, name=f"log-{key}", daemon=True)

    # ---- the reader

    def _run(self) -> None:
        while not self._over():
            try:
                self._read_on()
            except Exception as error:  # whatever a runtime raises, viewers get words and the reader tries again
                self._failures += 1
                log.warning("the log of %s cannot be read: %r", self.key, error, exc_info=self._failures == 1)
                if self._failures == 1:
                    self._say(_m("The log cannot be read right now: %(error)s. The portal keeps trying.", error=error))
            self.stopped.wait(min(RETRY_MAX, RETRY_FIRST * 2 ** max(0, self._failures - 1)))
        self.wake()

    def _over(self) -> bool:
        return self.stopped.is_set() or self.hub.stopping()

    def _read_on(self) -> None:
        """Follow until the upstream ends, from where the last one ended."""
        self._prepare()
        since, known = self._seen
        skipping = since is not None
        lines = self._upstream.follow(tail=None if since else RING_LINES, since=since, follow=True, stop=self._over)
        with contextlib.closing(lines) if isinstance(lines, Generator) else contextlib.nullcontext():
            for line in lines:
                if self._over():
                    return
                if self.stale:
                    self._prepare()
                if line is None:
                    self._settled = True
                elif skipping and since is not None and (line.at < since or (line.at == since and known > 0)):
                    known -= line.at == since
                else:
                    skipping, self._failures = False, 0
                    self._append(line)

    def _prepare(self) -> None:
        self.stale = False
        with self.hub.context():
            upstream = self._open()
        with self._lock:
            self._upstream, self._parse = upstream, upstream.parse
            self._mask = self._mask.with_more(upstream.secrets.values())

    def _append(self, line: LogLine) -> None:
        newest, count = self._seen
        self._seen = (line.at, count + 1 if line.at == newest else 1)
        if line.at >= self._started_at:
            self._settled = True
        self._put(line)

    def _say(self, text: str) -> None:
        self._put(LogLine(clock.now(), "portal", "portal", text))

    def _put(self, line: LogLine) -> None:
        with self._lock:
            self._ring.append(line)
            self._size += len(line.text)
            while len(self._ring) > RING_LINES or (self._size > RING_BYTES and len(self._ring) > 1):
                self._size -= len(self._ring.popleft().text)
                self._first += 1
            self._touched = time.monotonic()
            if self._waiting:
                self._waiting = 0
                self._news.notify_all()
        self.hub.news.set()

    # ---- viewers

    @property
    def end(self) -> int:
        return self._first + len(self._ring)

    def settled(self) -> bool:
        """Whether the tail has arrived, so that the newest lines can be counted off it."""
        if not self._settled:
            now = time.monotonic()
            quiet = self._touched and now - self._touched >= SETTLE
            self._settled = bool(quiet or now - self._started >= SETTLE_LIMIT or self.end >= RING_LINES)
        return self._settled

    def place(self, tail: int, since: datetime | None) -> tuple[int, int, bool]:
        """Where a new viewer begins, how many lines since `since` are left out, and whether there were more before the ring."""
        with self._lock:
            wanted = max(self._first, self.end - tail)
            if since is None:
                return wanted, 0, self._first > max(0, self.end - tail)
            older = sum(1 for _ in itertools.takewhile(lambda line: line.at < since, self._ring))
            first_new = self._first + older
            cut = older == 0 and (self._first > 0 or len(self._ring) >= RING_LINES)
            return max(wanted, first_new), max(0, wanted - first_new), cut

    def take(self, position: int, limit: int) -> tuple[int, Batch]:
        """Lines from `position` on, at most `limit`, and the position after them."""
        with self._lock:
            begin = max(position, self._first)
            offset = begin - self._first
            lines: list[Line] = []
            size = 0
            for index in range(offset, min(offset + limit, len(self._ring))):
                line = self._ring[index]
                if isinstance(line, LogLine):  # only lines that somebody sees are parsed and masked, and those once
                    line = self._ring[index] = self._dressed(line)
                lines.append(line)
                size += len(line.text)
                if size > BATCH_BYTES:
                    break
            return begin + len(lines), Batch(tuple(lines), begin - position, begin)

    def _dressed(self, line: LogLine) -> Line:
        dressed = dress(line, self._parse, self._mask, MAX_TEXT)
        self._size += len(dressed.text) - len(line.text)
        return dressed

    def wait(self, position: int, timeout: float) -> bool:
        """Until there is a line at `position` or `timeout` seconds are over. Whether there is one."""
        with self._lock:
            if self.end > position:
                return True
            self._waiting += 1
            self._news.wait(timeout)
            return self.end > position

    def wake(self) -> None:
        with self._lock:
            self._news.notify_all()


def _cut(batch: Batch, since: datetime | None) -> Line:
    """Stands where lines are missing that nobody counted, because the ring let them go before this viewer came."""
    at = batch.lines[0].at if batch.lines else since or clock.now()
    return Line(at, "portal", "portal", "warning", "Older lines are left out here; download the log for all.")


class Subscription:
    """One viewer of one channel. `take` never waits; `wait` does."""

    def __init__(self, channel: Channel, tail: int, since: datetime | None) -> None:
        self.channel = channel
        self._tail, self._since = tail, since
        self.position: int | None = None
        self._missed = 0
        self._cut = False
        self.closed = False

    def take(self, limit: int = BATCH_LINES) -> Batch:
        """What is new for this viewer, at most `limit` lines."""
        if not self._placed():
            return Batch()
        assert self.position is not None
        self.position, batch = self.channel.take(self.position, limit)
        if self._missed:
            batch, self._missed = replace(batch, dropped=batch.dropped + self._missed), 0
        if self._cut:
            batch, self._cut = replace(batch, lines=(_cut(batch, self._since), *batch.lines), cut=True), False
        return batch

    def _placed(self) -> bool:
        """Whether it knows its place: the end of the tail can only be told once the tail has arrived."""
        if self.position is None:
            if self.channel.settled():
                self.position, self._missed, self._cut = self.channel.place(self._tail, self._since)
            elif self._tail >= RING_LINES and self._since is None:
                self.position = 0  # it wants all there is, so it need not wait
        return self.position is not None

    @property
    def behind(self) -> bool:
        """Whether something waits for this viewer, or it does not know its place yet."""
        return self.position is None or self._missed > 0 or self.channel.end > self.position

    def wait(self, timeout: float) -> bool:
        """Until there is something to take, or `timeout` seconds are over."""
        if self.position is None:
            time.sleep(min(timeout, SETTLE / 2))
            return self._placed() and self.behind
        return self.channel.wait(self.position, timeout)

    def close(self) -> None:
        self.channel.hub.leave(self)


class LogHub:
    """All channels of this process. `app.py` gives it a way to a database session and to know when the portal stops."""

    def __init__(self) -> None:
        self.context: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
        self.stopping: Callable[[], bool] = lambda: False
        self.news = threading.Event()
        """Set whenever a line arrived anywhere; whoever sends lines on clears it."""
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()

    def subscribe(
        self, key: str, open_upstream: Callable[[], Upstream], *, tail: int = RING_LINES, since: datetime | None = None
    ) -> Subscription:
        """Become a viewer of `key`; the first one starts the reader."""
        with self._lock:
            channel = self._channels.get(key)
            if channel is None:
                channel = self._channels[key] = Channel(key, open_upstream, self)
                channel.thread.start()
            channel.viewers += 1
            return Subscription(channel, tail, since)

    def leave(self, subscription: Subscription) -> None:
        """Stop viewing; the last one ends the reader. Can be called twice."""
        channel = subscription.channel
        with self._lock:
            if subscription.closed:
                return
            subscription.closed = True
            channel.viewers -= 1
            if channel.viewers == 0:
                channel.stopped.set()
                if self._channels.get(channel.key) is channel:
                    del self._channels[channel.key]

    def changed(self, key: str | None) -> None:
        """Something happened to an instance: its secrets may be others now."""
        channel = self._channels.get(key) if key else None
        if channel is not None:
            channel.stale = True

    @property
    def readers(self) -> int:
        return len(self._channels)

    def close(self) -> None:
        """End all readers; viewers see nothing more."""
        with self._lock:
            channels = list(self._channels.values())
            self._channels.clear()
        for channel in channels:
            channel.stopped.set()
            channel.wake()
        for channel in channels:
            channel.thread.join(timeout=3)
        self.news.set()
