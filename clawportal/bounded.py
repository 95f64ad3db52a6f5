"""Limits for whatever is read from outside: a claw, a model, a cluster, a provider.

The timeout of a socket begins anew with every byte, so whoever drips a byte a second is never cut off, and a line without an end
fills the memory. A `Budget` holds one exchange as a whole to a time and a size; everything here spends from one.
"""

from __future__ import annotations

import http.client
import json
import queue
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from clawportal.messages import _m

T = TypeVar("T")

KIB, MIB = 1024, 1024**2
LINE = MIB
"""Longest line or message of a claw, bytes."""
TURN = 900.0
"""Longest turn of a chat, seconds. It may call many tools, so this is long; it only has to end at all."""
ANSWER = 4 * MIB
"""Most text of one answer, characters."""
STREAM = 32 * MIB
"""Most that one streamed answer may take on the wire, bytes; the words in it are counted apart."""


class TooSlow(TimeoutError):
    """The time for the whole exchange is over, however much still comes."""


class TooMuch(OSError):
    """More came than an honest answer has."""


class Budget:
    """Time and bytes of one exchange: connecting, asking and the whole answer. `silence`: longest pause between two bytes."""

    def __init__(self, seconds: float, most: int, *, silence: float | None = None) -> None:
        self.seconds, self.most, self.silence = seconds, most, silence
        self._until, self._left = time.monotonic() + seconds, most

    def wait(self) -> float:
        """How long the next byte may take, seconds."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TooSlow(_m("no whole answer within %(seconds)s s", seconds=f"{self.seconds:g}"))
        return left if self.silence is None else min(left, self.silence)

    def took(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooMuch(_m("the answer is larger than %(size_in_words)s", size_in_words=size_in_words(self.most)))


def size_in_words(size: int) -> str:
    """`64 KB`, `4 MB`: as people say it."""
    value, units = float(size), ["bytes", "KB", "MB", "GB", "TB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f}".removesuffix(".0") + f" {units[0]}"


def parse_json(text: str | bytes) -> Any:
    """What JSON of others says; ValueError for what is none, also where it is nested deeper than anything honest."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(_m("it is nested too deeply")) from error


# ---- sockets and HTTP


class BoundedSocket(socket.socket):
    """A socket all of whose reads and writes spend from one budget."""

    budget: Budget
    silence: float | None = None
    """How long the next byte may take, where that is less than the budget says."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self._begin()
        data = super().recv(bufsize, flags)
        self.budget.took(len(data))
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:
        self._begin()
        size = super().recv_into(buffer, nbytes, flags)
        self.budget.took(size)
        return size

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._begin()
        super().sendall(data, flags)

    def _begin(self) -> None:
        left = self.budget.wait()
        self.settimeout(left if self.silence is None else min(left, self.silence))


def connect(host: str, port: int, budget: Budget) -> BoundedSocket:
    plain = socket.create_connection((host, port), timeout=budget.wait())
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bounded = BoundedSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    bounded.budget = budget
    return bounded


class HTTPConnection(http.client.HTTPConnection):
    """For one request within one budget: endless headers and dripped ones are spent from it like the body.

    http.client and not httpx: two hundred health checks every half minute have to cost next to nothing.
    """

    def __init__(self, host: str, port: int, budget: Budget) -> None:
        super().__init__(host, port)
        self.budget = budget

    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self.budget)


def lines(answer: http.client.HTTPResponse, most: int = LINE) -> Iterator[bytes]:
    """Line by line; `TooMuch` for one that does not end."""
    while line := answer.readline(most + 1):
        if len(line) > most:
            raise TooMuch(_m("one line of the answer is longer than %(size_in_words)s", size_in_words=size_in_words(most)))
        yield line


# ---- what is kept of a stream


def last(items: Iterable[T], count: int | None, most: int, size: Callable[[T], int]) -> deque[T]:
    """The last `count` items, fewer where these together are larger than `most`; at least the very last one."""
    kept: deque[T] = deque()
    total = 0
    for item in items:
        kept.append(item)
        total += size(item)
        while kept and ((count is not None and len(kept) > count) or (total > most and len(kept) > 1)):
            total -= size(kept.popleft())
    return kept


class SizedQueue(Generic[T]):
    """A queue that is full by the size of what is in it, or by its number. Items larger than all pass one at a time."""

    def __init__(self, count: int, most: int, size: Callable[[T], int]) -> None:
        self._items: queue.Queue[T] = queue.Queue(count)
        self._most, self._size, self._held = most, size, 0
        self._room = self._items.not_full

    def put(self, item: T, timeout: float) -> None:
        """`queue.Full` after `timeout` seconds without room."""
        end, needed = time.monotonic() + timeout, self._size(item)
        with self._room:
            while self._held and self._held + needed > self._most:
                if not self._room.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    raise queue.Full
            self._held += needed
        try:
            self._items.put(item, timeout=max(0.001, end - time.monotonic()))
        except queue.Full:
            self._gave(needed)
            raise

    def get(self, timeout: float) -> T:
        """`queue.Empty` after `timeout` seconds without an item."""
        item = self._items.get(timeout=timeout) if timeout > 0 else self._items.get_nowait()
        self._gave(self._size(item))
        return item

    def empty(self) -> bool:
        return self._items.empty()

    def _gave(self, size: int) -> None:
        with self._room:
            self._held -= size
            self._room.notify_all()
