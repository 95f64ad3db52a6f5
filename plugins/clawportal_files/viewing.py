"""One file as a page: an editor for text, a picture, or the beginning of its tables."""

from __future__ import annotations

from typing import Any

from flask import Response, render_template, request

from clawportal.sdk import _m
from clawportal.sdk.data import get_or_404
from clawportal.sdk.errors import NotFound, Problem, Retry
from clawportal.sdk.files import INSTANCE_FILES_READ
from clawportal.sdk.fleet import Instance
from clawportal.sdk.pages import actor, frame, page, portal, requires
from clawportal_files import editing, previews
from clawportal_files.pages import crumbs


@page("/instances/<instance_id>/files/view")
@requires(INSTANCE_FILES_READ)
def instance_file(instance_id: str) -> str:
    found, path = get_or_404(Instance, instance_id, actor(), INSTANCE_FILES_READ), request.args.get("path", "")
    context: dict[str, Any] = {"problem": "", "file": None, "path": path, "text": None, "tables": [], "picture": False}
    context["crumbs"] = crumbs(path.strip("/"))
    head = frame(found)
    try:
        content = editing.read(portal(), actor(), instance_id, path)
        context |= _shown(content)
    except (Problem, Retry) as error:
        if isinstance(error, Problem) and error.status in (403, 404, 422):
            raise
        context["problem"] = str(error)
    return render_template("files/view.html", **head, **context)


def _shown(content: editing.Content) -> dict[str, Any]:
    name = content.place.name
    picture = previews.ending(name) in previews.PICTURES
    text = None if picture else previews.text_of(content.raw)
    return {
        "file": content, "path": content.place.path, "text": text, "picture": picture,
        "tables": [] if picture else previews.tables_of(name, content.raw),
    }  # fmt: skip


@page("/instances/<instance_id>/files/picture")
@requires(INSTANCE_FILES_READ)
def instance_picture(instance_id: str) -> Response:
    """For the page above: of a kind that runs nothing, whatever is in it."""
    path = request.args.get("path", "")
    kind = previews.PICTURES.get(previews.ending(path))
    if kind is None:
        raise NotFound(_m("This is no picture that is shown here."))
    answer = Response(editing.read(portal(), actor(), instance_id, path).raw, mimetype=kind)
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return answer
