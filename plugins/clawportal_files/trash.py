"""The trash of a claw: what people delete lies in the claw's own storage until it is brought back or the trash is emptied.

A folder in `home` holds it, apart from `work`, where the claw would go on finding it: `files` has each thing under an id, and
`info` a note with the same id that says where it was. The note comes first, so that nothing is there without one; after a crash
between the two, the note without a thing is passed over and goes with the next emptying. No table of the portal can disagree
with what is there, and a backup or a move of the claw takes both along.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from clawportal.sdk import _m
from clawportal.sdk.bounded import parse_json
from clawportal.sdk.data import now
from clawportal.sdk.errors import Conflict, Invalid, NotFound, Problem, Retry
from clawportal.sdk.files import (
    INSTANCE_FILES_READ,
    INSTANCE_FILES_WRITE,
    OWN_FOLDER,
    SHARED,
    FileEntry,
    Reach,
    Spot,
    close,
    content_of,
    map_errors,
    next_of,
    opened,
    packed,
    reach,
    tell,
)
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal_files.places import Taken, free_beside, named, refuse_taken, written
from clawportal_files.settings import FilesSettings

HOME = "home"
_THINGS, _NOTES = f"{OWN_FOLDER}/trash/files", f"{OWN_FOLDER}/trash/info"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
_NOTE_BYTES = 64 * 1024
"""The longest path of 4,000 letters, each as an escape of JSON."""
_ALL_NOTES = 16 << 20
_MOST_ITEMS = 5000
_SWEEP_EVERY = 3600.0
log = logging.getLogger(__name__)


class Sweeps:
    """When this portal last looked for what is too old in the trash of each claw."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def due(self, instance_id: str) -> bool:
        """True once an hour."""
        moment = time.monotonic()
        if moment - self._at.get(instance_id, -_SWEEP_EVERY) < _SWEEP_EVERY:
            return False
        self._at[instance_id] = moment
        return True


@dataclass(frozen=True)
class Item:
    """Something in the trash."""

    id: str
    path: str
    """Where it was."""
    kind: Literal["file", "folder", "link", "other"]
    size: int | None
    deleted_at: datetime
    deleted_by: str

    @property
    def place(self) -> Spot | None:
        """None where the claw wrote something else into the note."""
        with suppress(Invalid, NotFound, Conflict):
            return named(self.path)
        return None


def _thing(item_id: str) -> Spot:
    return Spot(HOME, f"{_THINGS}/{item_id}")


def _note(item_id: str) -> Spot:
    return Spot(HOME, f"{_NOTES}/{item_id}.json")


# ---- in


def delete(portal: Portal, actor: Actor, instance_id: str, path: str) -> Item:
    """Into the trash."""
    files, place = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE), named(path)
    item = put(files, place, actor)
    said = _m("%(name)s deleted %(path)s in %(name2)s; it is in the trash.", name=actor.name, path=place.path, name2=files.name)
    tell(portal, actor, instance_id, "deleted", place, message=said, item=item.id)
    if portal.part(Sweeps).due(instance_id):
        _drop_old(files, portal.section(FilesSettings).trash_days)
    return item


def put(files: Reach, place: Spot, actor: Actor) -> Item:
    files.enter(place)
    files.leave_alone(place)
    there = files.find(place)
    if there is None:
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=place.path, name=files.name))
    at = now()
    item = Item(f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}", place.path, there.kind, there.size, at, actor.name)
    with map_errors(files.name, place):
        _write_note(files, item)
        files.runtime.move_file(files.ref, place.root, place.inner, HOME, _thing(item.id).inner)
    return item


def _write_note(files: Reach, item: Item) -> None:
    note = {"path": item.path, "kind": item.kind, "size": item.size, "at": item.deleted_at.isoformat(), "by": item.deleted_by}
    raw, place = json.dumps(note).encode(), _note(item.id)
    files.runtime.push(files.ref, HOME, place.above, packed(place.name, len(raw), 0o600, [raw]))


# ---- looking


def listing(portal: Portal, actor: Actor, instance_id: str) -> list[Item]:
    """What is in the trash, the latest first."""
    return items(reach(portal, actor, instance_id, INSTANCE_FILES_READ))


def items(files: Reach) -> list[Item]:
    """The latest of them, with what their notes say."""
    there = _things(files)
    latest = sorted(there, reverse=True)[:_MOST_ITEMS]
    notes = _notes(files, latest) if latest else {}
    return [_item(name, notes.get(name, {}), there[name]) for name in latest]


def _things(files: Reach) -> dict[str, FileEntry]:
    with map_errors(files.name, Spot(HOME, "")):
        try:
            found = files.runtime.list_files(files.ref, HOME, _THINGS)
        except FileNotFoundError:
            return {}
    return {entry.name: entry for entry in found if _ID.fullmatch(entry.name)}


def _item(item_id: str, note: Mapping[str, Any], there: FileEntry) -> Item:
    """The note is the claw's to change; what it says is text and no more."""
    path = written(str(note.get("path") or _nowhere(item_id).path)[:4000])
    size = there.size if there.kind == "file" else None
    return Item(item_id, path, there.kind, size, _time_of(item_id) or there.modified, written(str(note.get("by", ""))[:200]))


def _nowhere(item_id: str) -> Spot:
    """Where it goes as nobody knows more: it may have been in a place that needs the right to a console, so it stays in one."""
    return Spot(HOME, item_id)


def _time_of(item_id: str) -> datetime | None:
    try:
        return datetime.strptime(f"{item_id[:15]}+0000", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None


def _notes(files: Reach, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """In one go, and no further than any honest trash goes: the claw may put there what it likes."""
    try:
        stream, tar, info = opened(files, Spot(HOME, _NOTES))
    except NotFound:
        return {}
    found: dict[str, dict[str, Any]] = {}
    seen = passed = 0
    try:
        while info is not None and seen < 2 * _MOST_ITEMS and passed + info.size <= _ALL_NOTES:
            seen, passed = seen + 1, passed + info.size
            item_id = info.name.rpartition("/")[2].removesuffix(".json")
            if info.isreg() and item_id in wanted and info.size <= _NOTE_BYTES:
                found[item_id] = _read(content_of(tar, info))
            info = next_of(tar)
    finally:
        close(stream)
    return found


def _read(pieces: Iterable[bytes]) -> dict[str, Any]:
    """What is asked of a note, and nothing else that it says."""
    try:
        note = parse_json(b"".join(pieces))
    except ValueError:
        return {}
    return {name: note[name] for name in ("path", "by") if isinstance(note.get(name), str)} if isinstance(note, dict) else {}


# ---- out


def restore(portal: Portal, actor: Actor, instance_id: str, item_id: str, taken: Taken = "refuse") -> Spot:
    """To where it was; the folders above are made anew."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    place = _allowed(files, _one(files, item_id))
    files.leave_alone(place)
    with making_way(files, place, taken, actor) as place, map_errors(files.name, place):
        files.runtime.move_file(files.ref, HOME, _thing(item_id).inner, place.root, place.inner)
        _forget_note(files, item_id)
    said = _m("%(name)s restored %(path)s in %(name2)s.", name=actor.name, path=place.path, name2=files.name)
    tell(portal, actor, instance_id, "restored", place, message=said)
    return place


@contextmanager
def making_way(files: Reach, place: Spot, taken: Taken, actor: Actor) -> Iterator[Spot]:
    """Where something goes whose name may be taken: what it replaces is in the trash, and is back where it could not come."""
    if files.find(place) is None:
        yield place
    elif taken == "refuse":
        raise refuse_taken(place)
    elif taken == "keep-both":
        yield free_beside(files, place)
    else:
        item = put(files, place, actor)
        try:
            yield place
        except BaseException:
            with suppress(Exception):  # the first error says what is wrong; what was put away is in the trash
                files.runtime.move_file(files.ref, HOME, _thing(item.id).inner, place.root, place.inner)
                _forget_note(files, item.id)
            raise


def _one(files: Reach, item_id: str) -> Item:
    there = files.find(_thing(item_id)) if _ID.fullmatch(item_id) else None
    if there is None:
        raise NotFound(_m("This is not in the trash any more."))
    return _item(item_id, _note_of(files, item_id), there)


def _note_of(files: Reach, item_id: str) -> dict[str, Any]:
    """Nothing where the claw took it away, or put something else in its place."""
    with suppress(NotFound, Invalid, Conflict), map_errors(files.name, _note(item_id)):
        raw = files.runtime.read_file(files.ref, HOME, _note(item_id).inner, _NOTE_BYTES + 1)
        return _read([raw]) if len(raw) <= _NOTE_BYTES else {}
    return {}


def _allowed(files: Reach, item: Item) -> Spot:
    place = place_of(item)
    files.enter(place)
    return place


def place_of(item: Item) -> Spot:
    """Where it goes back to; under its id where nobody knows more."""
    return item.place or _nowhere(item.id)


def purge(portal: Portal, actor: Actor, instance_id: str, item_id: str) -> None:
    """Gone for good."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    item = _one(files, item_id)
    place = _allowed(files, item)
    _remove(files, item_id)
    said = _m("%(name)s deleted %(path)s in %(name2)s for good.", name=actor.name, path=item.path, name2=files.name)
    tell(portal, actor, instance_id, "purged", place, message=said)


def empty(portal: Portal, actor: Actor, instance_id: str) -> int:
    """All that this person may delete; how many that were."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    mine = [item for item in items(files) if files.inside(place_of(item))]
    for item in mine:
        _remove(files, item.id)
    if mine:
        said = _m("%(name)s emptied the trash of %(name2)s.", name=actor.name, name2=files.name)
        tell(portal, actor, instance_id, "purged", Spot(SHARED, ""), message=said, items=len(mine))
    return len(mine)


def _remove(files: Reach, item_id: str) -> None:
    with map_errors(files.name, _thing(item_id)):
        files.runtime.remove_file(files.ref, HOME, _thing(item_id).inner)
        _forget_note(files, item_id)


def _forget_note(files: Reach, item_id: str) -> None:
    with suppress(FileNotFoundError):
        files.runtime.remove_file(files.ref, HOME, _note(item_id).inner)


def _drop_old(files: Reach, days: int) -> None:
    """No timer asks every claw for that: whoever deletes the next thing sees to it, and does not hear of what fails in it."""
    until = now() - timedelta(days=days)
    try:
        for item_id in _things(files):
            at = _time_of(item_id)
            if at is not None and at < until:
                _remove(files, item_id)
    except (Problem, Retry) as error:
        log.warning("What is too old in the trash of %s stays until another is deleted: %s", files.name, error)
