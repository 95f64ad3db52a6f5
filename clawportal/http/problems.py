"""Problems as answers: a page, an htmx fragment, or `application/problem+json`, from one handler."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, cast

from flask import Flask, Response, current_app, g, jsonify, make_response, redirect, render_template, request, session, url_for
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from clawportal.bounded import size_in_words
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Problem, Retry, TotpRequired, Unauthenticated
from clawportal.http import i18n, site
from clawportal.messages import _m
from clawportal.services.system import disk_guard

log = logging.getLogger(__name__)

TYPE_BASE = "urn:clawportal:problem:"
_PAGES = (403, 404, 500)
"""Problems that have a page of their own."""


_SAID = {
    400: (_m("This request cannot be read"), _m("A part of it is missing or broken. Go back, reload the page and try again.")),
    404: (_m("There is no such page"), _m("The address is wrong, or what was here is gone.")),
    405: (_m("This cannot be done here"), _m("The address is right, but it takes other kinds of requests only.")),
    406: (_m("There is no such form of this"), _m("Ask for HTML or JSON.")),
    408: (_m("This took too long"), _m("The request did not arrive in time. Try again.")),
    413: (_m("This is too large"), _m("The portal takes less than that at a time. Send it in smaller parts.")),
    414: (_m("This address is too long"), _m("Shorten what is searched for, and try again.")),
    415: (_m("This kind of content is not taken here"), _m("Send JSON, or what the form of the page sends.")),
    416: (_m("There is no such part of this"), _m("Ask for a part that lies inside of it.")),
}  # fmt: skip
"""What HTTP itself says no to, in words of people instead of those of the framework."""


def init_app(app: Flask) -> None:
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(Retry, _background)
    app.register_error_handler(GiveUp, _background)
    app.register_error_handler(Exception, _unexpected)


def as_document(problem: Problem) -> dict[str, Any]:
    """RFC 9457."""
    document: dict[str, Any] = {
        "type": TYPE_BASE + problem.code.replace("_", "-"),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
    }
    document.update(problem.extra)
    if problem.errors:
        document["errors"] = [{"path": item.path, "message": item.message, "code": item.code} for item in problem.errors]
    return cast("dict[str, Any]", i18n.localised(document))


def wants_json() -> bool:
    """Programs do: whoever asks for an operation, also one outside of /api, or does not prefer a page."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json", "application/problem+json"], "text/html")
    return request.path.startswith("/api/") or request.blueprint == "api" or best != "text/html"


def answer(problem: Problem) -> Response:
    """The answer that fits who asks: a page, a part of one, or JSON."""
    g.problem = problem  # for the audit, which tells refused attempts
    if wants_json():
        made = jsonify(as_document(problem))
        made.content_type = "application/problem+json"
        made.vary.add("Accept-Language")
    elif isinstance(problem, Unauthenticated):
        return _to_login()
    elif isinstance(problem, TotpRequired):
        return _to_second_factor()
    elif request.headers.get("HX-Request"):
        made = make_response(render_template("errors/_problem.html", problem=problem, request_id=g.get("request_id", "")))
    else:
        page = f"errors/{problem.status if problem.status in _PAGES else 'problem'}.html"
        made = make_response(render_template(page, problem=problem, request_id=g.get("request_id", "")))
    made.status_code = problem.status
    made.headers.update(problem.headers)
    return made


def _to_login() -> Response:
    """To the sign-in, and from there back to the page that was open. `ended`: there was a session once."""
    ended = "1" if session.get("_user_id") else None
    if request.headers.get("HX-Request"):
        answer = make_response("", 200)
        answer.headers["HX-Redirect"] = url_for(
            "web.login", next=site.path_here(request.headers.get("HX-Current-URL", "")), ended=ended
        )
        return answer
    wanted = site.here() if request.method == "GET" else site.path_here(request.referrer or "")
    return make_response(redirect(url_for("web.login", next=wanted, ended=ended)))


def _to_second_factor() -> Response:
    """A page that explains what is asked for, and leads on to it."""
    wanted = url_for("web.otp_required")
    if not request.headers.get("HX-Request"):
        return make_response(redirect(wanted, 303))
    answer = make_response("", 200)
    answer.headers["HX-Redirect"] = wanted
    return answer


def _http(error: HTTPException) -> Response:
    problem = Problem(error.description or error.name)
    problem.status, problem.title, problem.code = error.code or 500, error.name, error.name.lower().replace(" ", "_")
    if error.code in _SAID:
        problem.title, problem.detail = _SAID[error.code]
    if isinstance(error, RequestEntityTooLarge):
        problem.detail = _too_large()
    if error.code and 300 <= error.code < 400:
        return make_response(error.get_response())
    if isinstance(error, MethodNotAllowed):
        problem.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))  # RFC 9110 wants it
    return answer(problem)


def _too_large() -> str:
    most, sent = request.max_content_length, request.content_length
    if most is not None and (sent is None or sent > most):
        if not sent:
            return _m("%(most)s can be sent at most here.", most=size_in_words(most))
        return _m("%(most)s can be sent at most here; this was %(sent)s.", most=size_in_words(most), sent=size_in_words(sent))
    return _m("One field may have %(most)s at most.", most=size_in_words(request.max_form_memory_size or 0))


def _csrf(error: CSRFError) -> Response:
    problem = Problem(_m("This page was open for too long or came from elsewhere. Reload it and try again."))
    problem.status, problem.title, problem.code = 400, _m("Please reload the page"), "csrf"
    return answer(problem)


def _background(error: Retry | GiveUp) -> Response:
    problem = Problem(str(error))
    problem.status, problem.title, problem.code = 503, _m("This does not answer right now"), "unavailable"
    return answer(problem)


def _no_room(error: Exception) -> Response:
    """The portal gives up some of its reserve, so that the next try may pass."""
    log.error("request %s %s: no room: %s", request.method, request.path, error)
    with contextlib.suppress(Exception):  # the session may be in any state
        db.session.rollback()
    cast(Portal, current_app.extensions["clawportal"]).room.make_way()
    return answer(disk_guard.full())


def _unexpected(error: Exception) -> Response:
    if disk_guard.is_full(error):
        return _no_room(error)
    log.exception("request %s %s failed", request.method, request.path)
    problem = Problem(
        _m("This is the portal's fault. Its log has the details under request %(get)s.", get=g.get("request_id", ""))
    )
    problem.code = "internal_error"
    return answer(problem)
