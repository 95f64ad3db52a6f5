"""Measures what the folders of instances hold, a little at a time: a fleet has millions of files, and a sample must be quick."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SLICE = 0.02
"""Seconds that one call may spend."""
_EVERY = 60.0
"""Seconds after which an instance is measured again."""
_ROOTS = ("home", "state", "work", "tmp")


@dataclass
class _Known:
    folder: Path
    run: str
    bytes: int | None = None
    due: float = 0.0


class DiskUse:
    """Of one place. `known` answers what was measured last, `go_on` measures for a moment."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._walk: tuple[_Known, Iterator[int]] | None = None
        self._total = 0
        self._guard = threading.Lock()

    def known(self, name: str, folder: Path, run: str = "") -> int | None:
        """`run` names one start: what was measured before it says nothing about what somebody deleted meanwhile."""
        known = self._known.get(name)
        if known is None or known.run != run:
            known = self._known[name] = _Known(folder, run)
        return known.bytes

    def forget(self, name: str) -> None:
        self._known.pop(name, None)

    def go_on(self) -> None:
        if not self._guard.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._measure(time.monotonic() + _SLICE)
        finally:
            self._guard.release()

    def _measure(self, until: float) -> None:
        while time.monotonic() < until:
            if self._walk is None:
                known = self._next()
                if known is None:
                    return
                self._walk, self._total = (known, _sizes(known.folder)), 0
            self._step(*self._walk, until)

    def _next(self) -> _Known | None:
        """The one that has waited longest."""
        now = time.monotonic()
        due = [known for known in list(self._known.values()) if known.due <= now]
        return min(due, key=lambda known: known.due) if due else None

    def _step(self, known: _Known, sizes: Iterator[int], until: float) -> None:
        for size in sizes:
            self._total += size
            if time.monotonic() >= until:
                return
        self._walk = None
        known.bytes, known.due = self._total, time.monotonic() + _EVERY


def _sizes(folder: Path) -> Iterator[int]:
    """What each entry takes; a file with several names counts once. Links are not followed."""
    seen: set[tuple[int, int]] = set()
    todo = [str(folder / root) for root in _ROOTS]
    while todo:
        try:
            entries = os.scandir(todo.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    todo.append(entry.path)
                elif status.st_nlink > 1:
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                yield status.st_blocks * 512
