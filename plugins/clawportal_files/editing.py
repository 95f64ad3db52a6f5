"""One file as it is looked at and edited: its bytes, the tag by which a change is told from another, and writing it back.

The tag is that of the content, not of times: places tell times by the second, and a claw may write twice in one. Whoever may not
see secrets gets asterisks, and cannot write such a file back, since the asterisks would go over the secrets.
"""

from __future__ import annotations

import fcntl
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, NotFound, PreconditionFailed, PreconditionRequired
from clawportal.sdk.files import (
    INSTANCE_FILES_READ,
    Entry,
    Exists,
    Reach,
    Spot,
    TooLarge,
    file_spot,
    fits,
    map_errors,
    reach,
    readable,
    take_in,
    tell_of_download,
)
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal_files.places import named
from clawportal_files.settings import FilesSettings

_LOCKS = 64


@dataclass(frozen=True)
class Content:
    place: Spot
    raw: bytes
    """As this person may see it."""
    hides: bool
    """Something in it is not shown."""
    owner: str
    writable: bool

    @property
    def tag(self) -> str:
        return tag_of(self.raw)


def tag_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]


def most(portal: Portal) -> int:
    """Bytes that a file may have to be opened."""
    return portal.section(FilesSettings).edit_kib << 10


def read(portal: Portal, actor: Actor, instance_id: str, path: str) -> Content:
    """A file, noted as a download."""
    files, place = reach(portal, actor, instance_id, INSTANCE_FILES_READ), file_spot(path)
    files.enter(place)
    found = _read(portal, files, place)
    if found is None:
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=place.path, name=files.name))
    tell_of_download(portal, actor, files, place)
    return found


def _read(portal: Portal, files: Reach, place: Spot) -> Content | None:
    there, limit = files.find(place), most(portal)
    if there is None:
        return None
    if there.kind != "file":
        raise Conflict(_m("%(path)s is no file. List a folder instead; links are not followed.", path=place.path))
    if there.size > limit:
        raise TooLarge(_m("Files of at most %(size)s can be opened here. Download it instead.", size=readable(limit)))
    with map_errors(files.name, place):
        raw = files.runtime.read_file(files.ref, place.root, place.inner, limit + 1)
    hide = files.hider()
    shown = raw if hide is None else b"".join(hide([raw]))
    owner = files.owner(place)
    return Content(place, shown, shown != raw, owner, files.writes and owner != "portal" and shown == raw)


def write(
    portal: Portal, actor: Actor, files: Reach, path: str, raw: bytes, *, seen: str | None, only_new: bool = False
) -> tuple[Entry, str]:
    """`seen` is the tag that was read. PreconditionFailed where the file is another one by now: nothing is written then."""
    place = named(path)
    files.enter(place)
    files.leave_alone(place)
    fits(portal, len(raw))
    with _one_at_a_time(portal, files, place):
        _agree(_read(portal, files, place), place, seen, only_new=only_new)
        entry = take_in(portal, actor, files, place, len(raw), [raw], overwrite=seen is not None, whole=True)
    return entry, tag_of(raw)


@contextmanager
def _one_at_a_time(portal: Portal, files: Reach, place: Spot) -> Iterator[None]:
    """From the comparison to the end of the writing, over threads and processes: two people who read the same do not both win."""
    number = zlib.crc32(f"{files.instance_id}/{place.path}".encode()) % _LOCKS
    folder = Path(portal.settings.data_dir) / "files-locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / str(number), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _agree(now: Content | None, place: Spot, seen: str | None, *, only_new: bool) -> None:
    if now is None:
        if seen is not None:
            raise PreconditionFailed(_m("%(path)s was deleted meanwhile. Save it under a name.", path=place.path))
        return
    if only_new:
        raise Exists(_m("%(path)s is there already. Say that it may be replaced, or choose another name.", path=place.path))
    if seen is None:
        raise PreconditionRequired(_m("%(path)s is there already. Send the ETag that you read as If-Match.", path=place.path))
    if now.hides:
        raise Conflict(_m("%(path)s holds secrets that you do not see; saving would overwrite them.", path=place.path))
    if now.tag != seen:
        raise PreconditionFailed(
            _m("%(path)s was changed meanwhile, by the claw or somebody else. Nothing was overwritten.", path=place.path)
        )
