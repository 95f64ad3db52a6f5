"""Passes bytes between browsers and claws where nobody knows for how long: one thread for all WebSockets and streams.

A thread of the portal only begins them. What cannot be passed on is held up, never collected: one side is read as fast as the
other takes it.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

PIECE = 256 * 1024
LOOK_SECONDS = 1.0
"""How often idle connections and the end of the portal are looked for."""
AFTER_FAULT_SECONDS = 0.2
"""A fault that comes again at once must not take the whole processor."""

log = logging.getLogger(__name__)


class Stream:
    """Two connections that belong together. `owner` is who opened it; `key` what has to hold for it to go on."""

    def __init__(self, browser: socket.socket, claw: socket.socket, owner: str, key: Hashable, *, both_ways: bool = True) -> None:
        self.browser, self.claw, self.owner, self.key = browser, claw, owner, key
        self.both_ways = both_ways
        """Else what comes from the browser goes nowhere: it would reach the claw as it is, with what is the portal's in it."""
        self.waiting: dict[socket.socket, bytes | memoryview] = {browser: b"", claw: b""}
        """What each is still to get."""
        self.ended: set[socket.socket] = set()
        """Those that will say nothing more."""
        self.moved = time.monotonic()

    def other(self, one: socket.socket) -> socket.socket:
        return self.claw if one is self.browser else self.browser


class Pump:
    """Made once for a portal; its thread begins with the first stream."""

    def __init__(self, limit: int, each: int, idle: float, stopping: Callable[[], bool] = lambda: False) -> None:
        self._limit, self._each, self._idle, self._stopping = limit, each, idle, stopping
        self._streams: set[Stream] = set()
        self._owners: Counter[str] = Counter()
        self._new: deque[tuple[Stream, bytes, bytes]] = deque()
        self._ending: deque[Hashable] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._bell, self._heard = socket.socketpair()
        self._heard.setblocking(False)
        self._looked = time.monotonic()

    # ---- from other threads

    def room(self, owner: str) -> bool:
        with self._lock:
            return len(self._streams) < self._limit and self._owners[owner] < self._each

    def add(self, stream: Stream, to_browser: bytes = b"", to_claw: bytes = b"") -> None:
        """From now on this thread passes on; what was read already goes first."""
        with self._lock:
            self._streams.add(stream)
            self._owners[stream.owner] += 1
            self._new.append((stream, to_browser, to_claw))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="apps-pump", daemon=True)
                self._thread.start()
        self._ring()

    def keys(self) -> set[Any]:
        with self._lock:
            return {stream.key for stream in self._streams}

    def owners(self) -> set[str]:
        with self._lock:
            return set(self._owners)

    def end(self, keys: Iterable[Hashable]) -> None:
        """Those that may not go on."""
        self._ending.extend(keys)
        self._ring()

    @property
    def count(self) -> int:
        return len(self._streams)

    def close(self) -> None:
        self._stopping = lambda: True
        self._ring()
        if self._thread is not None:
            self._thread.join(5)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send(b".")

    # ---- the thread

    def _run(self) -> None:
        self._selector.register(self._heard, selectors.EVENT_READ, None)
        while not self._stopping():
            try:
                self._turn()
            except Exception:  # there is no other thread: all streams would stand still, and nobody would hear of it
                log.exception("streams of claws' pages were held up")
                time.sleep(AFTER_FAULT_SECONDS)
        for stream in self._all():
            self._drop(stream)

    def _turn(self) -> None:
        for key, mask in self._selector.select(LOOK_SECONDS):
            if key.data is None:
                self._hear()
            else:
                self._guarded(key.data, key.fileobj, mask)
        self._take_news()
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._end_idle(self._looked)

    def _all(self) -> list[Stream]:
        """As they are now: others add to them meanwhile."""
        with self._lock:
            return list(self._streams)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)

    def _take_news(self) -> None:
        """In every turn, also without the bell: what a fault left is taken up again."""
        while self._new:
            self._begin(*self._new.popleft())
        while self._ending:
            key = self._ending.popleft()
            for stream in self._all():
                if stream.key == key:
                    self._drop(stream)

    def _begin(self, stream: Stream, to_browser: bytes, to_claw: bytes) -> None:
        try:
            for one in (stream.browser, stream.claw):
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                self._selector.register(one, selectors.EVENT_READ, stream)
        except (OSError, ValueError, KeyError):  # closed before it began
            return self._drop(stream)
        stream.waiting = {stream.browser: to_browser, stream.claw: to_claw}
        for one in (stream.browser, stream.claw):
            self._guarded(stream, one, selectors.EVENT_WRITE)

    def _guarded(self, stream: Stream, one: object, mask: int) -> None:
        if stream not in self._streams:
            return  # dropped in this same turn
        assert isinstance(one, socket.socket)
        try:
            if mask & selectors.EVENT_WRITE:
                self._write(stream, one)
            if mask & selectors.EVENT_READ and stream in self._streams:
                self._read(stream, one)
        except OSError:
            self._drop(stream)
        except Exception:  # one stream must not end all of them
            log.exception("a stream of a claw's page could not be passed on")
            self._drop(stream)

    def _read(self, stream: Stream, one: socket.socket) -> None:
        try:
            data = one.recv(PIECE)
        except BlockingIOError:
            return
        stream.moved = time.monotonic()
        other = stream.other(one)
        if not data:
            stream.ended.add(one)
        stream.waiting[other] = data if stream.both_ways or one is stream.claw else b""
        self._write(stream, other)

    def _write(self, stream: Stream, one: socket.socket) -> None:
        """What `one` is to get; while it does not take it, the other side is not read."""
        left = stream.waiting[one]
        if left:
            with contextlib.suppress(BlockingIOError):
                sent = one.send(left)
                stream.moved = time.monotonic()
                left = memoryview(left)[sent:] if sent < len(left) else b""
            stream.waiting[one] = left
        if stream.ended and not any(stream.waiting[two] for two in map(stream.other, stream.ended)):
            return self._drop(stream)
        self._listen(stream, one)
        self._listen(stream, stream.other(one))

    def _listen(self, stream: Stream, one: socket.socket) -> None:
        wanted = selectors.EVENT_WRITE if stream.waiting[one] else 0
        if one not in stream.ended and not stream.waiting[stream.other(one)]:
            wanted |= selectors.EVENT_READ
        known = self._selector.get_map().get(one)
        if wanted and known is None:
            self._selector.register(one, wanted, stream)
        elif wanted and known is not None and known.events != wanted:
            self._selector.modify(one, wanted, stream)
        elif not wanted and known is not None:
            self._selector.unregister(one)

    def _end_idle(self, now: float) -> None:
        for stream in self._all():
            if now - stream.moved > self._idle:
                self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        for one in (stream.browser, stream.claw):
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(one)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                one.close()
        with self._lock:
            self._streams.discard(stream)
            self._owners[stream.owner] -= 1
            if self._owners[stream.owner] <= 0:
                del self._owners[stream.owner]
