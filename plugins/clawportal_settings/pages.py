"""Settings on pages: all of them with where they come from, and one with its form."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.sdk.errors import Conflict, Invalid, PreconditionFailed
from clawportal.sdk.pages import actor, by_field, moved, page, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import PORTAL_ADMIN
from clawportal.sdk.settings import EVERY
from clawportal_settings import services
from clawportal_settings.services import Shown


@page("/settings", endpoint="settings")
@requires(PORTAL_ADMIN)
def settings() -> str:
    found = services.everything(portal(), actor())
    live = [shown for shown in found if shown.setting.changeable]
    groups = [(feature, list(some)) for feature, some in groupby(live, key=lambda shown: shown.setting.feature)]
    rest = [shown for shown in found if not shown.setting.changeable]
    unread = services.unread(portal(), actor())
    return render_template("settings/index.html", groups=groups, rest=rest, unread=unread, seconds=int(EVERY))


@page("/settings/<name>", "GET", "POST", endpoint="setting")
@requires(PORTAL_ADMIN)
def setting(name: str) -> Response:
    shown = services.get(portal(), actor(), name)
    if request.method == "GET":
        return _form(shown)
    typed = request.form.get("value", "").strip()
    try:
        services.change(portal(), actor(), name, typed, generation=_generation())
    except Invalid as problem:
        return _form(shown, typed, 422, errors=by_field(problem.errors))
    except Conflict as problem:
        return _form(shown, typed, 409, problem=problem)
    except PreconditionFailed:
        return _form(services.get(portal(), actor(), name), typed, 412, meanwhile=True)
    return moved(_("The setting was saved."), url_for("web.settings"))


@page("/settings/<name>/reset", "GET", "POST", endpoint="setting_reset")
@requires(PORTAL_ADMIN)
def setting_reset(name: str) -> Response:
    """Also for what nothing here reads any more, which has no page of its own."""
    row = next((one for one in services.unread(portal(), actor()) if one.name == name), None)
    shown = None if row else services.get(portal(), actor(), name)
    generation = row.generation if row else shown.generation if shown else 0
    status = 200
    if request.method == "POST":
        try:
            services.reset(portal(), actor(), name, generation=_generation())
            return moved(_("The setting was reset."), url_for("web.settings"))
        except PreconditionFailed:
            status = 412
    given = {"name": name, "row": row, "shown": shown, "generation": generation, "meanwhile": status == 412}
    return _answer(status, "reset", **given)


def _generation() -> int:
    """What was read before somebody typed, or what they overwrite after having been shown it."""
    text = request.form.get("overwrite") or request.form.get("generation", "")
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def _form(shown: Shown, typed: Any = None, status: int = 200, **context: Any) -> Response:
    given: dict[str, Any] = {"errors": {}, "problem": None, "meanwhile": False} | context
    value = typed if typed is not None else shown.value
    return _answer(status, "form", shown=shown, value=value, seconds=int(EVERY), **given)


def _answer(status: int, template: str, **context: Any) -> Response:
    answer = make_response(render_template(f"settings/{template}.html", **context))
    answer.status_code = status
    return answer
