"""Reads the log files of one instance back: the last lines without reading all, and on across rotations."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from clawportal.sdk.bounded import MIB, last
from clawportal.sdk.runtimes import LogLine

_BLOCK = 256 * 1024
_POLL = 0.2
_HEARTBEAT = 0.6
_STAMP = 27
"""Length of `2026-11-23T01:10:28.123456Z`; stamps of one length in UTC can be compared as bytes."""
_MERGE_LIMIT = 256 * 1024
"""Pieces of one long line are put together up to this size."""


_HELD = 8 * MIB
"""Of lines that are held together to find the last ones, bytes."""


@dataclass(frozen=True)
class _Raw:
    stamp: bytes
    stream: bytes
    source: bytes
    whole: bool
    text: bytes


def _parse(line: bytes) -> _Raw | None:
    """None for a torn line."""
    part = line.split(b" ", 4)
    if (
        len(part) != 5
        or len(part[0]) != _STAMP
        or part[3] not in (b"F", b"P")
        or part[1] not in (b"stdout", b"stderr", b"portal")
    ):
        return None
    return _Raw(part[0], part[1], part[2], part[3] == b"F", part[4])


class _Joiner:
    """Puts the pieces of long lines together."""

    def __init__(self) -> None:
        self._open: dict[tuple[bytes, bytes], bytes] = {}

    def add(self, raw: _Raw) -> LogLine | None:
        key = (raw.stream, raw.source)
        text = self._open.pop(key, b"") + raw.text
        if not raw.whole and len(text) < _MERGE_LIMIT:
            self._open[key] = text
            return None
        return _line(raw, text)


def _line(raw: _Raw, text: bytes) -> LogLine | None:
    try:
        at = datetime.fromisoformat(raw.stamp.decode())
    except ValueError:
        return None
    stream = cast(Literal["stdout", "stderr", "portal"], raw.stream.decode())
    return LogLine(at, stream, raw.source.decode("utf-8", "replace"), text.rstrip(b"\r").decode("utf-8", "replace"))


def files(folder: Path) -> list[Path]:
    """Oldest first."""
    numbered = sorted(
        (path for path in folder.glob("log.*") if path.suffix[1:].isdigit()), key=lambda path: int(path.suffix[1:]), reverse=True
    )
    return [*numbered, folder / "log"]


def _last_lines(folder: Path, count: int, newest: int, end: int) -> list[bytes]:
    """The raw lines that make up the last `count` whole ones before `end` of the file with inode `newest`, oldest first."""
    kept: list[bytes] = []
    size = 0
    if count <= 0 or not newest:
        return kept
    for line in _all_backwards(folder, newest, end):
        whole = line[_STAMP:].split(b" ", 4)[3:4] == [b"F"]
        size += len(line)
        if whole and (count == 0 or size > _HELD):
            break
        count -= whole
        kept.append(line)
    return kept[::-1]


def _all_backwards(folder: Path, newest: int, end: int) -> Iterator[bytes]:
    reached = False
    for path in reversed(files(folder)):
        try:
            file = open(path, "rb")  # noqa: SIM115  # closed by the with below; a missing file is an ordinary case
        except FileNotFoundError:
            continue
        with file:
            found = os.fstat(file.fileno())
            if found.st_ino == newest:
                reached = True
                yield from _backwards(file.fileno(), end)
            elif reached:
                yield from _backwards(file.fileno(), found.st_size)


def _backwards(handle: int, position: int) -> Iterator[bytes]:
    """Lines before `position`, block by block."""
    rest = b""
    first = True
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        lines = (os.pread(handle, size, position) + rest).split(b"\n")
        rest = lines[0]
        newest = lines[:0:-1]
        if first:
            newest, first = newest[1:], False  # what follows the last line end is not a line yet
        yield from newest
    if rest:
        yield rest


class _Follower:
    """Stands in the files at one place and goes forward from there, also when they are renamed meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handle = -1
        self.inode = 0
        self.rest = b""

    def open_oldest(self, since: datetime | None = None) -> None:
        """At the start of the first file that can hold something as new as `since`."""
        earliest = since.timestamp() if since else 0.0
        self._open(next((path for path in files(self.folder) if _changed(path) >= earliest), self.folder / "log"))

    def open_end(self) -> int:
        """At the end of the last whole line; answers where that is."""
        self._open(next((path for path in reversed(files(self.folder)) if path.exists()), self.folder / "log"))
        return os.lseek(self.handle, _end_of_lines(self.handle), os.SEEK_SET) if self.handle >= 0 else 0

    def _open(self, path: Path) -> None:
        self.close()
        try:
            self.handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        self.inode = os.fstat(self.handle).st_ino
        self.rest = b""

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def more(self) -> list[bytes] | None:
        """The next lines; None when there is nothing now."""
        if self.handle < 0:
            self.open_oldest()
        data = os.read(self.handle, _BLOCK) if self.handle >= 0 else b""
        if not data:
            return [] if self.handle >= 0 and self._next_file() else None
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()[-_MERGE_LIMIT:]  # the supervisor's lines are short; this is none of them
        return lines

    def _next_file(self) -> bool:
        """Step into the file that came after this one."""
        if self._truncated():
            os.lseek(self.handle, 0, os.SEEK_SET)
            return True
        present = [(path, _inode(path)) for path in files(self.folder)]
        place = next((index for index, (_, inode) in enumerate(present) if inode == self.inode), None)
        if place == len(present) - 1:
            return False
        if os.read(self.handle, 1):  # written between our last read and the rotation
            os.lseek(self.handle, -1, os.SEEK_CUR)
            return True
        later = [path for path, inode in present[0 if place is None else place + 1 :] if inode]
        if later:
            self._open(later[0])
        return bool(later)

    def _truncated(self) -> bool:
        return os.fstat(self.handle).st_size < os.lseek(self.handle, 0, os.SEEK_CUR)


def _changed(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return -1.0


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _end_of_lines(handle: int) -> int:
    size = os.fstat(handle).st_size
    back = min(size, 64 * 1024)
    block = os.pread(handle, back, size - back)
    return size - back + block.rfind(b"\n") + 1 if b"\n" in block else size


def _stamp(at: datetime) -> bytes:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def read_run(
    folder: Path, *, begin: datetime, end: datetime, tail: int | None, since: datetime | None
) -> Iterator[LogLine | None]:
    """The lines of one run alone, by the times between which it was."""
    lines = read_lines(folder, tail=None, since=max(begin, since or begin), follow=False, stop=lambda: False)
    told = itertools.takewhile(lambda line: line is not None and line.at < end, lines)
    yield from told if tail is None else last(told, max(tail, 0), _HELD, lambda line: len(line.text) + 200 if line else 0)


def read_lines(
    folder: Path, *, tail: int | None, since: datetime | None, follow: bool, stop: Callable[[], bool]
) -> Iterator[LogLine | None]:
    """See `clawportal.contracts.runtimes.Runtime.logs`."""
    follower, joiner = _Follower(folder), _Joiner()
    oldest = _stamp(since) if since else b""
    try:
        if tail is not None:
            end = follower.open_end()  # first, so that nothing falls between the tail and what follows
            yield from _lines(_last_lines(folder, tail, follower.inode, end), oldest, joiner)
        else:
            follower.open_oldest(since)
        yield from _forward(follower, oldest, joiner, follow=follow, once=tail is None, stop=stop)
    finally:
        follower.close()


def _lines(raw_lines: list[bytes], oldest: bytes, joiner: _Joiner) -> Iterator[LogLine]:
    for line in raw_lines:
        if line[:_STAMP] < oldest:
            continue
        raw = _parse(line)
        joined = joiner.add(raw) if raw else None
        if joined is not None:
            yield joined


def _forward(
    follower: _Follower, oldest: bytes, joiner: _Joiner, *, follow: bool, once: bool, stop: Callable[[], bool]
) -> Iterator[LogLine | None]:
    told = time.monotonic()
    while (follow or once) and not stop():
        lines = follower.more()
        if lines is not None:
            yield from _lines(lines, oldest, joiner)
            told = time.monotonic() if lines else told
            continue
        if not follow:
            return
        if time.monotonic() - told >= _HEARTBEAT:
            told = time.monotonic()
            yield None
        time.sleep(_POLL)
