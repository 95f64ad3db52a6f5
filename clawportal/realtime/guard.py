"""Keeps websockets within their caps: above them a browser is told to come back later, and pages go on being served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask

from clawportal.contracts.permissions import Actor
from clawportal.errors import Problem
from clawportal.http import security
from clawportal.http.streams import Place, Viewers, connection_of, drop_when_stalled, tell_it_lasts

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PLACE = "clawportal.place"
"""Where in a websocket's environ its place is, for whoever learns later who is there."""


class Guard:
    """WSGI middleware around everything. A websocket lasts as long as the call, so counting calls counts websockets."""

    def __init__(self, app: Flask, inner: WSGIApplication, counted: Viewers, opened: Callable[[], None]) -> None:
        self._app, self._inner, self._counted, self._opened = app, inner, counted, opened

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            return self._inner(environ, start_response)
        try:
            place = self._enter(environ)
        except Problem as problem:
            return _refuse(start_response, problem)
        try:
            return self._opened_at(place, environ, start_response)
        finally:
            self._counted.leave(place)

    def _enter(self, environ: WSGIEnvironment) -> Place:
        return self._counted.enter(environ.get("REMOTE_ADDR", ""), self._who(environ), connection_of(environ))

    def _who(self, environ: WSGIEnvironment) -> Actor | None:
        """As far as cookie or header say so; a token may still come with the first message."""
        with self._app.request_context(environ):
            return security.current_actor()

    def _opened_at(self, place: Place, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[PLACE] = place
        drop_when_stalled(environ)
        tell_it_lasts(environ, forever=True)
        self._opened()
        return self._inner(environ, start_response)


def _refuse(start_response: Any, problem: Problem) -> Iterable[bytes]:
    body = f"{problem.detail}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), ("Connection", "close")]
    start_response(f"{problem.status} {HTTPStatus(problem.status).phrase}", [*headers, *problem.headers.items()])
    return [body]
