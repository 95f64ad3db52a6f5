"""What runs on this machine, now and as it changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clawportal.sdk import _m, _n
from clawportal.sdk.runtimes import Observed, Ref, RunState
from clawportal_process import proc, record
from clawportal_process.folders import Folders
from clawportal_process.record import Record

_FRESH = 50_000_000
"""Nanoseconds within which two changes of a folder may carry the same time; such a time is not trusted as a cache key."""


class Observer:
    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self._cache: dict[str, tuple[int, Record | None]] = {}
        self._watchers: set[int] = set()
        self._guard = threading.Lock()

    def inspect(self, ref: Ref) -> Observed:
        folder = self.folders.of(ref)
        last = record.read(folder / "run")
        return self._look(ref, folder, last)

    def observe(self) -> list[Observed]:
        return [
            seen
            for seen in (self._look(Ref(name), folder, last) for name, folder, last in self.all())
            if seen.state is not RunState.ABSENT
        ]

    def _look(self, ref: Ref, folder: Path, last: Record | None) -> Observed:
        if last is None:
            return Observed(ref, RunState.ABSENT)
        if last.end is None and not last.running():
            last = self.settled(folder, last)
        return record.seen(ref, last, running=last.end is None)

    def settled(self, folder: Path, last: Record) -> Record:
        """A supervisor is gone: what it wrote at the very end, or, where it could not write, what that means."""
        again = record.read(folder / "run")
        if again is None or again.end is not None or again.incarnation != last.incarnation:
            return again or last
        if last.boot != proc.boot_id():
            return record.write_end(
                folder / "run", last, _n("MachineRestarted"), _m("The machine was restarted while the claw ran.")
            )
        return record.write_end(
            folder / "run",
            last,
            _n("SupervisorLost"),
            _m("The process that watched over the claw was killed from outside; its log ends there."),
        )

    def all(self) -> Iterator[tuple[str, Path, Record | None]]:
        """Every instance with its record; a record is read again only when its folder has changed."""
        now = time.time_ns()
        with os.scandir(self.folders.base / "instances") as entries:
            for entry in entries:
                run = f"{entry.path}/run"
                try:
                    changed = os.stat(run).st_mtime_ns
                except OSError:
                    continue
                known = self._cache.get(entry.name)
                if known is None or known[0] != changed:
                    known = (changed if now - changed > _FRESH else 0, record.read(Path(run)))
                    self._cache[entry.name] = known
                yield entry.name, Path(entry.path), known[1]

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        """An exit is told by the kernel within milliseconds; a start by another portal is seen after two seconds."""
        from clawportal_process.watching import Watch

        watch = Watch(self._all_running)
        with self._guard:
            self._watchers.add(watch.wake)
        try:
            for name in watch.changes(stop):
                yield self.inspect(Ref(name)) if name else None
        finally:
            with self._guard:
                self._watchers.discard(watch.wake)
            watch.close()

    def _all_running(self) -> dict[str, tuple[int, int]]:
        return {name: (last.pid, last.start) for name, _, last in self.all() if last is not None and last.running()}

    def wake(self) -> None:
        with self._guard:
            for handle in self._watchers:
                os.eventfd_write(handle, 1)

    def forget(self, name: str) -> None:
        self._cache.pop(name, None)
