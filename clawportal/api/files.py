"""Files of an instance: a folder as JSON, content as bytes both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from flask import Response, request
from pydantic import Field

from clawportal.api._layer import Answer, Query, UnsupportedMediaType, op
from clawportal.contracts.core_permissions import INSTANCE_FILES_READ, INSTANCE_FILES_WRITE
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.http import streams
from clawportal.messages import _m
from clawportal.services.live import files

TAGS = ("Instances",)
BYTES, TAR = "application/octet-stream", "application/x-tar"
_PATH = _m("Where, such as `work/notes.txt`. The folders of a claw are `work`, `state` and `home`.")


class FileEntry(Answer):
    """One line of a folder."""

    name: str
    path: str = Field(description="By which it is asked for; empty for a name that is no text, to be had with its folder alone.")
    kind: Literal["file", "folder", "link", "other"]
    size: int | None = Field(description="Bytes; null for folders.")
    modified: datetime | None
    owner: Literal["", "portal", "claw"] = Field(
        description="Of a file of its plan: `portal` where the portal writes it itself, `claw` where it was given once."
    )


class Folder(Answer):
    """What is in a folder, folders first."""

    path: str
    items: list[FileEntry]
    total: int = Field(description=f"How many there are; at most {files.MOST_LISTED} are told.")
    readable: bool = Field(description="Whether you may have the content of what is here.")
    writable: bool = Field(description="Whether you may upload here.")


class PathQuery(Query):
    path: str = Field("", max_length=4000, description=_PATH)


class UploadQuery(PathQuery):
    overwrite: bool = Field(False, description="Replace a file that is there. Without it: 409 `exists`.")


@op("GET", "/instances/{instance_id}/files", permission=INSTANCE_FILES_READ, tags=TAGS,
    summary="A folder of an instance", returns=Folder, problems=(404, 409, 503))  # fmt: skip
def list_instance_files(actor: Actor, portal: Portal, instance_id: str, query: PathQuery) -> dict[str, Any]:
    """Without `path` the folders that every claw has. Links are told and never followed. Also for a claw that is stopped; a
    Kubernetes cluster then needs some seconds. Where the files cannot be reached: 409 or 503 with the reason."""
    found = files.listing(portal, actor, instance_id, query.path)
    items = [{name: getattr(entry, name) for name in FileEntry.model_fields} for entry in found.entries]
    told = {"path": found.path, "items": items, "total": found.total}
    return told | {"readable": found.readable, "writable": found.writable}


@op("GET", "/instances/{instance_id}/files/content", permission=INSTANCE_FILES_READ, tags=TAGS,
    summary="Download a file or folder of an instance", produces=(BYTES, TAR), problems=(404, 409, 503))  # fmt: skip
def get_instance_file(actor: Actor, portal: Portal, instance_id: str, query: PathQuery) -> Response:
    """A file as it is, a folder as a tar archive. `state` and `home` need the permission `instance.console`, too; who lacks it
    gets values of secrets as asterisks everywhere. Each download is an event and stands in the audit."""

    def begin() -> tuple[Response, Callable[[], None]]:
        found = files.download(portal, actor, instance_id, query.path)
        answer = Response(found.pieces, mimetype=TAR if found.folder else BYTES)
        answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name, safe='')}"
        answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"  # never a page of ours
        if found.size is not None:
            answer.content_length = found.size
        return answer, found.close

    return streams.lasting(begin)


@op("PUT", "/instances/{instance_id}/files/content", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=201,
    summary="Upload a file into an instance", returns=FileEntry, accepts=(BYTES,),
    problems=(400, 404, 409, 411, 413, 415, 503, 507), streamed=True)  # fmt: skip
def put_instance_file(actor: Actor, portal: Portal, instance_id: str, query: UploadQuery) -> dict[str, Any]:
    """The body is the file; it appears whole or not at all, and folders above it are made. `state` and `home` need the permission
    `instance.console`, too; what the portal writes itself cannot be replaced. Each upload is an event and stands in the audit."""
    if request.mimetype not in ("", BYTES):
        raise UnsupportedMediaType(
            _m("Send the file itself as %(BYTES)s, not as %(mimetype)s.", BYTES=BYTES, mimetype=request.mimetype)
        )
    counted = streams.counted()
    try:
        size = request.content_length
        entry = files.upload(portal, actor, instance_id, query.path, size, _pieces(), overwrite=query.overwrite)
    finally:
        counted()
    return {name: getattr(entry, name) for name in FileEntry.model_fields}


def _pieces() -> Iterator[bytes]:
    stream = request.stream  # some places read it from a thread of their own
    return iter(lambda: stream.read(files.PIECE), b"")
