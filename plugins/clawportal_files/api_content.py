"""A file by its path, with an ETag: read, written back where nobody changed it meanwhile, and thrown away."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, request
from pydantic import Field

from clawportal.sdk import _m
from clawportal.sdk.api import Answer, Portal, UnsupportedMediaType, op
from clawportal.sdk.errors import BadRequest, PreconditionRequired
from clawportal.sdk.files import INSTANCE_FILES_READ, INSTANCE_FILES_WRITE, TooLarge, reach, readable
from clawportal.sdk.permissions import Actor
from clawportal_files import editing, trash

TAGS = ("Files",)
BYTES = "application/octet-stream"
FILE = "/instances/{instance_id}/files/{file_path}"


class WrittenDocument(Answer):
    path: str
    size: int
    etag: str = Field(description="For the next change, as in the header ETag.")


@op("GET", FILE, permission=INSTANCE_FILES_READ, tags=TAGS, spans="file_path",
    summary="Open a file", produces=(BYTES,), problems=(404, 409, 413, 503))  # fmt: skip
def open_instance_file(actor: Actor, portal: Portal, instance_id: str, file_path: str) -> Response:
    """A file that is small enough to be edited, with an ETag of its content. Secrets are asterisks for who may not open a
    console. Larger ones can be downloaded from `/files/content`."""
    found = editing.read(portal, actor, instance_id, file_path)
    answer = Response(found.raw, mimetype=BYTES)
    answer.set_etag(found.tag)
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"  # never a page of ours
    answer.headers["Content-Disposition"] = "attachment"
    return answer


def _seen() -> tuple[str | None, bool]:
    """The tag that was read, and whether there must be nothing yet."""
    text = request.headers.get("If-Match", "").strip()
    if text == "*":
        raise PreconditionRequired(_m("If-Match: * would overwrite what others changed. Send the ETag that you read."))
    found = re.fullmatch(r'"([0-9a-f]{32})"', text)
    if text and not found:
        raise BadRequest(_m("If-Match must be the ETag that you read."))
    return found[1] if found else None, request.headers.get("If-None-Match", "").strip() == "*"


@op("PUT", FILE, permission=INSTANCE_FILES_WRITE, tags=TAGS, spans="file_path", streamed=True, accepts=(BYTES,),
    summary="Save a file", returns=WrittenDocument, problems=(400, 404, 409, 411, 412, 413, 415, 422, 428, 503, 507))  # fmt: skip
def save_instance_file(
    actor: Actor, portal: Portal, instance_id: str, file_path: str
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The body is all of it. `If-Match` with the ETag that was read; 412 where the file is another one by now, and nothing is
    overwritten. A file that is not there yet needs no `If-Match`; `If-None-Match: *` makes sure of that."""
    files = reach(portal, actor, instance_id, INSTANCE_FILES_WRITE)
    if request.mimetype not in ("", BYTES):
        raise UnsupportedMediaType(_m("Send the file itself as %(kind)s.", kind=BYTES))
    seen, only_new = _seen()
    limit = editing.most(portal)
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        raise TooLarge(_m("Files of at most %(size)s can be saved here. Upload it instead.", size=readable(limit)))
    entry, tag = editing.write(portal, actor, files, file_path, raw, seen=seen, only_new=only_new)
    return {"path": entry.path, "size": len(raw), "etag": tag}, 200, {"ETag": f'"{tag}"'}


@op("DELETE", FILE, permission=INSTANCE_FILES_WRITE, tags=TAGS, spans="file_path", status=204,
    summary="Delete a file or folder", problems=(404, 409, 503))  # fmt: skip
def remove_instance_file(actor: Actor, portal: Portal, instance_id: str, file_path: str) -> None:
    """Into the trash."""
    trash.delete(portal, actor, instance_id, file_path)
