"""The page of all notes, and the tab of an instance."""

from __future__ import annotations

from flask import render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.sdk.data import get_or_404
from clawportal.sdk.errors import Invalid
from clawportal.sdk.fleet import Instance
from clawportal.sdk.pages import actor, back, by_field, frame, moved, page, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import INSTANCE_READ
from clawportal_notes import services
from clawportal_notes.permissions import NOTES_READ, NOTES_WRITE


@page("/notes", endpoint="notes")
@requires(NOTES_READ)
def all_notes() -> str:
    return render_template("notes/index.html", notes=services.find(actor()).items)


@page("/instances/<instance_id>/notes", "GET", "POST")
@requires(NOTES_READ)
def instance_notes(instance_id: str) -> Response | str | tuple[str, int]:
    instance = get_or_404(Instance, instance_id, actor(), INSTANCE_READ)
    if request.method == "GET":
        return _tab(instance)
    text = request.form.get("text", "")
    try:
        services.write(portal(), actor(), instance_id, text, urgent="urgent" in request.form)
    except Invalid as problem:
        return _tab(instance, text, by_field(problem.errors)), 422
    return moved(_("The note was written."), url_for("web.instance_notes", instance_id=instance_id))


def _tab(instance: Instance, text: str = "", errors: dict[str, str] | None = None) -> str:
    found, may = services.find(actor(), instance.id).items, services.may_write(actor(), instance)
    return render_template("notes/tab.html", notes=found, may_write=may, text=text, errors=errors or {}, **frame(instance))


@page("/notes/<note_id>/close", "POST")
@requires(NOTES_WRITE)
def note_close(note_id: str) -> Response:
    services.close(portal(), actor(), note_id)
    return moved(_("The note was closed."), back(url_for("web.notes")))
