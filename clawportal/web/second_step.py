"""The page between the password and the portal, for those who have a second factor: it asks for a code."""

from __future__ import annotations

from flask import Response, make_response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.errors import Problem, TooManyRequests, Unauthenticated
from clawportal.http.security import begin_session, current_actor, place, portal, public, safe_next
from clawportal.models import User
from clawportal.services.identity import clients, otp, sessions, sign_in
from clawportal.web.pages import page
from clawportal.web.words import gettext as _

_PASSED = "passed_first_step"
_SOURCE = "let_in_by"


def ask(user: User, wanted: str, source: sessions.Source = sessions.BY_PASSWORD) -> AnyResponse:
    """Remember for some minutes that the first step was right, and go on to the code. `source`: who vouched for it."""
    session.clear()
    session[_PASSED] = clients.challenge(portal(), user)
    session[_SOURCE] = [source.name, source.title]
    return redirect(url_for("web.login_code", next=wanted or None), 303)


@page("/login/code", "GET", "POST")
@public("nobody is signed in before it; what it needs is the proof of the first step in the session")
def login_code() -> AnyResponse:
    wanted = safe_next(request.values.get("next"), "")
    if current_actor() is not None:
        return redirect(wanted or url_for("web.home"))
    try:
        user = clients.challenged(portal(), session.get(_PASSED, ""))
    except Unauthenticated:
        session.pop(_PASSED, None)
        return redirect(url_for("web.login", next=wanted or None), 303)
    return _page(user, wanted) if request.method == "GET" else _code(user, wanted)


def _code(user: User, wanted: str) -> AnyResponse:
    try:
        user = sign_in.second_step(portal(), session[_PASSED], request.form.get("code", ""), place().address)
    except (Unauthenticated, TooManyRequests) as problem:
        answer = _page(user, wanted, _told(problem))
        answer.status_code = problem.status
        answer.headers.update(problem.headers)
        return answer
    begin_session(user, sessions.Source(*session.get(_SOURCE, ())))
    return redirect(wanted or url_for("web.home"), 303)


def _told(problem: Problem) -> str:
    if isinstance(problem, TooManyRequests):
        return _("Too many wrong codes. Wait a minute, then try again.")
    return _(otp.WRONG) if isinstance(problem, otp.OtpWrong) else problem.detail


def _page(user: User, wanted: str, error: str = "") -> Response:
    return make_response(render_template("auth/code.html", username=user.name, error=error, next_url=wanted))
