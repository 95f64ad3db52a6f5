"""The newest resource figures of every instance, in memory: what a page shows as "now"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clawportal.contracts.runtimes import Sample
from clawportal.lifecycle import Phase, Sync

_RUNS = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})


@dataclass(frozen=True)
class Usage:
    """CPU over the last interval in percent of one core, memory of the whole tree in bytes."""

    at: datetime
    cpu_percent: float | None
    memory_bytes: int
    processes: int
    disk_bytes: int | None = None


class LiveSamples:
    """Written by the sampling job, read by anybody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, dict[str, Sample]] = {}
        self._usage: dict[str, Usage] = {}
        self.listeners: list[Callable[[Mapping[str, Usage]], None]] = []
        """Called with each sampling, after it was taken in."""

    def update(self, samples: Iterable[Sample], cluster: str = "") -> None:
        """Take in one complete sampling of a cluster: instances of it that are not in it no longer run."""
        last = {sample.ref.instance_id: sample for sample in samples}
        with self._lock:
            before = self._last.pop(cluster, {})
            told = {key: _usage(before.get(key), sample) for key, sample in last.items()}
            self._usage = {key: usage for key, usage in self._usage.items() if key not in before} | told
            self._last[cluster] = last
        for listener in tuple(self.listeners):
            listener(told)

    def get(self, instance_id: str) -> Usage | None:
        """What was measured last, even of what does not run any more."""
        return self._usage.get(instance_id)

    def now(self, instance: Any) -> Usage | None:
        """What an instance uses now, by a row with `id`, `phase` and `sync`; None where nobody knows that it runs."""
        known = instance.phase in _RUNS and instance.sync != Sync.UNKNOWN
        return self._usage.get(instance.id) if known else None


def _usage(before: Sample | None, now: Sample) -> Usage:
    cpu = None
    if before is not None:
        seconds = (now.at - before.at).total_seconds()
        used = now.cpu_seconds - before.cpu_seconds
        if seconds > 0 and used >= 0:  # less than before: it was restarted in between
            cpu = 100 * used / seconds
    return Usage(now.at, cpu, now.memory_bytes, now.processes, now.disk_bytes)
