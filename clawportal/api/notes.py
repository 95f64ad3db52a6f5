"""The note on an instance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.api._layer import BIGGEST, Answer, agreed_generation, op
from clawportal.contracts.core_permissions import INSTANCE_READ, INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.services.fleet import notes

TAGS = ("Instances",)


class NoteDocument(Answer):
    """What the team wrote down about an instance."""

    text: str = Field(description="Markdown; empty where there is none.")
    revision: int = Field(description="Grows with each change; the ETag.")
    written_by: str = Field(description="Who wrote it last; empty before the first one.")
    written_at: datetime | None


class NoteBody(Strict):
    text: str = Field(max_length=notes.LONGEST, description="Markdown; an empty text takes the note away.")
    revision: int | None = Field(None, ge=0, le=BIGGEST, description="The revision that was read, where If-Match cannot be sent.")


@op("GET", "/instances/{instance_id}/note", permission=INSTANCE_READ, tags=TAGS, summary="The note on an instance",
    returns=NoteDocument, etag=True, problems=(404,))  # fmt: skip
def get_instance_note(actor: Actor, instance_id: str) -> Any:
    """An empty text with the revision 0 before somebody wrote one."""
    return _answer(notes.get(actor, instance_id))


@op("PUT", "/instances/{instance_id}/note", permission=INSTANCE_UPDATE, tags=TAGS, summary="Write the note on an instance",
    returns=NoteDocument, etag=True, problems=(404, 412, 428),
    example={"text": "Ask **Kim** before stopping it.", "revision": 0})  # fmt: skip
def put_instance_note(actor: Actor, portal: Portal, instance_id: str, body: NoteBody, if_match: int | None) -> Any:
    """Needs If-Match with the ETag that was read (or `revision` in the body), so that no change of others gets lost."""
    return _answer(notes.write(portal, actor, instance_id, body.text, revision=agreed_generation(body.revision, if_match)))


def _answer(note: notes.Note) -> tuple[dict[str, Any], int, dict[str, str]]:
    document = {name: getattr(note, name) for name in NoteDocument.model_fields}
    return document, 200, {"ETag": f'"{note.revision}"'}
