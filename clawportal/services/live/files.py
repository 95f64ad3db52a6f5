"""Files of an instance for people: folders listed, files and folders handed out, files taken in; always as streams.

Whoever lacks the right to a console sees no value of a secret anywhere: it is replaced by asterisks on the way out.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from clawportal.contracts.core_permissions import INSTANCE_FILES_WRITE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import FileEntry
from clawportal.engine.portal import Portal
from clawportal.errors import BadRequest, Conflict, Invalid
from clawportal.file_scripts import clamped
from clawportal.messages import _m
from clawportal.redact import ByteMasker
from clawportal.services.live.file_access import ROOTS, Exists, Reach, Spot, counted_in, fits, map_errors, reach, spot, tell
from clawportal.services.system import disk_guard

PIECE = 256 * 1024
MOST_LISTED = 5000
_BLOCK = 512


@dataclass(frozen=True)
class Entry:
    """One line of a folder."""

    name: str
    path: str
    """By which it is asked for; empty for a name that is no text, which can only be had with its folder."""
    kind: Literal["file", "folder", "link", "other"]
    size: int | None
    modified: datetime | None
    owner: Literal["", "portal", "claw"] = ""
    """Whose file of the plan it is; see `Reach.owner`."""


@dataclass(frozen=True)
class Folder:
    path: str
    """Empty above the roots."""
    entries: Sequence[Entry]
    """Folders first."""
    total: int
    """How many there are; of very many only the first are told."""
    readable: bool
    """Whether who asks may have the content of what is here."""
    writable: bool


@dataclass(frozen=True)
class Download:
    name: str
    """To be saved as."""
    folder: bool
    """Then it is a tar archive."""
    size: int | None
    """Of a file."""
    pieces: Iterator[bytes]
    close: Callable[[], None]


# ---- looking


def listing(portal: Portal, actor: Actor, instance_id: str, path: str = "") -> Folder:
    return folder_of(reach(portal, actor, instance_id), path, MOST_LISTED)


def folder_of(files: Reach, path: str, most: int | None = None) -> Folder:
    """A folder with its first `most` entries, or all."""
    place = spot(path)
    if place is None:
        roots = [Entry(root, root, "folder", None, None) for root in ROOTS]
        return Folder("", roots, len(roots), readable=False, writable=False)
    found = listed(files, place)
    inside = files.inside(place)
    entries = [entry_of(files, place, entry) for entry in found[:most]]
    return Folder(place.path, entries, len(found), inside, inside and files.writes)


def listed(files: Reach, place: Spot) -> list[FileEntry]:
    """What is in a folder as the place tells it, folders first; `entry_of` makes a line of what is shown of it."""
    with map_errors(files.name, place):
        found = files.runtime.list_files(files.ref, place.root, place.inner)
    found.sort(key=lambda entry: (entry.kind != "folder", entry.name.casefold(), entry.name))
    return found


def entry_of(files: Reach, place: Spot, entry: FileEntry) -> Entry:
    raw = entry.name.encode("utf-8", "surrogateescape")
    name = raw.decode("utf-8", "replace")
    path = f"{place.path}/{name}" if name == entry.name else ""
    inner = f"{place.inner}/{name}" if place.inner else name
    size = None if entry.kind == "folder" else entry.size
    return Entry(name, path, entry.kind, size, entry.modified, files.owner(Spot(place.root, inner)))


# ---- out


def download(portal: Portal, actor: Actor, instance_id: str, path: str) -> Download:
    """A file as it is, a folder as a tar archive; noted as an event before anything is handed out."""
    files = reach(portal, actor, instance_id)
    place = spot(path)
    if place is None:
        raise Invalid.field("path", _m("must name a file or folder, such as work/notes.txt"), "missing")
    files.enter(place)
    hide = files.hider()
    stream, tar, first = opened(files, place)
    try:
        folder = not place.inner or (first is not None and first.isdir())
        if not folder and (first is None or not first.isreg()):
            raise Conflict(_m("%(path)s is a link or no regular file; only files and folders can be had.", path=place.path))
        tell_of_download(portal, actor, files, place)
    except BaseException:
        close(stream)
        raise
    pieces = _archive(tar, first, hide) if folder else hidden(content_of(tar, first), hide)
    size = None if folder or first is None else first.size
    return Download(f"{files.name}-{place.name}.tar" if folder else place.name, folder, size, pieces, lambda: close(stream))


def opened(files: Reach, place: Spot) -> tuple[Iterator[bytes], tarfile.TarFile, tarfile.TarInfo | None]:
    """A file or folder as the place hands it out: the stream, to be closed; the archive that it is, and its first entry."""
    with map_errors(files.name, place):
        stream = files.runtime.pull(files.ref, place.root, place.inner)
        tar = reading(stream)
        return stream, tar, next_of(tar)


def reading(stream: Iterable[bytes]) -> tarfile.TarFile:
    """An archive that is read on while it is sent."""
    return tarfile.open(fileobj=_Source(stream), mode="r|", bufsize=PIECE)


def next_of(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next entry, without keeping those before it."""
    tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
    return tar.next()


def tell_of_download(portal: Portal, actor: Actor, files: Reach, place: Spot) -> None:
    said = _m("%(name)s downloaded %(path)s from %(name2)s.", name=actor.name, path=place.path, name2=files.name)
    tell(portal, actor, files.instance_id, "downloaded", place, message=said)


def close(stream: Iterator[bytes]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()


class _Source(io.RawIOBase):
    """Pieces as a file, for tarfile."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest = iter(pieces), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def content_of(tar: tarfile.TarFile, info: tarfile.TarInfo | None) -> Iterator[bytes]:
    file = tar.extractfile(info) if info is not None else None
    while file is not None and (piece := file.read(PIECE)):
        yield piece


def hidden(pieces: Iterator[bytes], hide: ByteMasker | None) -> Iterator[bytes]:
    return hide(pieces) if hide is not None else pieces


def _archive(tar: tarfile.TarFile, info: tarfile.TarInfo | None, hide: ByteMasker | None) -> Iterator[bytes]:
    """The same entries anew, without owners; the content of each file goes through `hide`."""
    while info is not None:
        fresh = tarfile.TarInfo(info.name)
        fresh.type, fresh.mode, fresh.mtime, fresh.linkname = (
            info.type,
            info.mode & 0o777,
            int(clamped(info.mtime)),
            info.linkname,
        )
        if info.isreg():
            fresh.type, fresh.size = tarfile.REGTYPE, info.size
        yield fresh.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.isreg():
            yield from hidden(content_of(tar, info), hide)
            yield bytes(-info.size % _BLOCK)
        info = next_of(tar)
    yield bytes(2 * _BLOCK)


# ---- in


def upload(
    portal: Portal, actor: Actor, instance_id: str, path: str, size: int | None, pieces: Iterable[bytes], *, overwrite: bool
) -> Entry:
    """Take in one file; it appears whole or not at all. Folders above it are made."""
    files, place = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE), file_spot(path)
    files.enter(place)
    return take_in(portal, actor, files, place, fits(portal, size), pieces, overwrite=overwrite)


def take_in(
    portal: Portal,
    actor: Actor,
    files: Reach,
    place: Spot,
    size: int,
    pieces: Iterable[bytes],
    *,
    overwrite: bool,
    whole: bool = False,
) -> Entry:
    """The same for somebody who may write there. `whole`: the pieces cannot end early."""
    files.leave_alone(place)
    before = room_for(portal, files, place, size, overwrite=overwrite)
    spooled = before is not None and not whole
    if before is not None:
        disk_guard.ensure(portal, size * (disk_guard.on_portals_disk(files.runtime) + spooled))  # it is received on disk first
    grows = max(0, size - ((before.size or 0) if before is not None else 0))
    mode = before.mode & 0o777 if before is not None and before.kind == "file" else 0o600
    spool = _received(portal, pieces, size) if spooled else nullcontext(pieces)
    with map_errors(files.name, place), counted_in(portal, files, grows), spool as body:
        files.runtime.push(files.ref, place.root, place.above, packed(place.name, size, mode, body))
    _tell_of_upload(portal, actor, files, place, size, replaced=before is not None)
    return Entry(place.name, place.path, "file", size, None, files.owner(place))


def file_spot(path: str) -> Spot:
    place = spot(path)
    if place is None or not place.inner or path.endswith("/"):
        raise Invalid.field("path", _m("must name the file, such as work/notes.txt"), "missing")
    return place


def room_for(portal: Portal, files: Reach, place: Spot, size: int, *, overwrite: bool) -> FileEntry | None:
    """What would be replaced; a problem where there is no room, or that may not be."""
    if disk_guard.on_portals_disk(files.runtime):
        disk_guard.ensure(portal, size)
    before = files.find(place)
    if before is not None and before.kind == "folder":
        raise Conflict(_m("%(path)s is a folder. Choose another name.", path=place.path))
    if before is not None and not overwrite:
        raise Exists(_m("%(path)s is there already. Say that it may be replaced, or choose another name.", path=place.path))
    return before


def _tell_of_upload(portal: Portal, actor: Actor, files: Reach, place: Spot, size: int, *, replaced: bool) -> None:
    names = {"name": actor.name, "path": place.path, "name2": files.name}
    said = (
        _m("%(name)s replaced %(path)s in %(name2)s.", **names)
        if replaced
        else _m("%(name)s uploaded %(path)s to %(name2)s.", **names)
    )
    tell(portal, actor, files.instance_id, "uploaded", place, message=said, size=size)


@contextmanager
def _received(portal: Portal, pieces: Iterable[bytes], size: int) -> Iterator[Iterator[bytes]]:
    """On disk first: a container engine begins to replace a file with the first piece, and the rest may never come."""
    with tempfile.TemporaryFile(dir=portal.settings.data_dir) as spool:
        for piece in pieces:
            spool.write(piece)
        if spool.tell() != size:
            raise _cut()
        spool.seek(0)
        yield iter(lambda: spool.read(PIECE), b"")


def packed(name: str, size: int, mode: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One file as a tar stream; BadRequest when less or more comes than was said."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, int(time.time())
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    came = 0
    for piece in pieces:
        came += len(piece)
        if came > size:
            break
        yield piece
    if came != size:
        raise _cut()
    yield bytes(-size % _BLOCK + 2 * _BLOCK)


def _cut() -> BadRequest:
    return BadRequest(_m("The upload ended early, or is longer than it said. Nothing was replaced; send it again."))
