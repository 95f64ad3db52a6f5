"""Daily work with the files of a claw: new, rename, move, copy, search, trash, ZIP archives, and uploads that resume."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import ApiTag, EventKind, Feature, Job, Tab
from clawportal.sdk.permissions import INSTANCE_FILES_READ

FEATURE = Feature(
    name="files",
    title=_m("Files"),
    package="clawportal_files",
    requires=("live",),
    events=(
        EventKind("instance.file_created", _m("A file or folder was made in a claw."), action=_m("Create a file of {thing}")),
        EventKind("instance.file_moved", _m("A file of a claw was moved or renamed."), action=_m("Move a file of {thing}")),
        EventKind("instance.file_copied", _m("A file of a claw was copied."), action=_m("Copy a file of {thing}")),
        EventKind("instance.file_deleted", _m("A file of a claw went into the trash."), action=_m("Delete a file of {thing}")),
        EventKind("instance.file_restored", _m("A file came back from the trash of a claw."), action=_m("Restore in {thing}")),
        EventKind("instance.file_purged", _m("Files of a claw were deleted for good."), action=_m("Empty the trash of {thing}")),
    ),
    api_tags=(ApiTag(_m("Files"), _m("Daily work with the files of an instance: move, copy, search, trash, archives."), 45),),
    pages=("clawportal_files.pages", "clawportal_files.viewing"),
    instance_tabs=(Tab("files", _m("Files"), "web.instance_files", "folder", INSTANCE_FILES_READ, order=60, can="files"),),
    api=("clawportal_files.api", "clawportal_files.api_uploads", "clawportal_files.api_content"),
    jobs=(Job("uploads", "clawportal_files.uploads:sweep_once", every=600, on="each", at_start=True),),
    settings="clawportal_files.settings:FilesSettings",
    client_commands=("clawportal_files.cli:register",),
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
