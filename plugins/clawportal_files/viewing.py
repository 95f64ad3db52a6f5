"""One file as a page: an editor for text, what a browser shows as it is, or the beginning of its tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Response, render_template, request

from clawportal.sdk import _m
from clawportal.sdk.data import get_or_404
from clawportal.sdk.errors import Conflict, NotFound, Problem, Retry
from clawportal.sdk.files import (
    INSTANCE_FILES_READ,
    Reach,
    Spot,
    TooLarge,
    close,
    content_of,
    file_spot,
    hidden,
    lasting,
    opened,
    reach,
    readable,
    tell_of_download,
)
from clawportal.sdk.fleet import Instance
from clawportal.sdk.pages import actor, allow, frame, page, portal, requires
from clawportal_files import editing, previews
from clawportal_files.pages import crumbs
from clawportal_files.settings import FilesSettings


class Told:
    """Which downloads stand in the events already: a browser asks for the parts of one film many times."""

    SECONDS, MOST = 600.0, 10_000

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_news(self, key: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if len(self._at) >= self.MOST:
                self._at.clear()
            if now - self._at.get(key, -self.SECONDS) < self.SECONDS:
                return False
            self._at[key] = now
            return True


@page("/instances/<instance_id>/files/view")
@requires(INSTANCE_FILES_READ)
def instance_file(instance_id: str) -> str:
    found, path = get_or_404(Instance, instance_id, actor(), INSTANCE_FILES_READ), request.args.get("path", "")
    context: dict[str, Any] = {"problem": "", "file": None, "path": path, "text": None, "tables": [], "shown": ""}
    context["crumbs"] = crumbs(path.strip("/"))
    head = frame(found)
    try:
        context |= _context(instance_id, path)
    except (Problem, Retry) as error:
        if isinstance(error, Problem) and error.status in (403, 404, 422):
            raise
        context["problem"] = str(error)
    return render_template("files/view.html", **head, **context)


def _context(instance_id: str, path: str) -> dict[str, Any]:
    kind = previews.SHOWN.get(previews.ending(path))
    if kind is not None:  # the browser asks for it by itself
        files, place = _way(instance_id, path)
        _size(files, place)
        allow("frame", "media")
        return {"path": place.path, "shown": kind[0], "owner": files.owner(place)}
    content = editing.read(portal(), actor(), instance_id, path)
    text, name = previews.text_of(content.raw), content.place.name
    tables = previews.tables_of(name, content.raw)
    return {"file": content, "path": content.place.path, "text": text, "tables": tables, "owner": content.owner}


def _way(instance_id: str, path: str) -> tuple[Reach, Spot]:
    files, place = reach(portal(), actor(), instance_id), file_spot(path)
    files.enter(place)
    return files, place


def _size(files: Reach, place: Spot) -> int:
    """Of a file that may be shown."""
    there, most = files.find(place), portal().section(FilesSettings).show_mib << 20
    if there is None:
        raise NotFound(_m("There is no %(path)s in %(name)s.", path=place.path, name=files.name))
    if there.kind != "file":
        raise Conflict(_m("%(path)s is no file. List a folder instead; links are not followed.", path=place.path))
    if there.size > most:
        raise TooLarge(_m("Files of at most %(size)s can be shown here. Download it instead.", size=readable(most)))
    return there.size


@page("/instances/<instance_id>/files/shown")
@requires(INSTANCE_FILES_READ)
def instance_file_shown(instance_id: str) -> Response:
    """For the page above: of a kind that a browser shows and that runs nothing, whatever is in it."""
    path = request.args.get("path", "")
    kind = previews.SHOWN.get(previews.ending(path))
    if kind is None:
        raise NotFound(_m("A file of this kind is not shown as it is."))
    files, place = _way(instance_id, path)
    _size(files, place)
    return lasting(lambda: _sent(files, place, kind[1]))


def _sent(files: Reach, place: Spot, mimetype: str) -> tuple[Response, Callable[[], None]]:
    stream, tar, first = opened(files, place)
    try:
        if first is None or not first.isreg():
            raise Conflict(_m("%(path)s is no file. List a folder instead; links are not followed.", path=place.path))
        answer = Response(hidden(content_of(tar, first), files.hider()), mimetype=mimetype)
        answer.content_length = first.size
        # Browsers take sound and films in parts, and some play nothing else.
        answer.make_conditional(request.environ, accept_ranges=True, complete_length=first.size)
        if portal().part(Told).is_news(f"{actor().id} {files.instance_id} {place.path}"):
            tell_of_download(portal(), actor(), files, place)
    except BaseException:
        close(stream)
        raise
    # An origin of its own, from which nothing is loaded and no script runs; a frame of ours may hold it.
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'; frame-ancestors 'self'"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Content-Disposition"] = "inline"
    return answer, lambda: close(stream)
