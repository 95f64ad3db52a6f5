"""A folder as a ZIP archive, made while it is sent: never whole in memory or on disk, and bounded before it begins."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, Invalid
from clawportal.sdk.file_scripts import clamped
from clawportal.sdk.files import hidden, reach, spot, tell_of_download
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal.sdk.redact import ByteMasker
from clawportal_files.reading import Contents, Count, measured

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = 4_354_819_198
"""What a ZIP archive can say."""


@dataclass(frozen=True)
class Archive:
    name: str
    """To be saved as."""
    pieces: Iterator[bytes]
    close: Callable[[], None]


def zipped(portal: Portal, actor: Actor, instance_id: str, path: str) -> Archive:
    files, place = reach(portal, actor, instance_id), spot(path)
    if place is None:
        raise Invalid.field("path", _m("must name a folder, such as work/notes"), "missing")
    files.enter(place)
    measured(portal, files, place)
    contents = Contents(files, place, Count(portal, place))
    try:
        if place.inner and (contents.first is None or not contents.first.isdir()):
            raise Conflict(_m("%(path)s is no folder; download it as it is.", path=place.path))
        tell_of_download(portal, actor, files, place)
    except BaseException:
        contents.close()
        raise
    return Archive(f"{files.name}-{place.name}.zip", _packed(contents, files.hider()), contents.close)


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


def _packed(contents: Contents, hide: ByteMasker | None) -> Iterator[bytes]:
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
