"""Uploads that resume: what has arrived is kept on the portal's disk until the file is whole, and then goes into the claw.

Each upload is two files in a folder of the portal's data: a note that says what it is, and the bytes so far. How much has arrived
is the size of the second file and nothing else, so that a portal that was killed goes on where it ended. Whoever finished an
upload and did not hear of it finds the note still there, and is told so.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from clawportal.sdk import _m
from clawportal.sdk.data import db, new_id, now
from clawportal.sdk.errors import BadRequest, Conflict, NotFound, OverQuota, Problem
from clawportal.sdk.files import (
    PIECE,
    NoRoom,
    Reach,
    Spot,
    counted_in,
    ensure_room,
    fits,
    on_portals_disk,
    readable,
    room_for,
    take_in,
)
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.permissions import Actor
from clawportal_files.places import Taken, free_beside, named, refuse_taken
from clawportal_files.settings import FilesSettings

ALGORITHMS = ("md5", "sha1", "sha256")
"""For checksums of a part."""


class ChecksumMismatch(Problem):
    status, title, code = 460, _m("What arrived is not what was sent"), "checksum_mismatch"


@dataclass(frozen=True)
class Upload:
    id: str
    instance_id: str
    user_id: str
    path: str
    size: int
    taken: Taken
    created_at: str
    placed: str = ""
    """Where the file is in the claw, once it is there."""
    tenant_id: str = ""


@dataclass(frozen=True)
class Progress:
    upload: Upload
    offset: int
    expires_at: datetime


# ---- what is kept


def folder(portal: Portal) -> Path:
    found = Path(portal.settings.data_dir) / "files-uploads"
    found.mkdir(mode=0o700, exist_ok=True)
    return found


def _note(portal: Portal, upload_id: str) -> Path:
    return folder(portal) / f"{upload_id}.json"


def _part(portal: Portal, upload_id: str) -> Path:
    return folder(portal) / f"{upload_id}.part"


def _write(portal: Portal, one: Upload) -> None:
    """At once, so that no half of a note is ever read."""
    fresh = _note(portal, one.id).with_suffix(".new")
    fresh.write_text(json.dumps(asdict(one)))
    os.replace(fresh, _note(portal, one.id))


def _read(path: Path) -> Upload | None:
    try:
        return Upload(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _all(portal: Portal) -> list[Upload]:
    return [one for path in sorted(folder(portal).glob("*.json")) if (one := _read(path)) is not None]


def _arrived(portal: Portal, one: Upload) -> int:
    if one.placed:
        return one.size
    with suppress(FileNotFoundError):
        return _part(portal, one.id).stat().st_size
    return 0


def progress(portal: Portal, one: Upload) -> Progress:
    path = _note(portal, one.id) if one.placed else _part(portal, one.id)
    touched = path.stat().st_mtime if path.exists() else now().timestamp()
    until = datetime.fromtimestamp(touched, now().tzinfo) + timedelta(hours=portal.section(FilesSettings).upload_hours)
    return Progress(one, _arrived(portal, one), until)


# ---- begin


def create(portal: Portal, actor: Actor, files: Reach, path: str, size: int | None, taken: Taken) -> Progress:
    """Room for all of it is promised here, before any byte comes."""
    place, size = named(path), fits(portal, size)
    files.enter(place)
    files.leave_alone(place)
    if taken != "keep-both":
        room_for(portal, files, place, size, overwrite=taken == "replace")
    made = Upload(
        new_id(), files.instance_id, actor.id, place.path, size, taken, now().isoformat(), tenant_id=_tenant(files.instance_id)
    )
    with _one_at_a_time(portal):
        _promise(portal, files, made)
        _part(portal, made.id).touch(mode=0o600)
        _write(portal, made)
    return _finish(portal, actor, files, made) if size == 0 else progress(portal, made)


@contextmanager
def _one_at_a_time(portal: Portal) -> Iterator[None]:
    with open(folder(portal) / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tenant(instance_id: str) -> str:
    found = db.session.get_one(Instance, instance_id).tenant_id
    db.session.rollback()
    return found


def _promise(portal: Portal, files: Reach, made: Upload) -> None:
    limits, open_ones = portal.section(FilesSettings), [one for one in _all(portal) if not one.placed]
    mine = [one for one in open_ones if one.user_id == made.user_id]
    if len(mine) >= limits.uploads_each:
        raise OverQuota(
            _m("You have %(most)s unfinished uploads. Finish or cancel some of them first.", most=limits.uploads_each)
        )
    most = limits.uploads_person_mib
    if not _within(mine, made.size, most):
        raise OverQuota(
            _m("Your unfinished uploads may take %(most)s. Finish or cancel some of them first.", most=readable(most << 20))
        )
    most = limits.uploads_tenant_mib
    if not _within([one for one in open_ones if one.tenant_id == made.tenant_id], made.size, most):
        raise OverQuota(
            _m(
                "Unfinished uploads of your organisation may take %(most)s. Try again when some are finished.",
                most=readable(most << 20),
            )
        )
    if not _within(open_ones, made.size, limits.uploads_mib):
        most = limits.uploads_mib
        raise NoRoom(
            _m("Unfinished uploads may take %(most)s in all. Try again when some are finished.", most=readable(most << 20))
        )
    missing = sum(one.size - _arrived(portal, one) for one in open_ones)
    ensure_room(portal, missing + made.size * (2 if on_portals_disk(files.runtime) else 1))
    into_it = sum(one.size for one in open_ones if one.instance_id == files.instance_id)
    _fits_into_the_claw(portal, files, made.size + into_it)


def _within(open_ones: Iterable[Upload], size: int, mib: int) -> bool:
    """Promised bytes count, not those that have come: whoever was promised room has it."""
    return sum(one.size for one in open_ones) + size <= mib << 20


def _fits_into_the_claw(portal: Portal, files: Reach, size: int) -> None:
    """Only asked here; it is counted when the file goes in."""
    with suppress(_Asked), counted_in(portal, files, size):
        raise _Asked


class _Asked(Exception):
    """Gives back what was counted."""


# ---- go on


def find(portal: Portal, actor: Actor, files: Reach, upload_id: str) -> Upload:
    """One's own; that of anybody else looks like none."""
    one = _read(_note(portal, upload_id)) if upload_id.isalnum() else None
    if one is None or (one.instance_id, one.user_id) != (files.instance_id, actor.id):
        raise NotFound(_m("There is no such upload; it may have been too old. Begin again."))
    return one


def unfinished(portal: Portal, actor: Actor, files: Reach) -> list[Progress]:
    mine = [one for one in _all(portal) if (one.instance_id, one.user_id) == (files.instance_id, actor.id) and not one.placed]
    return [progress(portal, one) for one in mine]


def look(portal: Portal, actor: Actor, files: Reach, upload_id: str) -> Progress:
    """How far it is. What is whole and did not get into the claw tries again, as nobody would send anything more of it."""
    one = find(portal, actor, files, upload_id)
    if one.placed or _arrived(portal, one) < one.size:
        return progress(portal, one)
    with _part_of(portal, one) as (one, _part):
        return _finish(portal, actor, files, one)


def append(
    portal: Portal, actor: Actor, files: Reach, upload_id: str, offset: int, pieces: Iterable[bytes], checksum: str = ""
) -> Progress:
    """What arrives stays, also when the connection breaks; with a checksum only if it is right."""
    found, wanted = find(portal, actor, files, upload_id), _wanted(checksum)
    with _part_of(portal, found) as (one, part):
        there = part.seek(0, os.SEEK_END)
        if offset != there:
            raise Conflict(_m("The upload has %(n)s bytes, not %(m)s. Ask for its state, and go on there.", n=there, m=offset))
        try:
            _receive(part, one.size, pieces, wanted)
        except BaseException as error:
            if wanted or isinstance(error, Problem):  # nobody can tell any more whether what came was right
                part.truncate(there)
            raise
        os.fsync(part.fileno())
        return _finish(portal, actor, files, one) if part.tell() == one.size else progress(portal, one)


def _receive(part: IO[bytes], size: int, pieces: Iterable[bytes], wanted: tuple[str, bytes] | None) -> None:
    digest = hashlib.new(wanted[0], usedforsecurity=False) if wanted else None
    for piece in pieces:
        if part.tell() + len(piece) > size:
            raise BadRequest(_m("More came than the upload said it has. Begin again with the right size."))
        _write_all(part, piece)
        if digest is not None:
            digest.update(piece)
    if wanted and digest is not None and digest.digest() != wanted[1]:
        raise ChecksumMismatch(_m("The checksum of this part is another one. Nothing of it was kept; send it again."))


def _wanted(checksum: str) -> tuple[str, bytes] | None:
    if not checksum:
        return None
    name, _, text = checksum.partition(" ")
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        found = b""
    if name not in ALGORITHMS or not found:
        raise BadRequest(_m("Upload-Checksum must be one of %(names)s and the sum in base64.", names=", ".join(ALGORITHMS)))
    return name, found


def _write_all(part: IO[bytes], piece: bytes) -> None:
    """A file without a buffer may take less than it is given."""
    rest = memoryview(piece)
    while rest:
        rest = rest[part.write(rest) :]


@contextmanager
def _part_of(portal: Portal, one: Upload) -> Iterator[tuple[Upload, IO[bytes]]]:
    """For one at a time, over threads and processes; the note as it is then."""
    try:
        part = open(_part(portal, one.id), "r+b", buffering=0)  # noqa: SIM115  # closed below
    except FileNotFoundError:
        raise _over() from None
    with part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(_m("Another request still sends this upload. Try again in a moment.")) from None
        fresh = _read(_note(portal, one.id))
        if fresh is None or os.fstat(part.fileno()).st_nlink == 0:  # it ended while this request came to its turn
            raise _over()
        yield fresh, part


def _over() -> Conflict:
    return Conflict(_m("This upload is finished already."))


# ---- the end


def _finish(portal: Portal, actor: Actor, files: Reach, one: Upload) -> Progress:
    """Into the claw. A name that was taken meanwhile is never lost: the file goes beside it."""
    if one.placed:
        return progress(portal, one)
    place = named(one.path)
    files.enter(place)  # rights may have changed since it began
    place = _free(files, place, one)
    with open(_part(portal, one.id), "rb") as part:
        pieces = iter(lambda: part.read(PIECE), b"")
        take_in(portal, actor, files, place, one.size, pieces, overwrite=one.taken == "replace", whole=True)
    done = replace(one, placed=place.path)
    _write(portal, done)
    _part(portal, one.id).unlink(missing_ok=True)
    return progress(portal, done)


def _free(files: Reach, place: Spot, one: Upload) -> Spot:
    if one.taken == "replace":
        return place
    there = files.find(place)
    if there is not None and one.taken == "refuse" and there.kind == "folder":
        raise refuse_taken(place)
    return place if there is None else free_beside(files, place)


def remove(portal: Portal, actor: Actor, files: Reach, upload_id: str) -> None:
    """Not while another request sends it, whose bytes would go into a file that nobody finds."""
    one = find(portal, actor, files, upload_id)
    if one.placed or not _part(portal, one.id).exists():
        return _drop(portal, one.id)
    with _part_of(portal, one):
        _drop(portal, one.id)


def _drop(portal: Portal, upload_id: str) -> None:
    for path in (_part(portal, upload_id), _note(portal, upload_id)):
        path.unlink(missing_ok=True)


def sweep_once(portal: Portal) -> None:
    """What nobody went on with goes, and so do notes of what was finished, and bytes without a note."""
    late = now().timestamp() - portal.section(FilesSettings).upload_hours * 3600
    found: dict[str, float] = {}
    for path in folder(portal).iterdir():
        if path.suffix in (".json", ".part", ".new"):
            with suppress(FileNotFoundError):
                found[path.stem] = max(found.get(path.stem, 0.0), path.stat().st_mtime)
    for upload_id, touched in found.items():
        if touched < late:
            _drop(portal, upload_id)
            _note(portal, upload_id).with_suffix(".new").unlink(missing_ok=True)
