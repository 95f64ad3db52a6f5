"""Notes in the API: the functions become routes below /api/v1 and entries of the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Page, Paged, Portal, op, paged
from clawportal.sdk.permissions import Actor
from clawportal_notes import services as notes
from clawportal_notes.permissions import NOTES_READ, NOTES_WRITE

TAGS = ("Notes",)


class NoteDocument(Answer):
    id: str
    instance_id: str
    text: str
    urgent: bool
    written_by: str
    created_at: datetime
    closed_at: datetime | None = Field(description="Null: it is open.")


class NoteQuery(Paged):
    instance: str = Field("", max_length=100, description="Id of an instance; empty: of all that you see.")


class NewNote(Strict):
    instance: str = Field(max_length=100, description="Id of the instance that it is about.")
    text: str = Field(max_length=2 * notes.LONGEST)
    urgent: bool = Field(False, description="It stays open until somebody closes it.")


def document(row: notes.Note) -> dict[str, Any]:
    return {name: getattr(row, name) for name in NoteDocument.model_fields}


@op("GET", "/notes", permission=NOTES_READ, tags=TAGS, summary="Notes", returns=Page[NoteDocument], problems=(404,))
def list_notes(actor: Actor, query: NoteQuery) -> Any:
    """Newest first."""
    found = notes.find(actor, query.instance, query.which)
    return paged(found, query, [document(row) for row in found.items])


@op("POST", "/notes", permission=NOTES_WRITE, tags=TAGS, summary="Write a note", status=201, returns=NoteDocument,
    problems=(404, 409), example={"instance": "01h2xcejqtf2nbrexx3vqjhp41", "text": "Ask Kim before stopping it."})  # fmt: skip
def create_note(actor: Actor, portal: Portal, body: NewNote) -> Any:
    row = notes.write(portal, actor, body.instance, body.text, urgent=body.urgent)
    return document(row), 201, {"Location": f"/api/v1/notes/{row.id}"}


@op("GET", "/notes/{note_id}", permission=NOTES_READ, tags=TAGS, summary="One note", returns=NoteDocument, problems=(404,))
def get_note(actor: Actor, note_id: str) -> dict[str, Any]:
    return document(notes.get(actor, note_id))


@op("POST", "/notes/{note_id}/close", permission=NOTES_WRITE, tags=TAGS, summary="Close a note", returns=NoteDocument,
    problems=(404,))  # fmt: skip
def close_note(actor: Actor, portal: Portal, note_id: str) -> dict[str, Any]:
    """Closing what is closed changes nothing."""
    return document(notes.close(portal, actor, note_id))


@op("DELETE", "/notes/{note_id}", permission=NOTES_WRITE, tags=TAGS, summary="Delete a note", status=204, problems=(404,))
def delete_note(actor: Actor, portal: Portal, note_id: str) -> None:
    notes.delete(portal, actor, note_id)
