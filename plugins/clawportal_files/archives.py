"""Files and folders as a ZIP archive, made while it is sent: never whole in memory or on disk, and bounded before it begins."""

from __future__ import annotations

import io
import posixpath
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from flask import Response

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, Invalid
from clawportal.sdk.file_scripts import clamped
from clawportal.sdk.files import Reach, Spot, file_spot, hidden, lasting, reach, spot, tell_of_download
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal.sdk.redact import ByteMasker
from clawportal_files.places import below
from clawportal_files.reading import Contents, Count, measured

ZIP = "application/zip"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = 4_354_819_198
"""What a ZIP archive can say."""


@dataclass(frozen=True)
class Archive:
    name: str
    """To be saved as."""
    pieces: Iterator[bytes]
    close: Callable[[], None]


def sent(made: Callable[[], Archive]) -> Response:
    """An archive as it is made."""

    def begin() -> tuple[Response, Callable[[], None]]:
        found = made()
        answer = Response(found.pieces, mimetype=ZIP)
        answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name, safe='')}"
        return answer, found.close

    return lasting(begin)


def zipped(portal: Portal, actor: Actor, instance_id: str, path: str) -> Archive:
    """Of one folder."""
    files, place = reach(portal, actor, instance_id), spot(path)
    if place is None:
        raise Invalid.field("path", _m("must name a folder, such as work/notes"), "missing")
    files.enter(place)
    there = files.find(place) if place.inner else None
    if there is not None and there.kind == "file":
        raise Conflict(_m("%(path)s is no folder; download it as it is.", path=place.path))
    return _archive(portal, actor, files, [place], place)


def zipped_together(portal: Portal, actor: Actor, instance_id: str, paths: Sequence[str]) -> Archive:
    """Of several files and folders, each by its path below the folder that holds them all."""
    files, places = reach(portal, actor, instance_id), [_chosen(path) for path in paths]
    if not places:
        raise Invalid.field("paths", _m("must name what to download"), "missing")
    for place in places:
        files.enter(place)
    outermost = [one for one in dict.fromkeys(places) if not any(below(one, other) for other in places if other != one)]
    roots = {place.root for place in places}
    above = posixpath.commonpath([place.above for place in places]) if len(roots) == 1 else ""
    return _archive(portal, actor, files, outermost, Spot(places[0].root, above) if len(roots) == 1 else None)


def _chosen(path: str) -> Spot:
    try:
        return file_spot(path.rstrip("/"))
    except Invalid as problem:
        raise Invalid.field("paths", problem.errors[0].message, problem.errors[0].code) from problem


def _archive(portal: Portal, actor: Actor, files: Reach, places: Sequence[Spot], above: Spot | None) -> Archive:
    """All of them are measured together, and none of them is read before."""
    count = Count(portal, above or places[0])
    for place in places:
        held = measured(portal, files, place)
        count.add(held.size, held.entries)
    sources = _Sources(files, places, above, Count(portal, above or places[0]))
    try:
        for place in places:
            tell_of_download(portal, actor, files, place)
    except BaseException:
        sources.close()
        raise
    name = f"{files.name}-{above.name}.zip" if above else f"{files.name}.zip"
    return Archive(name, _packed(sources, files.hider()), sources.close)


class _Sources:
    """Files and folders one after the other, so that one stream is open at a time; the first is when this is made."""

    def __init__(self, files: Reach, places: Sequence[Spot], above: Spot | None, count: Count) -> None:
        self._files, self._places, self._above, self._count = files, places, above, count
        self._open = Contents(files, places[0], count)

    def __iter__(self) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
        for number, place in enumerate(self._places):
            if number:
                self._open.close()
                self._open = Contents(self._files, place, self._count)
            prefix = self._prefix(place)
            for info, content in self._open:
                info.name = prefix + info.name.removeprefix("./")
                yield info, content

    def _prefix(self, place: Spot) -> str:
        """The folders between what holds all, and this."""
        if place == self._above or not place.inner:
            return ""
        above = Spot(place.root, place.above).path
        inner = above[len(self._above.path) :].lstrip("/") if self._above else above
        return f"{inner}/" if inner else ""

    def close(self) -> None:
        self._open.close()


class _Sink(io.RawIOBase):
    """What zipfile writes, to be taken away piece by piece; it cannot go back in it, and writes sizes after each file."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = memoryview(data)  # type: ignore[arg-type]  # what zipfile writes are bytes
        self._held += raw
        return raw.nbytes

    def taken(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held


def _packed(contents: Iterable[tuple[tarfile.TarInfo, Iterator[bytes]]], hide: ByteMasker | None) -> Iterator[bytes]:
    """Files and folders; links are left out, since a ZIP archive says nothing that all programs read of them."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for info, content in contents:
            name = info.name.removeprefix("./").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            if info.isdir() and name not in ("", "."):
                archive.writestr(_about(f"{name.rstrip('/')}/", info), b"")
            elif info.isreg():
                yield from _file(archive, _about(name, info), hidden(content, hide), sink)
            if len(piece := sink.taken()):
                yield piece
    yield sink.taken()


def _file(archive: zipfile.ZipFile, about: zipfile.ZipInfo, content: Iterator[bytes], sink: _Sink) -> Iterator[bytes]:
    with archive.open(about, "w", force_zip64=True) as target:
        for piece in content:
            target.write(piece)
            if len(done := sink.taken()):
                yield done


def _about(name: str, info: tarfile.TarInfo) -> zipfile.ZipInfo:
    at = time.gmtime(min(clamped(info.mtime), _LATEST))[:6]
    made = zipfile.ZipInfo(name, max(at, _EARLIEST))
    made.external_attr = (info.mode & 0o777) << 16 | (0x10 if info.isdir() else 0)
    made.compress_type = zipfile.ZIP_DEFLATED
    return made
