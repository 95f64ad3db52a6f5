"""The note in the menu, the card with the switch, and the switch itself."""

from __future__ import annotations

from flask import render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from clawportal.sdk.pages import actor, changed, moved, page, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import PORTAL_ADMIN, PORTAL_READ, Actor
from clawportal_practice import service
from clawportal_practice.answers import WORDS
from clawportal_practice.settings import PracticeSettings


def menu_note(who: Actor) -> Markup | None:
    """Everybody sees that answers may be made up."""
    if not service.listening(portal()).url:
        return None
    target = f"{url_for('web.about')}#practice" if who.has(PORTAL_READ) else url_for("web.instances")
    return Markup(render_template("practice_model/_note.html", target=target))  # noqa: S704 - a template escapes what it shows


def about_card(_who: Actor) -> Markup:
    context = {"on": service.enabled(), "url": service.listening(portal()).url, "words": WORDS}
    return Markup(render_template("practice_model/_card.html", **context))  # noqa: S704 - a template escapes what it shows


@page("/about/practice", "POST")
@requires(PORTAL_ADMIN)
def practice_model() -> Response:
    on = request.form.get("practice") == "true"
    service.switch(portal(), actor(), on)
    url = service.listening(portal()).url
    if on and not url:
        return changed(_("It cannot listen on its port; see below what to do."), level="error", url=url_for("web.about"))
    if on and service.moved(portal()):
        taken, port = portal().section(PracticeSettings).port, url.rpartition(":")[2].partition("/")[0]
        words = _("The practice model is on. Port %(taken)s is taken, so it listens on port %(port)s.", taken=taken, port=port)
        return moved(words, url_for("web.about"))
    return moved(_("The practice model is on.") if on else _("The practice model is off."), url_for("web.about"))
