"""Uploads that resume, by the tus protocol 1.0: creation, expiration, checksum and termination."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from typing import Any, cast, get_args

from flask import Response, request, url_for
from pydantic import Field

from clawportal.sdk import _m
from clawportal.sdk.api import Answer, Portal, UnsupportedMediaType, op
from clawportal.sdk.errors import Invalid, PreconditionFailed
from clawportal.sdk.files import INSTANCE_FILES_WRITE, PIECE, counted, limit, reach
from clawportal.sdk.permissions import Actor
from clawportal_files import uploads
from clawportal_files.places import Taken

TAGS = ("Files",)
VERSION = "1.0.0"
PART = "application/offset+octet-stream"
UPLOAD = "/instances/{instance_id}/files/upload"
_BIGGEST = 2**62


class UploadDocument(Answer):
    id: str
    path: str = Field(description="Where it goes, or went.")
    size: int
    offset: int = Field(description="Bytes that have arrived; the next part begins there.")
    expires_at: datetime = Field(description="When what has arrived is dropped, unless more comes.")
    placed: bool = Field(description="Whether the file is in the claw.")


class UploadsDocument(Answer):
    items: list[UploadDocument]


def _document(found: uploads.Progress) -> dict[str, Any]:
    one = found.upload
    return {
        "id": one.id, "path": one.placed or one.path, "size": one.size, "offset": found.offset, "expires_at": found.expires_at,
        "placed": bool(one.placed),
    }  # fmt: skip


def _headers(portal: Portal, found: uploads.Progress) -> dict[str, str]:
    return {
        "Tus-Resumable": VERSION, "Tus-Version": VERSION, "Tus-Extension": "creation,expiration,checksum,termination",
        "Tus-Checksum-Algorithm": ",".join(uploads.ALGORITHMS), "Tus-Max-Size": str(limit(portal)),
        "Upload-Offset": str(found.offset), "Upload-Length": str(found.upload.size), "Cache-Control": "no-store",
        "Upload-Expires": format_datetime(found.expires_at, usegmt=True),
    }  # fmt: skip


def _speaks_tus() -> None:
    if request.headers.get("Tus-Resumable") != VERSION:
        raise PreconditionFailed(_m("Send Tus-Resumable: %(version)s.", version=VERSION), headers={"Tus-Version": VERSION})


def _number(name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) < _BIGGEST):
        raise Invalid.field(name, _m("must be a number of bytes"), "invalid")
    return int(text)


def _metadata() -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (item.strip() for item in request.headers.get("Upload-Metadata", "").split(","))):
        key, _, value = part.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Invalid.field("Upload-Metadata", _m("must be pairs of a name and its value in base64"), "invalid") from error
    return found


def _taken(text: str) -> Taken:
    if text not in get_args(Taken):
        raise Invalid.field("taken", _m("must be one of %(names)s", names=", ".join(get_args(Taken))), "unknown")
    return cast(Taken, text)


@op("POST", UPLOAD, permission=INSTANCE_FILES_WRITE, tags=TAGS, status=201, streamed=True,
    summary="Begin an upload that can resume", returns=UploadDocument,
    problems=(400, 404, 409, 411, 412, 413, 422, 503, 507))  # fmt: skip
def create_instance_upload(actor: Actor, portal: Portal, instance_id: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    """tus 1.0, creation: headers `Tus-Resumable`, `Upload-Length`, and `Upload-Metadata` with `path` and, if wanted, `taken`
    (`refuse`, `keep-both` or `replace`). Location says where the parts go. Room for all of it is counted before the first byte.
    Where a name is taken only while the parts come, the file goes beside what is there."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    _speaks_tus()
    given = _metadata()
    size = _number("Upload-Length") if "Upload-Length" in request.headers else None
    found = uploads.create(portal, actor, files, given.get("path", ""), size, _taken(given.get("taken", "refuse")))
    address = url_for("api.get_instance_upload", instance_id=instance_id, upload_id=found.upload.id)
    return _document(found), 201, {**_headers(portal, found), "Location": address}


@op("GET", UPLOAD, permission=INSTANCE_FILES_WRITE, tags=TAGS,
    summary="Your unfinished uploads", returns=UploadsDocument, problems=(404, 409, 503))  # fmt: skip
def list_instance_uploads(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    return {"items": [_document(found) for found in uploads.unfinished(portal, actor, files)]}


@op("GET", f"{UPLOAD}/{{upload_id}}", permission=INSTANCE_FILES_WRITE, tags=TAGS,
    summary="How far an upload is", returns=UploadDocument, problems=(404, 409, 503, 507))  # fmt: skip
def get_instance_upload(
    actor: Actor, portal: Portal, instance_id: str, upload_id: str
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Also as HEAD, with `Upload-Offset` and `Upload-Length`. A whole file that could not get into the claw tries again."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    found = uploads.look(portal, actor, files, upload_id)
    return _document(found), 200, _headers(portal, found)


@op("PATCH", f"{UPLOAD}/{{upload_id}}", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=204, streamed=True,
    summary="Send the next part of an upload", accepts=(PART,),
    problems=(400, 404, 409, 412, 413, 415, 422, 503, 507))  # fmt: skip
def append_instance_upload(actor: Actor, portal: Portal, instance_id: str, upload_id: str) -> Response:
    """The body is the part, from `Upload-Offset` on; 409 where that is another one than the upload has. With the last part the
    file goes into the claw, whole or not at all. `Upload-Checksum` refuses a part that was damaged (status 460)."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    uploads.find(portal, actor, files, upload_id)
    _speaks_tus()
    if request.mimetype != PART:
        raise UnsupportedMediaType(_m("Send a part as %(kind)s.", kind=PART))
    ended = counted()
    try:
        checksum = request.headers.get("Upload-Checksum", "")
        found = uploads.append(portal, actor, files, upload_id, _number("Upload-Offset"), _pieces(), checksum)
    finally:
        ended()
    return Response(status=204, headers=_headers(portal, found))


def _pieces() -> Iterator[bytes]:
    stream = request.stream
    return iter(lambda: stream.read(PIECE), b"")


@op("DELETE", f"{UPLOAD}/{{upload_id}}", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=204,
    summary="Cancel an upload", problems=(404, 409, 503))  # fmt: skip
def delete_instance_upload(actor: Actor, portal: Portal, instance_id: str, upload_id: str) -> Response:
    """What has arrived is dropped; a file that is in the claw already stays there."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    uploads.remove(portal, actor, files, upload_id)
    return Response(status=204, headers={"Tus-Resumable": VERSION})
