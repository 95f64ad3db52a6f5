"""What a file or folder holds: measured before it is read, and counted entry by entry as it comes, as a claw goes on writing."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, NotFound
from clawportal.sdk.files import FileEntry, Reach, Spot, TooLarge, close, content_of, map_errors, next_of, opened, readable
from clawportal.sdk.fleet import Portal
from clawportal_files.settings import FilesSettings


@dataclass(frozen=True)
class Measured:
    """What a file or folder holds."""

    size: int
    entries: int


def measured(portal: Portal, files: Reach, place: Spot) -> Measured:
    """A problem where that is more than is copied or packed at once."""
    limits = portal.section(FilesSettings)
    there = files.find(place) if place.inner else None
    if there is not None and there.kind in ("link", "other"):
        raise Conflict(_m("%(path)s is a link or no regular file; only files and folders can be had.", path=place.path))
    if there is not None and there.kind == "file":
        found: list[FileEntry] = [there]
    else:
        with map_errors(files.name, place):
            found = files.runtime.find_files(files.ref, place.root, place.inner, "", limits.archive_entries + 1)
    size = sum(entry.size for entry in found if entry.kind == "file")
    Count(portal, place).add(size, len(found))
    return Measured(size, len(found))


class Count:
    """Of bytes and entries; TooLarge beyond what is copied or packed at once."""

    def __init__(self, portal: Portal, place: Spot) -> None:
        limits = portal.section(FilesSettings)
        self.size = self.entries = 0
        self._most_bytes, self._most_entries, self._place = limits.archive_mib << 20, limits.archive_entries, place

    def add(self, size: int, entries: int = 1) -> None:
        self.size, self.entries = self.size + size, self.entries + entries
        if self.entries > self._most_entries or self.size > self._most_bytes:
            raise TooLarge(
                _m(
                    "%(path)s holds more than %(most)s files or %(size)s. Take its folders one by one.",
                    path=self._place.path,
                    most=self._most_entries,
                    size=readable(self._most_bytes),
                )
            )


class Counts(Protocol):
    def add(self, size: int, entries: int = 1) -> None:
        """A problem where that is too much."""


class Contents:
    """A file or folder as it comes out of a claw; to be closed."""

    def __init__(self, files: Reach, place: Spot, count: Counts) -> None:
        self._files, self._place, self._count = files, place, count
        self._stream, self._tar, self.first = opened(files, place)

    def close(self) -> None:
        close(self._stream)

    def __iter__(self) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
        """Each entry with its content, to be read before the next. Second names of files come last, each as a file of its own."""
        info, second = self.first, []
        while info is not None:
            self._count.add(info.size if info.isreg() else 0)
            if info.islnk():
                second.append(info.name)
            else:
                yield info, content_of(self._tar, info) if info.isreg() else iter(())
            info = next_of(self._tar)
        for name in second:
            yield from self._second(name)

    def _second(self, name: str) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
        """An archive has the content of a file once, under the first of its names: what is asked for alone comes with it."""
        inner = name.removeprefix("./")
        above = self._place.above if self._place.inner else ""
        try:
            stream, tar, info = opened(self._files, Spot(self._place.root, f"{above}/{inner}" if above else inner))
        except NotFound:  # it went meanwhile
            return
        try:
            if info is not None and info.isreg():
                self._count.add(info.size, 0)
                info.name = name
                yield info, content_of(tar, info)
        finally:
            close(stream)
