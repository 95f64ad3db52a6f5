"""The files of an instance, for whoever may look there: `reach` says who may, `spot` what a path means.

    files, place = reach(portal, actor, instance_id), file_spot(path)
    files.enter(place)
    with map_errors(files.name, place):
        files.runtime.move_file(files.ref, place.root, place.inner, ...)

A `Reach` holds no row, so that the place may take its time. What changes something asks `leave_alone` first, since some files are
the portal's own; what takes bytes in goes through `counted_in`; what people should read of later is an event, by `tell`.
"""

from __future__ import annotations

from clawportal.contracts.core_permissions import INSTANCE_FILES_READ, INSTANCE_FILES_WRITE
from clawportal.contracts.runtimes import OWN_FOLDER, FileEntry, FoundFiles
from clawportal.http.streams import counted, lasting
from clawportal.services.fleet.storage import readable
from clawportal.services.live.file_access import (
    ROOTS,
    SHARED,
    Exists,
    LengthNeeded,
    Reach,
    Spot,
    TooLarge,
    counted_in,
    fits,
    limit,
    map_errors,
    reach,
    spot,
    tell,
)
from clawportal.services.live.files import (
    PIECE,
    Entry,
    Folder,
    close,
    content_of,
    entry_of,
    file_spot,
    folder_of,
    hidden,
    listed,
    next_of,
    opened,
    packed,
    room_for,
    take_in,
    tell_of_download,
    upload,
)
from clawportal.services.system.disk_guard import NoRoom, on_portals_disk
from clawportal.services.system.disk_guard import ensure as ensure_room

__all__ = [
    "INSTANCE_FILES_READ",
    "INSTANCE_FILES_WRITE",
    "OWN_FOLDER",
    "PIECE",
    "ROOTS",
    "SHARED",
    "Entry",
    "Exists",
    "FileEntry",
    "Folder",
    "FoundFiles",
    "LengthNeeded",
    "NoRoom",
    "Reach",
    "Spot",
    "TooLarge",
    "close",
    "content_of",
    "counted",
    "counted_in",
    "ensure_room",
    "entry_of",
    "file_spot",
    "fits",
    "folder_of",
    "hidden",
    "lasting",
    "limit",
    "listed",
    "map_errors",
    "next_of",
    "on_portals_disk",
    "opened",
    "packed",
    "reach",
    "readable",
    "room_for",
    "spot",
    "take_in",
    "tell",
    "tell_of_download",
    "upload",
]
