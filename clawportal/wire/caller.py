"""One connection as the loop knows it: what it has sent so far, and what is waited for."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import Any

from clawportal.wire.arriving import Head
from clawportal.wire.connection import Connection


class Waits(Enum):
    """What the loop waits for."""

    REQUEST = "request"
    """Nothing of a request has come; browsers keep such connections open."""
    HEAD = "head"
    BODY = "body"
    GOODBYE = "goodbye"
    """All is answered; the other side is to close first, so that it surely gets the end of the answer."""


PATIENCE = {Waits.REQUEST: 30.0, Waits.HEAD: 10.0, Waits.BODY: 30.0, Waits.GOODBYE: 2.0}
"""Seconds."""
NEWCOMER = 1.0
"""Seconds in which a connection that came, or was answered, is not yet taken for one that asks nothing."""


class Caller:
    """Has the fields that gunicorn expects of a connection, too: `sock`, `client`, `server`, `parser`."""

    def __init__(self, sock: Connection, client: Any, server: Any, address: str) -> None:
        self.sock, self.client, self.server = sock, client, server
        self.peer = self.address = address
        """Who is counted: whoever connected, or as a proxy that is believed tells."""
        self.parser: Any = None
        self.received = bytearray()
        self.searched = 0
        self.held = 0
        """Bytes of `received` that are counted."""
        self.head: Head | None = None
        self.waits = Waits.REQUEST
        self.listed = False
        """Whether the loop waits for it. What was closed a moment ago may still have an event in the same turn."""
        self.since = self.until = 0.0
        """When it began to wait for what it waits for, and when that is over."""
        self.drained = 0
        self.place = ""
        """Of which kind its place is while a thread works for it: `ordinary`, `slow`, or none."""


class Waiting:
    """Connections that no thread works for. Each kind has one patience, so the first that came is the first that is over."""

    def __init__(self) -> None:
        self._by_kind: dict[Waits, OrderedDict[Caller, None]] = {kind: OrderedDict() for kind in Waits}
        self._half_sent: Counter[str] = Counter()

    def add(self, caller: Caller, kind: Waits) -> None:
        caller.waits, caller.since, caller.listed = kind, time.monotonic(), True
        caller.until = caller.since + PATIENCE[kind]
        self._by_kind[kind][caller] = None
        if kind in (Waits.HEAD, Waits.BODY):
            self._half_sent[caller.address] += 1

    def remove(self, caller: Caller) -> None:
        caller.listed = False
        del self._by_kind[caller.waits][caller]
        if caller.waits in (Waits.HEAD, Waits.BODY):
            self._half_sent[caller.address] -= 1
            if not self._half_sent[caller.address]:
                del self._half_sent[caller.address]

    def over(self, now: float) -> Iterator[Caller]:
        """Those whose time is up; each is removed by the caller of this."""
        for kind in Waits:
            while (first := next(iter(self._by_kind[kind]), None)) is not None and first.until <= now:
                yield first

    def least_needed(self) -> Caller | None:
        """Whom to close when there is no room: who is done, who asks for nothing, then the oldest of whoever has most.
        Who has just come is about to ask."""
        done, idle = (next(iter(self._by_kind[kind]), None) for kind in (Waits.GOODBYE, Waits.REQUEST))
        if done is not None:
            return done
        if idle is not None and time.monotonic() - idle.since > NEWCOMER:
            return idle
        most = max(self._half_sent, key=lambda address: self._half_sent[address], default=None)
        half = (*self._by_kind[Waits.HEAD], *self._by_kind[Waits.BODY])
        return next((caller for caller in half if caller.address == most), idle)

    def hurry(self, kind: Waits, until: float) -> None:
        for caller in self._by_kind[kind]:
            caller.until = min(caller.until, until)

    def __len__(self) -> int:
        return sum(len(callers) for callers in self._by_kind.values())
