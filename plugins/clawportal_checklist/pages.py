"""The card with first steps, its page with what was put aside, and putting aside."""

from __future__ import annotations

from flask import render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from clawportal.sdk.pages import actor, moved, page, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import INSTANCE_READ, PORTAL_ADMIN, Actor
from clawportal_checklist import services


def card(who: Actor) -> Markup | None:
    found = services.on_home(portal(), who)
    if found is None:
        return None
    return Markup(render_template("checklist/_card.html", checklist=found))  # noqa: S704 - a template escapes what it shows


@page("/first-steps", endpoint="checklist")
@requires(INSTANCE_READ)
def checklist() -> str:
    return render_template("checklist/index.html", checklist=services.of(portal(), actor()))


@page("/first-steps", "POST", endpoint="checklist_aside")
@requires(PORTAL_ADMIN)
def checklist_aside() -> Response:
    aside, name = request.form.get("aside") == "true", request.form.get("name", "")[:80]
    services.put_aside(portal(), actor(), name, aside)
    said = _("It was put aside.") if aside else _("It is on the list again.")
    home = request.form.get("from") == "home"
    return moved(said, url_for("web.home") if home else url_for("web.checklist"), level="success")
