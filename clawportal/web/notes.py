"""The page on which the note on an instance is written."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.core_permissions import INSTANCE_UPDATE
from clawportal.errors import Invalid, PreconditionFailed, Problem
from clawportal.http.security import actor, portal, requires
from clawportal.models import Instance
from clawportal.services.fleet import instances, notes
from clawportal.services.rights import access
from clawportal.web import auth, edit_conflict, gone, pages, rows
from clawportal.web.edit_conflict import Difference, Stale
from clawportal.web.pages import page
from clawportal.web.words import gettext as _


@page("/instances/<instance_id>/note", "GET", "POST")
@requires(INSTANCE_UPDATE)
def instance_note(instance_id: str) -> AnyResponse:
    found = gone.refuse(instances.get(actor(), instance_id))
    access.require(actor(), INSTANCE_UPDATE, access.scope_of(found))
    there = notes.get(actor(), instance_id)
    if request.method == "GET":
        return _page(found, there.text, there.revision)
    text, revision = request.form.get("text", ""), edit_conflict.read_generation(digits=9)
    try:
        note = notes.write(portal(), actor(), instance_id, text, revision=revision)
    except Invalid as problem:
        return _page(found, text, revision, problem, errors=auth.told(problem.errors))
    except PreconditionFailed as problem:
        return _page(found, text, revision, problem, stale=_stale(notes.get(actor(), instance_id), text))
    said = _("The note was saved.") if note.text else _("There is no note any more.")
    return pages.moved(said, url_for("web.instance", instance_id=instance_id), level="toast")


def _stale(there: notes.Note, text: str) -> Stale:
    changed = [Difference("text", there.text, _("Note"))] if there.text != text.strip() else []
    return Stale(there.written_by, there.written_at, there.revision, changed)


def _page(found: Instance, text: str, revision: int | None, problem: Problem | None = None, **more: Any) -> Response:
    context: dict[str, Any] = {"errors": {}, "stale": None} | more
    shown = rows.instance_row(actor(), found)
    answer = make_response(
        render_template("instances/note.html", i=shown, text=text, revision=revision, longest=notes.LONGEST, **context)
    )
    answer.status_code = problem.status if problem else 200
    return answer
