"""Refused attempts in the audit: each is told, but equal ones together, and a flood cannot fill the disk.

The first of a kind is written at once. Equal ones within a minute are counted and become one entry. Kinds that are new cost a
token each; when all tokens are gone, the rest is counted together. A process that is killed loses the counts of its last minute.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

from clawportal.db import transaction
from clawportal.services import audit
from clawportal.services.audit import REFUSED, Pending

WINDOW = 60.0
"""Seconds in which equal refusals become one entry."""
BURST = 200
"""Different refusals that are told one by one at once."""
REFILL = 20.0
"""Seconds after which one more may be told: at most 4,320 a day, about 3 MB."""

_MANY = ("",)


@dataclass
class _Repeat:
    entry: Pending
    since: float
    times: int = 0


class Refusals:
    """The refusals of one process."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, ...], _Repeat] = {}
        self._tokens, self._filled = float(BURST), clock()
        self._next = clock() + WINDOW

    def add(self, entry: Pending) -> list[Pending]:
        """What has to be written now."""
        with self._lock:
            ready = self._due()
            key = _key(entry)
            if key not in self._seen:
                if self._token():
                    self._seen[key] = _Repeat(entry, self._clock())
                    return [*ready, entry]
                key = _MANY
                self._seen.setdefault(key, _Repeat(_many(), self._clock()))
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

    def _token(self) -> bool:
        now = self._clock()
        self._tokens, self._filled = min(BURST, self._tokens + (now - self._filled) / REFILL), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Clock(Protocol):
    def __call__(self) -> float: ...


def _key(entry: Pending) -> tuple[str, ...]:
    address = entry.origin.address if entry.origin else ""
    return (entry.actor.id or address, entry.action, entry.object_id or entry.object_name, str(entry.status))


def _many() -> Pending:
    return Pending(
        "many", audit.NOBODY, result=REFUSED, summary="More refused attempts than can be told one by one.",
        reason="Too many different attempts at a time.",
    )  # fmt: skip


def write(entries: list[Pending]) -> None:
    """After the refusal, in a transaction of its own."""
    if entries:
        with transaction():
            for entry in entries:
                audit.note(entry)
