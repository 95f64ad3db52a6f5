"""Room on the disk of the data folder that is kept free for the portal itself.

Claws fill a disk to its last byte, and then nobody can sign in to delete something. So what would write much is refused while
less than the reserve is free; and a part of the reserve is a file, which claws cannot take: the portal gives it up piece by piece
when it could not write otherwise, and makes it again when there is room.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "reserve.bin"
MIB = 1024**2
_LARGEST_FILE = 16 * MIB
_FRESH = 1.0
"""Seconds for which an answer of the disk is good enough to tell people."""


@dataclass(frozen=True)
class Room:
    """In bytes."""

    free: int
    """What anybody may take."""
    kept: int
    """What only the portal can give itself."""
    reserve: int

    @property
    def left(self) -> int:
        """What may be taken before the reserve begins; negative inside it."""
        return self.free + self.kept - self.reserve

    @property
    def low(self) -> bool:
        return self.left < 0


class DiskRoom:
    """Of one data folder. `reserve` 0 keeps nothing."""

    def __init__(self, folder: Path, reserve: int) -> None:
        self.file, self.reserve = folder / FILE, reserve
        self._whole = min(reserve // 4, _LARGEST_FILE)
        self._lock = threading.Lock()
        self._seen: tuple[float, Room] | None = None

    def look(self, *, fresh: bool = False) -> Room:
        seen = self._seen
        if seen is None or fresh or time.monotonic() - seen[0] > _FRESH:
            seen = self._seen = (time.monotonic(), self._ask())
        return seen[1]

    def _ask(self) -> Room:
        disk = os.statvfs(self.file.parent)
        try:
            kept = self.file.stat().st_blocks * 512
        except FileNotFoundError:
            kept = 0
        return Room(disk.f_bavail * disk.f_frsize, kept, self.reserve)

    def make_way(self) -> Room:
        """Before the portal writes: give up a piece of the file where there is next to nothing else."""
        room = self.look()
        if room.free >= self._needed or not self.file.exists():
            return room
        with self._lock:
            room = self.look(fresh=True)
            if room.kept and room.free < self._needed:
                log.warning("the disk of %s is full: the portal uses its reserve", self.file.parent)
                with suppress(OSError):
                    os.truncate(self.file, max(0, room.kept - self._piece))
                room = self.look(fresh=True)
        return room

    @property
    def _piece(self) -> int:
        return max(MIB, self._whole // 4)

    @property
    def _needed(self) -> int:
        """So much the portal wants for its next steps: a few pages of the database and its log."""
        return self._piece // 2

    def keep(self) -> Room:
        """Now and then: make way, or make the file whole again where there is room."""
        room = self.make_way()
        missing = self._whole - room.kept
        if missing > 0 and room.free - missing > self.reserve:
            with suppress(OSError), closing(_File(self.file)) as file:
                os.posix_fallocate(file.handle, 0, self._whole)
        return self.look(fresh=missing > 0)


class _File:
    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self.handle)
