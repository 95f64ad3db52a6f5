"""The files of a claw as pages: a folder page by page, what a search finds, and the trash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flask import Response, render_template, request

from clawportal.sdk import _m
from clawportal.sdk.data import get_or_404
from clawportal.sdk.errors import Problem, Retry
from clawportal.sdk.files import (
    INSTANCE_FILES_READ,
    OWN_FOLDER,
    Entry,
    FileEntry,
    Reach,
    Spot,
    entry_of,
    folder_of,
    limit,
    listed,
    reach,
    spot,
)
from clawportal.sdk.fleet import Instance
from clawportal.sdk.pages import actor, fragment, frame, page, portal, requires
from clawportal_files import archives, changes, trash

SHOWN = 200
"""Rows of one page."""
SORTS = ("name", "-name", "size", "-size", "modified", "-modified")
_KEYS: Mapping[str, Callable[[FileEntry], Any]] = {
    "name": lambda entry: entry.name.casefold(),
    "size": lambda entry: 0 if entry.kind == "folder" else entry.size,
    "modified": lambda entry: entry.modified,
}
_ABOUT = {
    "work": _m("What the claw works on: its people may look and put things here."),
    "state": _m("Its configuration and memory. Only who may open a console gets at the content."),
    "home": _m("The claw's own. Only who may open a console gets at the content."),
}


@dataclass(frozen=True)
class Crumb:
    name: str
    path: str


@dataclass(frozen=True)
class Row:
    name: str
    path: str
    kind: Literal["file", "folder", "link", "other"]
    size: int | None
    modified: datetime | None
    owner: str
    above: str = ""
    """The folder of what a search found."""


@dataclass(frozen=True)
class View:
    """What the page shows."""

    path: str
    rows: Sequence[Row]
    total: int
    offset: int
    sort: str
    readable: bool
    writable: bool
    changeable: bool
    """Whether things can be moved and deleted in this place."""
    text: str = ""
    """What was searched for."""
    complete: bool = True
    """Whether a search saw everything."""

    @property
    def last(self) -> int:
        return self.offset + len(self.rows)


@page("/instances/<instance_id>/files")
@requires(INSTANCE_FILES_READ)
def instance_files(instance_id: str) -> str:
    found = get_or_404(Instance, instance_id, actor(), INSTANCE_FILES_READ)
    head = frame(found)
    path = request.args.get("path", "")
    place = spot(path)
    context: dict[str, Any] = {"view": None, "problem": "", "about": _ABOUT, "limit": limit(portal())}
    context["crumbs"] = crumbs(place.path if place else "")
    try:
        context["view"] = _view(instance_id, path)
    except (Problem, Retry) as error:
        if isinstance(error, Problem) and error.status in (403, 404, 422):
            raise
        context["problem"] = str(error)
    template = "files/_folder.html" if fragment() else "files/folder.html"
    return render_template(template, **head, **context)


def crumbs(path: str) -> list[Crumb]:
    parts = path.split("/") if path else []
    return [Crumb(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]


def _view(instance_id: str, path: str) -> View:
    files, text = reach(portal(), actor(), instance_id), request.args.get("q", "").strip()
    if text:
        return _searched(files, path, text)
    place = spot(path)
    if place is None:
        folder = folder_of(files, path)
        return View("", [_row(entry) for entry in folder.entries], folder.total, 0, "name", False, False, _changes(files))
    return _of_folder(files, place)


def _of_folder(files: Reach, place: Spot) -> View:
    """Lines are made of what is shown alone: a folder may have ten thousand entries."""
    found, sort = listed(files, place), request.args.get("sort", "name")
    if place.path == "home":
        found = [entry for entry in found if entry.name != OWN_FOLDER]
    if sort in SORTS[1:]:
        found = _sorted(found, sort)
    offset, inside = _offset(len(found)), files.inside(place)
    rows = [_row(entry_of(files, place, entry)) for entry in found[offset : offset + SHOWN]]
    return View(place.path, rows, len(found), offset, sort, inside, inside and files.writes, _changes(files))


def _changes(files: Reach) -> bool:
    return "files.change" in files.runtime.capabilities


def _searched(files: Reach, path: str, text: str) -> View:
    found = changes.search(portal(), actor(), files.instance_id, path, text)
    hits = found.hits
    offset = _offset(len(hits))
    rows = [
        Row(hit.name, hit.path, hit.kind, None if hit.kind == "folder" else hit.entry.size, hit.entry.modified, hit.owner,
            hit.path.rpartition("/")[0])
        for hit in hits[offset : offset + SHOWN]
    ]  # fmt: skip
    place = spot(path)
    inside = files.inside(place) if place else files.sees_secrets
    writable = inside and files.writes
    return View(place.path if place else "", rows, len(hits), offset, "name", inside, writable, True, text, found.complete)


def _row(entry: Entry) -> Row:
    return Row(entry.name, entry.path, entry.kind, entry.size, entry.modified, entry.owner)


def _sorted(entries: Sequence[FileEntry], sort: str) -> list[FileEntry]:
    """Folders stay first."""
    found = sorted(entries, key=_KEYS[sort.lstrip("-")], reverse=sort.startswith("-"))
    return [entry for entry in found if entry.kind == "folder"] + [entry for entry in found if entry.kind != "folder"]


def _offset(total: int) -> int:
    """A page that is there, whatever the address says."""
    given = request.args.get("offset", "0")
    wanted = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
    return min(wanted, max(0, total - 1)) // SHOWN * SHOWN


@page("/instances/<instance_id>/files/archive", "POST")
@requires(INSTANCE_FILES_READ)
def instance_files_archive(instance_id: str) -> Response:
    """What is selected in a list."""
    return archives.sent(lambda: archives.zipped_together(portal(), actor(), instance_id, request.form.getlist("paths")))


@page("/instances/<instance_id>/files/trash")
@requires(INSTANCE_FILES_READ)
def instance_trash(instance_id: str) -> str:
    found = get_or_404(Instance, instance_id, actor(), INSTANCE_FILES_READ)
    head, files = frame(found), reach(portal(), actor(), instance_id)
    context: dict[str, Any] = {"items": [], "problem": "", "writes": files.writes}
    try:
        context["items"] = [(item, files.writes and files.inside(trash.place_of(item))) for item in trash.items(files)]
    except (Problem, Retry) as error:
        context["problem"] = str(error)
    template = "files/_trash.html" if fragment() else "files/trash.html"
    return render_template(template, **head, **context)
