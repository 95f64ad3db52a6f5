"""Problems as answers: a page, an htmx fragment, or `application/problem+json`, from one handler."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, g, jsonify, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from clawportal.errors import GiveUp, Problem, Retry, TotpRequired, Unauthenticated
from clawportal.http import site

log = logging.getLogger(__name__)

TYPE_BASE = "urn:clawportal:problem:"
_PAGES = (403, 404, 500)
"""Problems that have a page of their own."""


def init_app(app: Flask) -> None:
    app.register_error_handler(Problem, _problem)
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
    return document


def wants_json() -> bool:
    best = request.accept_mimetypes.best_match(["text/html", "application/json", "application/problem+json"], "text/html")
    return request.path.startswith("/api/") or best != "text/html"


def _problem(problem: Problem) -> Response:
    g.problem = problem  # for the audit, which tells refused attempts
    if wants_json():
        answer = jsonify(as_document(problem))
        answer.content_type = "application/problem+json"
    elif isinstance(problem, Unauthenticated):
        return _to_login()
    elif isinstance(problem, TotpRequired):
        return _to_second_factor()
    elif request.headers.get("HX-Request"):
        answer = make_response(render_template("errors/_problem.html", problem=problem, request_id=g.get("request_id", "")))
    else:
        page = f"errors/{problem.status if problem.status in _PAGES else 'problem'}.html"
        answer = make_response(render_template(page, problem=problem, request_id=g.get("request_id", "")))
    answer.status_code = problem.status
    answer.headers.update(problem.headers)
    return answer


def _to_login() -> Response:
    if not request.headers.get("HX-Request"):
        return make_response(redirect(url_for("web.login", next=site.here() if request.method == "GET" else None)))
    answer = make_response("", 200)
    shown = urlsplit(request.headers.get("HX-Current-URL", ""))  # the page that asks for this part of it
    back = shown.path + (f"?{shown.query}" if shown.query else "") if shown.netloc == request.host else None
    answer.headers["HX-Redirect"] = url_for("web.login", next=back)
    return answer


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
    if error.code == 404:
        problem.title, problem.detail = "There is no such page", "The address is wrong, or what was here is gone."
    if error.code and 300 <= error.code < 400:
        return make_response(error.get_response())
    if isinstance(error, MethodNotAllowed):
        problem.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))  # RFC 9110 wants it
    return _problem(problem)


def _csrf(error: CSRFError) -> Response:
    problem = Problem("This page was open for too long or came from elsewhere. Reload it and try again.")
    problem.status, problem.title, problem.code = 400, "Please reload the page", "csrf"
    return _problem(problem)


def _background(error: Retry | GiveUp) -> Response:
    problem = Problem(str(error))
    problem.status, problem.title, problem.code = 503, "This does not answer right now", "unavailable"
    return _problem(problem)


def _unexpected(error: Exception) -> Response:
    log.exception("request %s %s failed", request.method, request.path)
    problem = Problem(f"This is the portal's fault. Its log has the details under request {g.get('request_id', '')}.")
    problem.code = "internal_error"
    return _problem(problem)
