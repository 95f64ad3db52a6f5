"""Files of an instance for people: folders listed, files and folders handed out, files taken in; always as streams.

`work` is shared by a claw and its people. `home` and `state` are the claw's own and may hold what it keeps secret, so that who
reads or writes there needs the right to a console, too. Whoever lacks that sees no value of a secret anywhere: it is replaced
by asterisks on the way out.
"""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from clawportal.contracts.core_permissions import INSTANCE_CONSOLE, INSTANCE_FILES_READ, INSTANCE_FILES_WRITE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import FileEntry, Ref, Runtime
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db
from clawportal.engine.log_hub import SECRET_LENGTH
from clawportal.engine.portal import Portal
from clawportal.errors import BadRequest, Conflict, Forbidden, GiveUp, Invalid, NotFound, Problem, Retry, Unavailable, Unsupported
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.runtime_helpers import secret_forms
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.events import event_log
from clawportal.services.fleet import plans, storage
from clawportal.services.rights import access
from clawportal.services.system import disk_guard

SHARED = "work"
ROOTS = (SHARED, "state", "home")
PIECE = 256 * 1024
MOST_LISTED = 5000
_LONGEST_PATH = 4000
_BLOCK = 512


class Exists(Conflict):
    """Something has this name already, and nobody said that it may be replaced."""

    title, code = _m("There is a file of this name already"), "exists"


class TooLarge(Problem):
    status, title, code = 413, _m("The file is too large"), "too_large"


class LengthNeeded(Problem):
    status, title, code = 411, _m("Say how large the file is"), "length_required"


@dataclass(frozen=True)
class Entry:
    """One line of a folder."""

    name: str
    path: str
    """By which it is asked for; empty for a name that is no text, which can only be had with its folder."""
    kind: Literal["file", "folder", "link", "other"]
    size: int | None
    modified: datetime | None


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


@dataclass(frozen=True)
class Spot:
    """A path, taken apart."""

    root: str
    inner: str
    """Below the root; empty for the root itself."""

    @property
    def path(self) -> str:
        return f"{self.root}/{self.inner}" if self.inner else self.root

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def above(self) -> str:
        """The folder that holds it, below the root."""
        return self.inner.rpartition("/")[0]


def spot(path: str) -> Spot | None:
    """None for what is above the roots. Whatever leads out, or might, is refused here before any place hears of it."""
    if path.startswith("/") or "\0" in path or len(path) > _LONGEST_PATH:
        raise Invalid.field("path", _m("must be a path such as work/notes.txt, without a slash at the beginning"), "unsafe")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Invalid.field("path", _m("must not lead out: leave out `..`"), "unsafe")
    if not parts:
        return None
    if parts[0] not in ROOTS:
        raise NotFound(
            _m("There is no %(parts)s in it. The folders of a claw are %(join)s.", parts=parts[0], join=", ".join(ROOTS))
        )
    return Spot(parts[0], "/".join(parts[1:]))


# ---- looking


def listing(portal: Portal, actor: Actor, instance_id: str, path: str = "") -> Folder:
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_FILES_READ)
    place = spot(path)
    if place is None:
        roots = [Entry(root, root, "folder", None, None) for root in ROOTS]
        return Folder("", roots, len(roots), readable=False, writable=False)
    scope = access.scope_of(instance)
    inside = place.root == SHARED or actor.allows(INSTANCE_CONSOLE, scope)
    writable = inside and actor.allows(INSTANCE_FILES_WRITE, scope)
    runtime, ref, name = _runtime(portal, instance), plans.ref_of(instance), instance.name
    db.session.rollback()  # the place may take a while
    with _told(name, place):
        found = runtime.list_files(ref, place.root, place.inner)
    found.sort(key=lambda entry: (entry.kind != "folder", entry.name.casefold(), entry.name))
    return Folder(place.path, [_entry(place, entry) for entry in found[:MOST_LISTED]], len(found), inside, writable)


def _entry(place: Spot, entry: FileEntry) -> Entry:
    raw = entry.name.encode("utf-8", "surrogateescape")
    name = raw.decode("utf-8", "replace")
    path = f"{place.path}/{name}" if name == entry.name else ""
    return Entry(name, path, entry.kind, None if entry.kind == "folder" else entry.size, entry.modified)


def _runtime(portal: Portal, instance: Instance) -> Runtime:
    runtime = clusters.connect(portal, plans.cluster_of(instance))
    if "files" not in runtime.capabilities:
        raise Unsupported(_m("The place where this claw runs hands out no files."))
    return runtime


@contextmanager
def _told(name: str, place: Spot) -> Iterator[None]:
    """What a place says about a path, in words for who asked."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if not place.inner:
            raise Conflict(_m("%(name)s has no files yet. Start it once.", name=name)) from error
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=place.path, name=name)) from error
    except PermissionError as error:
        raise _unsafe() from error
    except GiveUp as verdict:
        if verdict.reason == "UnsafePath":
            raise _unsafe() from verdict
        raise Conflict(f"{verdict} {verdict.remedy}".strip()) from verdict
    except (OSError, Retry) as error:
        if disk_guard.is_full(error):
            raise disk_guard.full() from error
        raise Unavailable(_m("The files of %(name)s cannot be reached just now: %(error)s", name=name, error=error)) from error


def _unsafe() -> Invalid:
    return Invalid.field(
        "path", _m("leads over a link, or over a file where a folder should be; links are not followed"), "unsafe"
    )


def _may_enter(actor: Actor, instance: Instance, place: Spot) -> bool:
    """Whether who asks may see secrets; Forbidden where that is needed."""
    sees = actor.allows(INSTANCE_CONSOLE, access.scope_of(instance))
    if place.root != SHARED and not sees:
        raise Forbidden(
            _m(
                "The folder %(root)s may hold what the claw keeps secret. It needs the right to open a console as well.",
                root=place.root,
            )
        )
    return sees


# ---- out


def download(portal: Portal, actor: Actor, instance_id: str, path: str) -> Download:
    """A file as it is, a folder as a tar archive; noted as an event before anything is handed out."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_FILES_READ)
    place = spot(path)
    if place is None:
        raise Invalid.field("path", _m("must name a file or folder, such as work/notes.txt"), "missing")
    hide = None if _may_enter(actor, instance, place) else Hider(layers.open_secrets(portal, instance).values())
    runtime, ref, name = _runtime(portal, instance), plans.ref_of(instance), instance.name
    db.session.rollback()
    with _told(name, place):
        stream = runtime.pull(ref, place.root, place.inner)
        tar = tarfile.open(fileobj=_Source(stream), mode="r|", bufsize=PIECE)  # noqa: SIM115  # it is read on while it is sent
        first = tar.next()
    try:
        folder = not place.inner or (first is not None and first.isdir())
        if not folder and (first is None or not first.isreg()):
            raise Conflict(_m("%(path)s is a link or no regular file; only files and folders can be had.", path=place.path))
        _tell(
            portal,
            actor,
            instance_id,
            "downloaded",
            place,
            message=_m("%(name)s downloaded %(path)s from %(name2)s.", name=actor.name, path=place.path, name2=name),
        )
    except BaseException:
        _close(stream)
        raise
    pieces = _archive(tar, first, hide) if folder else _hidden(_content(tar, first), hide)
    size = None if folder or first is None else first.size
    return Download(f"{name}-{place.name}.tar" if folder else place.name, folder, size, pieces, lambda: _close(stream))


def _close(stream: Iterator[bytes]) -> None:
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


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo | None) -> Iterator[bytes]:
    file = tar.extractfile(info) if info is not None else None
    while file is not None and (piece := file.read(PIECE)):
        yield piece


def _hidden(pieces: Iterator[bytes], hide: Hider | None) -> Iterator[bytes]:
    return hide(pieces) if hide is not None else pieces


def _archive(tar: tarfile.TarFile, info: tarfile.TarInfo | None, hide: Hider | None) -> Iterator[bytes]:
    """The same entries anew, without owners; the content of each file goes through `hide`."""
    while info is not None:
        fresh = tarfile.TarInfo(info.name)
        fresh.type, fresh.mode, fresh.mtime, fresh.linkname = info.type, info.mode & 0o777, int(info.mtime), info.linkname
        if info.isreg():
            fresh.type, fresh.size = tarfile.REGTYPE, info.size
        yield fresh.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.isreg():
            yield from _hidden(_content(tar, info), hide)
            yield bytes(-info.size % _BLOCK)
        tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
        info = tar.next()
    yield bytes(2 * _BLOCK)


class Hider:
    """Puts asterisks over the values of secrets in a stream of bytes, as many as there were letters: sizes stay true."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = sorted((text.encode() for text in secret_forms(values) if len(text) >= SECRET_LENGTH), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, forms))) if forms else None
        self._longest = max(map(len, forms), default=0)

    def __call__(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        pattern, held = self._pattern, b""
        if pattern is None:
            yield from pieces
            return
        for piece in pieces:
            held += piece
            safe = len(held) - self._longest + 1  # a secret that begins before here is there as a whole
            if safe <= 0:
                continue
            done, parts = 0, []
            for found in pattern.finditer(held):
                if found.start() >= safe:
                    break
                parts += [held[done : found.start()], b"*" * len(found[0])]
                done = found.end()
            upto = max(safe, done)
            parts.append(held[done:upto])
            yield b"".join(parts)
            held = held[upto:]
        yield pattern.sub(lambda found: b"*" * len(found[0]), held)


# ---- in


def upload(
    portal: Portal, actor: Actor, instance_id: str, path: str, size: int | None, pieces: Iterable[bytes], *, overwrite: bool
) -> Entry:
    """Take in one file; it appears whole or not at all. Folders above it are made."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_FILES_WRITE)
    place = spot(path)
    if place is None or not place.inner or path.endswith("/"):
        raise Invalid.field("path", _m("must name the file, such as work/notes.txt"), "missing")
    _may_enter(actor, instance, place)
    _fits(portal, size)
    _not_the_portals_own(instance, place)
    runtime, ref, name = _runtime(portal, instance), plans.ref_of(instance), instance.name
    most = _storage_limit(portal, instance, runtime)
    db.session.rollback()
    if disk_guard.on_portals_disk(runtime):
        disk_guard.ensure(portal, size or 0)
    before = _present(runtime, ref, name, place)
    if before is not None and before.kind == "folder":
        raise Conflict(_m("%(path)s is a folder. Choose another name.", path=place.path))
    if before is not None and not overwrite:
        raise Exists(_m("%(path)s is there already. Say that it may be replaced, or choose another name.", path=place.path))
    grows = max(0, (size or 0) - ((before.size or 0) if before is not None else 0))
    mode = before.mode & 0o777 if before is not None and before.kind == "file" else 0o600
    if before is not None:
        disk_guard.ensure(portal, (size or 0) * (2 if disk_guard.on_portals_disk(runtime) else 1))  # it is received on disk first
    spool = _received(portal, pieces, size or 0) if before is not None else nullcontext(pieces)
    with _told(name, place), _counted_in(portal, instance_id, grows, most), spool as body:
        runtime.push(ref, place.root, place.above, _packed(place.name, size or 0, mode, body))
    if before is None:
        _tell(
            portal,
            actor,
            instance_id,
            "uploaded",
            place,
            message=_m("%(name)s uploaded %(path)s to %(name2)s.", name=actor.name, path=place.path, name2=name),
            size=size,
        )
    else:
        _tell(
            portal,
            actor,
            instance_id,
            "uploaded",
            place,
            message=_m("%(name)s replaced %(path)s in %(name2)s.", name=actor.name, path=place.path, name2=name),
            size=size,
        )
    return Entry(place.name, place.path, "file", size, None)


def _storage_limit(portal: Portal, instance: Instance, runtime: Runtime) -> int | None:
    if instance.foreign_id:
        return None
    return storage.limit_of(InstanceSpec.model_validate(layers.of_instance(portal, instance).spec), runtime)


@contextmanager
def _counted_in(portal: Portal, instance_id: str, size: int, most: int | None) -> Iterator[None]:
    """Within the storage limit of the claw, before the first byte is taken."""
    if most is None:
        yield
        return
    found = storage.use(portal, instance_id, most)
    used = portal.taken.take(instance_id, found.used if found else 0, size, most)
    if used is not None:
        held, limit, more = (storage.readable(number) for number in (used, most, size))
        raise disk_guard.NoRoom(
            _m(
                "Its files take %(held)s of %(limit)s, and this is %(more)s more. Delete some of them, or "
                "raise its storage limit.",
                held=held,
                limit=limit,
                more=more,
            )
        )
    try:
        yield
    except BaseException:
        portal.taken.give_back(instance_id, size)
        raise


def limit(portal: Portal) -> int:
    """Bytes that one upload may have."""
    return portal.settings.upload_mib << 20


def _fits(portal: Portal, size: int | None) -> None:
    if size is None:
        raise LengthNeeded(_m("Send the size of the file as Content-Length."))
    if size > limit(portal):
        raise TooLarge(_m("Files of at most %(upload_mib)s MiB can be uploaded here.", upload_mib=portal.settings.upload_mib))


def _not_the_portals_own(instance: Instance, place: Spot) -> None:
    """What the portal writes itself would be overwritten at the next start, without a word."""
    for file in (instance.workload or {}).get("files", ()):
        if file["policy"] == "always" and (file["root"], file["path"]) == (place.root, place.inner):
            raise Conflict(
                _m(
                    "The portal writes %(path)s itself. Change the configuration of %(name)s instead.",
                    path=place.path,
                    name=instance.name,
                )
            )


def _present(runtime: Runtime, ref: Ref, name: str, place: Spot) -> FileEntry | None:
    with _told(name, place):
        try:
            there = runtime.list_files(ref, place.root, place.above)
        except (FileNotFoundError, NotADirectoryError):
            return None  # its folder is made, or refused, by the upload
    return next((entry for entry in there if entry.name == place.name), None)


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


def _packed(name: str, size: int, mode: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
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


def _tell(portal: Portal, actor: Actor, instance_id: str, verb: str, place: Spot, *, message: str, **data: Any) -> None:
    instance = db.session.get_one(Instance, instance_id)
    data = {"path": place.path, **data}
    event_log.record(portal, f"instance.file_{verb}", actor=actor, instance=instance, message=message, data=data)
