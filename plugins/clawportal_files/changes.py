"""New folders and files, moving, copying and searching, in the place where the claw's files are."""

from __future__ import annotations

import secrets
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, Invalid, NotFound
from clawportal.sdk.file_scripts import clamped
from clawportal.sdk.files import (
    INSTANCE_FILES_READ,
    INSTANCE_FILES_WRITE,
    ROOTS,
    FileEntry,
    Reach,
    Spot,
    TooLarge,
    close,
    content_of,
    counted_in,
    ensure_room,
    map_errors,
    next_of,
    on_portals_disk,
    opened,
    packed,
    reach,
    readable,
    spot,
    tell,
)
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal_files import trash
from clawportal_files.places import Taken, below, is_own, named, refuse_taken
from clawportal_files.settings import FilesSettings

FOUND = 500
"""Entries that a search shows."""
_BLOCK = 512


@dataclass(frozen=True)
class Measured:
    """What a file or folder holds."""

    size: int
    entries: int


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
    files, source, aim = _from_to(portal, actor, instance_id, path, target)
    files.leave_alone(source)
    aim = _way(files, aim, taken, actor)
    with map_errors(files.name, aim):
        files.runtime.move_file(files.ref, source.root, source.inner, aim.root, aim.inner)
    names = {"name": actor.name, "path": source.path, "path2": aim.path, "name2": files.name}
    said = _m("%(name)s moved %(path)s to %(path2)s in %(name2)s.", **names)
    tell(portal, actor, instance_id, "moved", source, message=said, target=aim.path)
    return aim


def _from_to(portal: Portal, actor: Actor, instance_id: str, path: str, target: str) -> tuple[Reach, Spot, Spot]:
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    source, aim = named(path), named(target, "target")
    files.enter(source)
    files.enter(aim)
    files.leave_alone(aim)
    if below(aim, source) and aim != source:
        raise Invalid.field("target", _m("lies in the folder itself; choose a place outside of it"), "inside")
    if files.find(source) is None:
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=source.path, name=files.name))
    return files, source, aim


def _way(files: Reach, aim: Spot, taken: Taken, actor: Actor) -> Spot:
    return aim if files.find(aim) is None else trash.make_way(files, aim, taken, actor)


def copy(portal: Portal, actor: Actor, instance_id: str, path: str, target: str, taken: Taken = "refuse") -> Copied:
    """Made under a name for the moment and then moved, so that a copy is there whole or not at all."""
    files, source, aim = _from_to(portal, actor, instance_id, path, target)
    if aim == source and taken == "replace":
        raise Invalid.field("target", _m("is the file itself; choose another name"), "same")
    held = measured(portal, files, source)
    if on_portals_disk(files.runtime):
        ensure_room(portal, held.size)
    aim = _way(files, aim, taken, actor)
    with counted_in(portal, files, held.size):
        left_out = _copied(files, source, aim)
    names = {"name": actor.name, "path": source.path, "path2": aim.path, "name2": files.name}
    tell(
        portal,
        actor,
        instance_id,
        "copied",
        source,
        message=_m("%(name)s copied %(path)s to %(path2)s in %(name2)s.", **names),
        target=aim.path,
    )
    return Copied(aim, left_out)


def _copied(files: Reach, source: Spot, aim: Spot) -> int:
    moment = f".copy-{secrets.token_hex(4)}"
    fresh = Spot(aim.root, f"{aim.above}/{moment}" if aim.above else moment)
    stream, tar, first = opened(files, source)
    left_out: list[str] = []
    try:
        with map_errors(files.name, aim):
            files.runtime.push(files.ref, aim.root, aim.above, _renamed(tar, first, source.name, moment, left_out.append))
            files.runtime.move_file(files.ref, fresh.root, fresh.inner, aim.root, aim.inner)
    except BaseException:
        with suppress(Exception):  # the first error says what is wrong
            files.runtime.remove_file(files.ref, fresh.root, fresh.inner)
        raise
    finally:
        close(stream)
    return len(left_out)


def _renamed(
    tar: tarfile.TarFile, info: tarfile.TarInfo | None, old: str, new: str, leave_out: Callable[[str], None]
) -> Iterator[bytes]:
    """The same files and folders below another name. Links stay behind: where they lead from elsewhere nobody knows."""
    while info is not None:
        inner = info.name.removeprefix("./").removeprefix(old)
        fresh = tarfile.TarInfo(f"{new}{inner}".rstrip("/"))
        fresh.mode, fresh.mtime = info.mode & 0o777, int(clamped(info.mtime))
        if info.isdir():
            fresh.type = tarfile.DIRTYPE
            yield _header(fresh)
        elif info.isreg():
            fresh.size = info.size
            yield _header(fresh)
            yield from content_of(tar, info)
            yield bytes(-info.size % _BLOCK)
        else:
            leave_out(info.name)
        info = next_of(tar)
    yield bytes(2 * _BLOCK)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


# ---- looking


def measured(portal: Portal, files: Reach, place: Spot) -> Measured:
    """What a file or folder holds; a problem where that is more than is copied or packed at once."""
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
    if len(found) > limits.archive_entries or size > limits.archive_mib << 20:
        raise TooLarge(
            _m(
                "%(path)s holds more than %(most)s files or %(size)s. Take its folders one by one.",
                path=place.path,
                most=limits.archive_entries,
                size=readable(limits.archive_mib << 20),
            )
        )
    return Measured(size, len(found))


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
