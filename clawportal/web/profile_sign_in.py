"""The parts of the account page about signing in: open sessions, and the second factor."""

from __future__ import annotations

from typing import Any

import segno
from flask import Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.permissions import SELF
from clawportal.errors import Invalid
from clawportal.http.security import actor, current_session, end_session, place, portal, requires
from clawportal.services.identity import otp, sessions
from clawportal.web import auth, pages, profile
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _
from clawportal.web.words import ngettext

# ---- sessions


@page("/profile/sessions/<session_id>/end", "POST")
@requires(SELF)
def session_end(session_id: str) -> AnyResponse:
    if session_id == current_session():
        sessions.require_person(actor())
        end_session()
        return pages.moved(_("You are signed out."), url_for("web.login"))
    sessions.end(portal(), actor(), session_id)
    return _sessions_changed(_("The session was ended."))


@page("/profile/sessions/end-others", "POST")
@requires(SELF)
def session_end_others() -> AnyResponse:
    ended = sessions.end_others(portal(), actor(), current_session())
    return _sessions_changed(ngettext("One other session was ended.", "%(num)s other sessions were ended.", ended))


def _sessions_changed(text: str) -> AnyResponse:
    if not fragment():
        return pages.moved(text, url_for("web.profile"))
    rows = sessions.listing(actor().id, current_session())
    answer = make_response(render_template("profile/_sessions.html", sessions=rows))
    pages.trigger(answer, {"toast": {"level": "success", "text": text}})
    return answer


# ---- second factor


@page("/second-factor")
@requires(SELF)
def otp_required() -> AnyResponse:
    """Where somebody is led whom an organisation asks for a second factor."""
    found = otp.status(actor().id)
    if found.enabled or actor().kind != "user":
        return redirect(url_for("web.home"), 303)
    return make_response(render_template("profile/otp_required.html", names=found.required_by))


@page("/profile/otp", "GET", "POST")
@requires(SELF)
def otp_setup() -> AnyResponse:
    """POST makes a secret, GET shows it; reloading the page shows the same again."""
    sessions.require_person(actor())
    if request.method == "POST":
        otp.generate(portal(), actor())
        return redirect(url_for("web.otp_setup"), 303)
    offer = otp.offered(portal(), actor())
    return _setup_page(offer) if offer else redirect(url_for("web.profile"))


def _setup_page(offer: otp.Offer, errors: dict[str, str] | None = None) -> Response:
    image = segno.make(offer.uri, error="m").svg_data_uri(scale=5, border=3, dark="#000", light="#fff")
    secret = " ".join(offer.secret[start : start + 4] for start in range(0, len(offer.secret), 4))
    answer = make_response(
        render_template("profile/otp.html", image=image, secret=secret, uri=offer.uri, errors=errors or {}, codes=None)
    )
    answer.status_code = 422 if errors else 200
    return answer


@page("/profile/otp/enable", "POST")
@requires(SELF)
def otp_enable() -> AnyResponse:
    try:
        codes = otp.enable(portal(), actor(), request.form.get("code", ""), place().address)
    except Invalid as problem:
        offer = otp.offered(portal(), actor()) or otp.generate(portal(), actor())
        return _setup_page(offer, auth.told(problem.errors))
    return _codes_page(codes)


def _codes_page(codes: list[str]) -> Response:
    """Backup codes are in this answer and never again."""
    return make_response(render_template("profile/otp.html", codes=codes, errors={}))


@page("/profile/otp/backup", "POST")
@requires(SELF)
def otp_backup() -> AnyResponse:
    try:
        return _codes_page(otp.new_backup_codes(portal(), actor(), request.form.get("backup_code", ""), place().address))
    except Invalid as problem:
        return _refused(problem, "backup_")


@page("/profile/otp/disable", "POST")
@requires(SELF)
def otp_disable() -> AnyResponse:
    form = request.form
    try:
        otp.disable(portal(), actor(), form.get("otp_password", ""), form.get("otp_code", ""), place().address)
    except Invalid as problem:
        return _refused(problem, "otp_")
    return pages.moved(_("Codes are asked for no more; the password alone is enough."), url_for("web.profile"))


def _refused(problem: Invalid, prefix: str) -> Response:
    """The names of the service's fields as the forms on the page spell them, since a page may have a name only once."""
    errors: dict[str, Any] = {f"{prefix}{path}": message for path, message in auth.told(problem.errors).items()}
    return profile.page_of(422, errors=errors)
