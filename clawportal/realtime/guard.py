"""Keeps websockets within their cap: above it a browser is told to come back later, and pages go on being served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from clawportal.http.streams import RETRY_AFTER, Viewers, drop_when_stalled

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_BODY = b"Too many live pages are open at the moment. Try again later.\n"


class Guard:
    """WSGI middleware around everything. A websocket lasts as long as the call, so counting calls counts websockets."""

    def __init__(self, app: WSGIApplication, counted: Viewers, opened: Callable[[], None]) -> None:
        self._app, self._counted, self._opened = app, counted, opened

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            return self._app(environ, start_response)
        if not self._counted.enter():
            return _refuse(start_response)
        try:
            drop_when_stalled(environ)
            self._opened()
            return self._app(environ, start_response)
        finally:
            self._counted.leave()


def _refuse(start_response: Any) -> Iterable[bytes]:
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY))), ("Retry-After", str(RETRY_AFTER)),
        ("Connection", "close"),
    ]  # fmt: skip
    start_response("503 Service Unavailable", headers)
    return [_BODY]
