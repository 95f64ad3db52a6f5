"""New folders and files, moving, copying and searching, in the place where the claw's files are."""

from __future__ import annotations

import secrets
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Literal

from clawportal.sdk import _m
from clawportal.sdk.errors import Invalid, NotFound
from clawportal.sdk.file_scripts import clamped
from clawportal.sdk.files import (
    INSTANCE_FILES_READ,
    INSTANCE_FILES_WRITE,
    ROOTS,
    FileEntry,
    Reach,
    Spot,
    counted_in,
    ensure_room,
    map_errors,
    on_portals_disk,
    packed,
    reach,
    spot,
    tell,
)
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal_files import trash
from clawportal_files.places import Taken, below, is_own, named, refuse_taken
from clawportal_files.reading import Contents, Count, measured

FOUND = 500
"""Entries that a search shows."""
_BLOCK = 512


@dataclass(frozen=True)
class Copied:
    place: Spot
    left_out: int
    """Links and special files, which are not copied."""


# ---- new


def new_folder(portal: Portal, actor: Actor, instance_id: str, path: str) -> Spot:
    files, place = _new(portal, actor, instance_id, path)
    info = tarfile.TarInfo(place.name)
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o700, int(time.time())
    with map_errors(files.name, place):
        files.runtime.push(files.ref, place.root, place.above, [_header(info), bytes(2 * _BLOCK)])
    _tell_made(portal, actor, files, place)
    return place


def new_file(portal: Portal, actor: Actor, instance_id: str, path: str) -> Spot:
    """An empty one."""
    files, place = _new(portal, actor, instance_id, path)
    with map_errors(files.name, place):
        files.runtime.push(files.ref, place.root, place.above, packed(place.name, 0, 0o600, []))
    _tell_made(portal, actor, files, place)
    return place


def _new(portal: Portal, actor: Actor, instance_id: str, path: str) -> tuple[Reach, Spot]:
    files, place = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE), named(path)
    files.enter(place)
    files.leave_alone(place)
    if on_portals_disk(files.runtime):
        ensure_room(portal)
    if files.find(place) is not None:
        raise refuse_taken(place)
    return files, place


def _tell_made(portal: Portal, actor: Actor, files: Reach, place: Spot) -> None:
    said = _m("%(name)s created %(path)s in %(name2)s.", name=actor.name, path=place.path, name2=files.name)
    tell(portal, actor, files.instance_id, "created", place, message=said)


# ---- moving and copying


def move(portal: Portal, actor: Actor, instance_id: str, path: str, target: str, taken: Taken = "refuse") -> Spot:
    """Under another name or into another folder, at once."""
    files, source, aim = _from_to(portal, actor, instance_id, path, target, taken)
    files.leave_alone(source)
    with trash.making_way(files, aim, taken, actor) as aim, map_errors(files.name, aim):
        files.runtime.move_file(files.ref, source.root, source.inner, aim.root, aim.inner)
    names = {"name": actor.name, "path": source.path, "path2": aim.path, "name2": files.name}
    said = _m("%(name)s moved %(path)s to %(path2)s in %(name2)s.", **names)
    tell(portal, actor, instance_id, "moved", source, message=said, target=aim.path)
    return aim


def _from_to(portal: Portal, actor: Actor, instance_id: str, path: str, target: str, taken: Taken) -> tuple[Reach, Spot, Spot]:
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    source, aim = named(path), named(target, "target")
    files.enter(source)
    files.enter(aim)
    files.leave_alone(aim)
    if below(aim, source) and aim != source:
        raise Invalid.field("target", _m("lies in the folder itself; choose a place outside of it"), "inside")
    if taken == "replace" and below(source, aim):
        raise Invalid.field(
            "target", _m("is what you took, or holds it, and cannot be replaced by it; choose another name"), "same"
        )
    if files.find(source) is None:
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=source.path, name=files.name))
    return files, source, aim


def copy(portal: Portal, actor: Actor, instance_id: str, path: str, target: str, taken: Taken = "refuse") -> Copied:
    """Made under a name for the moment and then moved, so that a copy is there whole or not at all."""
    files, source, aim = _from_to(portal, actor, instance_id, path, target, taken)
    if taken == "refuse" and files.find(aim) is not None:
        raise refuse_taken(aim)
    held = measured(portal, files, source)
    if on_portals_disk(files.runtime):
        ensure_room(portal, held.size)
    with _Room(portal, files, source, held.size) as room:
        copied = _copied(files, source, aim, taken, actor, room)
    names = {"name": actor.name, "path": source.path, "path2": copied.place.path, "name2": files.name}
    said = _m("%(name)s copied %(path)s to %(path2)s in %(name2)s.", **names)
    tell(portal, actor, instance_id, "copied", source, message=said, target=copied.place.path)
    return copied


class _Room(ExitStack):
    """What a copy takes of the claw's storage: as it was measured, and more where the claw went on writing."""

    def __init__(self, portal: Portal, files: Reach, place: Spot, size: int) -> None:
        super().__init__()
        self._portal, self._files, self._taken, self._count = portal, files, 0, Count(portal, place)
        self._take(size)

    def _take(self, size: int) -> None:
        self.enter_context(counted_in(self._portal, self._files, size))
        self._taken += size

    def add(self, size: int, entries: int = 1) -> None:
        self._count.add(size, entries)
        if self._count.size > self._taken:
            more = self._count.size - self._taken
            if on_portals_disk(self._files.runtime):
                ensure_room(self._portal, more)
            self._take(more)


def _copied(files: Reach, source: Spot, aim: Spot, taken: Taken, actor: Actor, room: _Room) -> Copied:
    """What is replaced makes way when the copy is whole."""
    moment = f".copy-{secrets.token_hex(4)}"
    fresh = Spot(aim.root, f"{aim.above}/{moment}" if aim.above else moment)
    left_out: list[str] = []
    with closing(Contents(files, source, room)) as contents:
        try:
            with map_errors(files.name, aim):
                files.runtime.push(files.ref, aim.root, aim.above, _renamed(contents, source.name, moment, left_out.append))
            with trash.making_way(files, aim, taken, actor) as place, map_errors(files.name, place):
                files.runtime.move_file(files.ref, fresh.root, fresh.inner, place.root, place.inner)
        except BaseException:
            with suppress(Exception):  # the first error says what is wrong
                files.runtime.remove_file(files.ref, fresh.root, fresh.inner)
            raise
    return Copied(place, len(left_out))


def _renamed(contents: Contents, old: str, new: str, leave_out: Callable[[str], None]) -> Iterator[bytes]:
    """The same files and folders below another name. Links stay behind: where they lead from elsewhere nobody knows."""
    for info, content in contents:
        inner = info.name.removeprefix("./").removeprefix(old)
        fresh = tarfile.TarInfo(f"{new}{inner}".rstrip("/"))
        fresh.mode, fresh.mtime = info.mode & 0o777, int(clamped(info.mtime))
        if info.isdir():
            fresh.type = tarfile.DIRTYPE
            yield _header(fresh)
        elif info.isreg():
            fresh.size = info.size
            yield _header(fresh)
            yield from content
            yield bytes(-info.size % _BLOCK)
        else:
            leave_out(info.name)
    yield bytes(2 * _BLOCK)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


# ---- looking


@dataclass(frozen=True)
class Hit:
    """One entry that a search found."""

    path: str
    """Empty for a name that is no text."""
    name: str
    kind: Literal["file", "folder", "link", "other"]
    entry: FileEntry
    owner: Literal["", "portal", "claw"]


@dataclass(frozen=True)
class Found:
    hits: Sequence[Hit]
    complete: bool
    """False: there may be more."""


def search(portal: Portal, actor: Actor, instance_id: str, path: str, text: str) -> Found:
    """By a part of the name, below a folder; everywhere without one."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_READ)
    wanted, place = text.strip(), spot(path)
    if not wanted or "/" in wanted or "\0" in wanted or len(wanted) > 200:
        raise Invalid.field("text", _m("must be a part of a name, of 1 to 200 letters, without a slash"), "invalid")
    roots = [place] if place is not None else [Spot(root, "") for root in ROOTS]
    found = [_hits(files, one, wanted) for one in roots]
    hits = [hit for one in found for hit in one.hits]
    return Found(hits[:FOUND], len(hits) <= FOUND and all(one.complete for one in found))


def _hits(files: Reach, place: Spot, text: str) -> Found:
    if is_own(place):
        return Found((), complete=True)
    with map_errors(files.name, place):
        found = files.runtime.find_files(files.ref, place.root, place.inner, text, 2 * FOUND)
    ordered = sorted(found, key=lambda entry: (entry.kind != "folder", entry.name.casefold()))
    return Found([_hit(files, _within(place, entry), entry) for entry in ordered], not found.cut)


def _within(place: Spot, entry: FileEntry) -> Spot:
    return Spot(place.root, f"{place.inner}/{entry.name}" if place.inner else entry.name)


def _hit(files: Reach, place: Spot, entry: FileEntry) -> Hit:
    try:
        place.path.encode()
    except UnicodeEncodeError:
        told = place.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return Hit("", told, entry.kind, entry, "")
    return Hit(place.path, place.name, entry.kind, entry, files.owner(place))
