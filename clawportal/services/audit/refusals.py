"""Refused attempts in the audit: each is told, but equal ones together, and a flood cannot fill the disk.

The first of a kind is written at once. Equal ones within a minute are counted and become one entry. Kinds that are new cost a
token each: of who asks (an account, or the network of an address), of their tenant, and of all together, so that a flood hides
nothing but itself. When tokens are gone, the rest of the same source is counted together. A process that is killed loses the
counts of its last minute.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

from clawportal import client_addresses
from clawportal.db import transaction
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.services.audit import trail
from clawportal.services.audit.trail import REFUSED, Pending

WINDOW = 60.0
"""Seconds in which equal refusals become one entry."""
OF_ONE, OF_TENANT, OF_ALL = 60, 200, 600
"""Different refusals that are told one by one at once: of one account or network, of one tenant, of all."""
REFILL = 20.0
"""Seconds after which one more of the same source or tenant may be told."""
REFILL_ALL = 5.0
"""The same for all together: at most 17,280 a day, about 12 MB."""
MANY_AT_MOST = 100
"""Sources that are counted together one by one; above that, all of a tenant."""
SOURCES = 10_000
"""So many are remembered; then those that have all their tokens again are forgotten, and more share one budget."""


@dataclass
class _Repeat:
    entry: Pending
    since: float
    times: int = 0


@dataclass
class _Bucket:
    """Tokens that come back with time."""

    most: int
    refill: float
    tokens: float
    filled: float

    def level(self, now: float) -> float:
        return min(self.most, self.tokens + (now - self.filled) / self.refill)

    def take(self, now: float) -> None:
        self.tokens, self.filled = self.level(now) - 1, now


class Refusals:
    """The refusals of one process."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, ...], _Repeat] = {}
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._next = clock() + WINDOW

    def add(self, entry: Pending) -> list[Pending]:
        """What has to be written now."""
        with self._lock:
            ready = self._due()
            key = _key(entry)
            if key not in self._seen:
                if self._token(entry):
                    self._seen[key] = _Repeat(entry, self._clock())
                    return [*ready, entry]
                key = ("many", *self._together(entry))
                self._seen.setdefault(key, _Repeat(_many(entry), self._clock()))
            self._seen[key].times += 1
        return ready

    def due(self, *, everything: bool = False) -> list[Pending]:
        """Counts whose minute is over."""
        if not everything and self._clock() < self._next:
            return []
        with self._lock:
            return self._due(everything=everything)

    def _due(self, *, everything: bool = False) -> list[Pending]:
        now = self._clock()
        if not everything and now < self._next:
            return []
        over = [key for key, repeat in self._seen.items() if everything or now - repeat.since >= WINDOW]
        ready = [replace(repeat.entry, times=repeat.times) for key in over if (repeat := self._seen.pop(key)).times]
        self._next = min((repeat.since for repeat in self._seen.values()), default=now) + WINDOW
        return ready

    def _token(self, entry: Pending) -> bool:
        """One of each bucket, or none at all."""
        now = self._clock()
        asked = [self._bucket(name, now) for name in (("one", _source(entry)), ("tenant", _tenant(entry)), ("all", ""))]
        if any(bucket.level(now) < 1 for bucket in asked):
            return False
        for bucket in asked:
            bucket.take(now)
        return True

    def _bucket(self, name: tuple[str, str], now: float) -> _Bucket:
        if name not in self._buckets and len(self._buckets) >= SOURCES:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.level(now) < bucket.most}
            name = name if len(self._buckets) < SOURCES or name[0] != "one" else ("one", "")
        most = {"one": OF_ONE, "tenant": OF_TENANT}.get(name[0], OF_ALL)
        return self._buckets.setdefault(name, _Bucket(most, REFILL_ALL if name[0] == "all" else REFILL, most, now))

    def _together(self, entry: Pending) -> tuple[str, str]:
        """By source; where there are too many of those, by tenant."""
        source = _source(entry) if sum(key[0] == "many" for key in self._seen) < MANY_AT_MOST else ""
        return _tenant(entry), source


class Clock(Protocol):
    def __call__(self) -> float: ...


def _key(entry: Pending) -> tuple[str, ...]:
    address = entry.origin.address if entry.origin else ""
    return (entry.actor.id or address, entry.action, entry.object_id or entry.object_name, str(entry.status))


def _source(entry: Pending) -> str:
    return entry.actor.id or client_addresses.network_of(entry.origin.address if entry.origin else "")


def _tenant(entry: Pending) -> str:
    """Of who asks, as far as that is one alone; nobody's is "" like that of people of several."""
    actor = entry.actor
    found = {grant.tenant_id or "" for grant in (*actor.grants, *actor.withheld)} - {""}
    return actor.inside or (found.pop() if len(found) == 1 else "")


def _many(entry: Pending) -> Pending:
    return Pending(
        "many",
        entry.actor,
        result=REFUSED,
        summary=_m("More refused attempts than can be told one by one."),
        reason=_m("Too many different attempts at a time."),
        tenant_id=entry.tenant_id or _tenant(entry) or None,
        origin=entry.origin,
    )


def write_rest(portal: Portal) -> None:
    """What was counted in the present minute, at the end of the process."""
    write(portal.part(Refusals).due(everything=True))


def write(entries: list[Pending]) -> None:
    """After the refusal, in a transaction of its own."""
    if entries:
        with transaction():
            for entry in entries:
                trail.note(entry)
