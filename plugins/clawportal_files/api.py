"""New folders, moving, copying, searching, the trash and ZIP archives, below `/instances/{instance_id}/files`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Portal, Query, op
from clawportal.sdk.files import INSTANCE_FILES_READ, INSTANCE_FILES_WRITE, Spot
from clawportal.sdk.permissions import Actor
from clawportal_files import archives, changes, trash

TAGS = ("Files",)
FILES = "/instances/{instance_id}/files"
_WHERE = "Where, such as `work/notes.txt`. The folders of a claw are `work`, `state` and `home`."
_TAKEN = (
    "What to do where something has the name already: `refuse` answers 409 `exists`; `keep-both` finds another name beside it; "
    "`replace` moves what is there into the trash."
)


# ---- what is answered


class PlaceDocument(Answer):
    path: str = Field(description="Where it is now.")
    name: str


class CopyDocument(PlaceDocument):
    left_out: int = Field(description="Links and special files in it, which are not copied.")


class HitDocument(Answer):
    path: str = Field(description="Empty for a name that is no text, to be had with its folder alone.")
    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int | None = Field(description="Bytes; null for folders.")
    modified: datetime
    owner: Literal["", "portal", "claw"]


class FoundDocument(Answer):
    items: list[HitDocument] = Field(description=f"Folders first; at most {changes.FOUND}.")
    complete: bool = Field(description="False: there may be more.")


class TrashItemDocument(Answer):
    id: str
    path: str = Field(description="Where it was.")
    kind: Literal["file", "folder", "link", "other"]
    size: int | None = Field(description="Bytes; null for folders.")
    deleted_at: datetime
    deleted_by: str = Field(description="Name of the person, as it was then.")


class TrashDocument(Answer):
    items: list[TrashItemDocument] = Field(description="The latest first.")


class EmptiedDocument(Answer):
    deleted: int


def _place(found: Spot) -> dict[str, Any]:
    return {"path": found.path, "name": found.name}


def _item(item: trash.Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in TrashItemDocument.model_fields}


# ---- what is asked


class NewEntry(Strict):
    path: str = Field(max_length=4000, description=_WHERE)
    kind: Literal["folder", "file"] = "folder"


class Transfer(Strict):
    path: str = Field(max_length=4000, description=_WHERE)
    target: str = Field(max_length=4000, description="Where to, with the new name.")
    taken: Literal["refuse", "keep-both", "replace"] = Field("refuse", description=_TAKEN)


class Restoring(Strict):
    taken: Literal["refuse", "keep-both", "replace"] = Field("refuse", description=_TAKEN)


class SearchQuery(Query):
    path: str = Field("", max_length=4000, description="The folder to look in, at any depth. Empty: all folders of the claw.")
    text: str = Field("", max_length=200, description="A part of the name, in capital or small letters.")


class FolderQuery(Query):
    path: str = Field("", max_length=4000, description="The folder, such as `work/notes`.")


class Chosen(Strict):
    paths: list[Annotated[str, Field(max_length=4000)]] = Field(min_length=1, max_length=1000, description=_WHERE)


class Doomed(Strict):
    path: str = Field(max_length=4000, description=_WHERE)


# ---- new, move, copy


@op("POST", f"{FILES}/new", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=201,
    summary="Make a folder or an empty file", returns=PlaceDocument, problems=(404, 409, 503, 507),
    example={"path": "work/reports", "kind": "folder"})  # fmt: skip
def create_instance_file(actor: Actor, portal: Portal, instance_id: str, body: NewEntry) -> dict[str, Any]:
    """Folders above it are made. 409 `exists` where something has the name."""
    make = changes.new_folder if body.kind == "folder" else changes.new_file
    return _place(make(portal, actor, instance_id, body.path))


@op("POST", f"{FILES}/move", permission=INSTANCE_FILES_WRITE, tags=TAGS,
    summary="Move or rename a file or folder", returns=PlaceDocument, problems=(404, 409, 503, 507),
    example={"path": "work/notes.txt", "target": "work/old/notes.txt"})  # fmt: skip
def move_instance_file(actor: Actor, portal: Portal, instance_id: str, body: Transfer) -> dict[str, Any]:
    """At once, whatever its size. What the portal writes itself, or holds such a file, stays where it is."""
    return _place(changes.move(portal, actor, instance_id, body.path, body.target, body.taken))


@op("POST", f"{FILES}/copy", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=201,
    summary="Copy a file or folder", returns=CopyDocument, problems=(404, 409, 413, 503, 507),
    example={"path": "work/notes.txt", "target": "work/notes of today.txt"})  # fmt: skip
def copy_instance_file(actor: Actor, portal: Portal, instance_id: str, body: Transfer) -> dict[str, Any]:
    """The copy is there whole or not at all. It counts against the storage limit before anything is copied."""
    found = changes.copy(portal, actor, instance_id, body.path, body.target, body.taken)
    return {**_place(found.place), "left_out": found.left_out}


# ---- looking


@op("GET", f"{FILES}/search", permission=INSTANCE_FILES_READ, tags=TAGS,
    summary="Search files by name", returns=FoundDocument, problems=(404, 409, 503))  # fmt: skip
def search_instance_files(actor: Actor, portal: Portal, instance_id: str, query: SearchQuery) -> dict[str, Any]:
    """Below a folder, at any depth. Links are told and never followed."""
    found = changes.search(portal, actor, instance_id, query.path, query.text)
    items = [
        {
            "path": hit.path, "name": hit.name, "kind": hit.kind, "owner": hit.owner, "modified": hit.entry.modified,
            "size": None if hit.kind == "folder" else hit.entry.size,
        }
        for hit in found.hits
    ]  # fmt: skip
    return {"items": items, "complete": found.complete}


@op("GET", f"{FILES}/archive", permission=INSTANCE_FILES_READ, tags=TAGS,
    summary="Download a folder as a ZIP archive", produces=(archives.ZIP,), problems=(404, 409, 413, 503))  # fmt: skip
def get_instance_archive(actor: Actor, portal: Portal, instance_id: str, query: FolderQuery) -> Response:
    """Made while it is sent; links are left out. Secrets are asterisks for who may not open a console. 413 where the folder holds
    too much."""

    return archives.sent(lambda: archives.zipped(portal, actor, instance_id, query.path))


@op("POST", f"{FILES}/archive", permission=INSTANCE_FILES_READ, tags=TAGS,
    summary="Download several files and folders as a ZIP archive", produces=(archives.ZIP,), problems=(404, 409, 413, 503),
    example={"paths": ["work/notes", "work/plan.md"]})  # fmt: skip
def create_instance_archive(actor: Actor, portal: Portal, instance_id: str, body: Chosen) -> Response:
    """Each by its path below the folder that holds them all. As for one folder; what is not there is 404, and nothing is sent."""
    return archives.sent(lambda: archives.zipped_together(portal, actor, instance_id, body.paths))


# ---- the trash


@op("GET", f"{FILES}/trash", permission=INSTANCE_FILES_READ, tags=TAGS,
    summary="What is in the trash", returns=TrashDocument, problems=(404, 409, 503))  # fmt: skip
def list_instance_trash(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    return {"items": [_item(item) for item in trash.listing(portal, actor, instance_id)]}


@op("POST", f"{FILES}/trash", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=201,
    summary="Move a file or folder into the trash", returns=TrashItemDocument, problems=(404, 409, 503),
    example={"path": "work/notes.txt"})  # fmt: skip
def delete_instance_file(actor: Actor, portal: Portal, instance_id: str, body: Doomed) -> dict[str, Any]:
    """It goes on counting against the storage limit until the trash is emptied."""
    return _item(trash.delete(portal, actor, instance_id, body.path))


@op("DELETE", f"{FILES}/trash", permission=INSTANCE_FILES_WRITE, tags=TAGS,
    summary="Empty the trash", returns=EmptiedDocument, problems=(404, 409, 503))  # fmt: skip
def empty_instance_trash(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    """For good. What was deleted from `state` and `home` stays without the right to a console."""
    return {"deleted": trash.empty(portal, actor, instance_id)}


@op("POST", f"{FILES}/trash/{{item_id}}/restore", permission=INSTANCE_FILES_WRITE, tags=TAGS,
    summary="Bring something back from the trash", returns=PlaceDocument, problems=(404, 409, 503), example={})  # fmt: skip
def restore_instance_file(actor: Actor, portal: Portal, instance_id: str, item_id: str, body: Restoring) -> dict[str, Any]:
    """To where it was; folders above it are made anew."""
    return _place(trash.restore(portal, actor, instance_id, item_id, body.taken))


@op("DELETE", f"{FILES}/trash/{{item_id}}", permission=INSTANCE_FILES_WRITE, tags=TAGS, status=204,
    summary="Delete something in the trash for good", problems=(404, 409, 503))  # fmt: skip
def purge_instance_file(actor: Actor, portal: Portal, instance_id: str, item_id: str) -> None:
    trash.purge(portal, actor, instance_id, item_id)
