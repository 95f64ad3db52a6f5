"""What the portal itself says at the host of a page: plain pages without anything of the portal's, and the way back to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, render_template

from clawportal.sdk.errors import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_STRICT = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def redirect(start_response: StartResponse, place: str, cookies: Sequence[str] = ()) -> Iterable[bytes]:
    headers = [("Location", place), ("Content-Length", "0"), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")]
    start_response("303 See Other", [*headers, *(("Set-Cookie", cookie) for cookie in cookies)])
    return []


def refusal(
    app: Flask, environ: dict[str, Any], start_response: StartResponse, problem: Problem, home: str = ""
) -> Iterable[bytes]:
    """A page for people, a line for programs. `home`: where whoever reads it goes on."""
    people = "text/html" in environ.get("HTTP_ACCEPT", "")
    text = _page(app, environ, problem, home) if people else f"{problem.detail}\n"
    body = text.encode()
    kind = "text/html" if people else "text/plain"
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
        ("Content-Security-Policy", _STRICT), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
    ]  # fmt: skip
    start_response(f"{problem.status} {HTTPStatus(problem.status).phrase}", [*headers, *problem.headers.items()])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def waiting(app: Flask, environ: dict[str, Any], start_response: StartResponse, then: str) -> Iterable[bytes]:
    """Stays in the window until what comes after it answers."""
    with app.request_context({**environ, "HTTP_COOKIE": "", "PATH_INFO": "/", "QUERY_STRING": ""}):
        body = render_template("apps/waiting.html", then=then).encode()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
        ("Content-Security-Policy", _STRICT), ("X-Content-Type-Options", "nosniff"),
    ]  # fmt: skip
    start_response("200 OK", headers)
    return [body]


def _page(app: Flask, environ: dict[str, Any], problem: Problem, home: str) -> str:
    with app.request_context({**environ, "HTTP_COOKIE": "", "PATH_INFO": "/", "QUERY_STRING": ""}):
        return render_template("apps/refused.html", problem=problem, home=home)
