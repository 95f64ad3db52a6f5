"""Answers that last: each open websocket or event stream holds a thread, so there is a cap, and dead callers are noticed."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

from flask import Flask, Response, current_app, request

from clawportal.errors import Unavailable

RETRY_AFTER = 15
STALLED_AFTER_MS = 30_000
"""A caller that takes nothing for so long is gone: its thread is needed by others."""


class Viewers:
    """Counts what lasts, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        with self._lock:
            if self.count >= self.limit:
                return False
            self.count += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self.count -= 1


def init_app(app: Flask, limit: int) -> Viewers:
    found = app.extensions["clawportal_viewers"] = Viewers(limit)
    return found


def viewers() -> Viewers:
    return cast(Viewers, current_app.extensions["clawportal_viewers"])


def lasting(begin: Callable[[], tuple[Response, Callable[[], None]]]) -> Response:
    """An answer that takes a place until it ends. `begin` makes it and says what to call when the caller has gone.

    Unavailable when all places are taken. Servers close an answer whether or not they began to send it, so nothing leaks.
    """
    leave = counted()
    try:
        answer, end = begin()
    except BaseException:
        leave()
        raise
    answer.call_on_close(end)
    answer.call_on_close(leave)
    drop_when_stalled(request.environ)
    return answer


def counted() -> Callable[[], None]:
    """A place for a request that lasts, such as an upload; call what is returned at its end. Unavailable when all are taken."""
    found = viewers()
    if not found.enter():
        raise Unavailable(
            "Too many live pages are open at the moment. Try again in a moment, or close some.",
            headers={"Retry-After": str(RETRY_AFTER)},
        )
    return found.leave


def drop_when_stalled(environ: Mapping[str, Any]) -> None:
    """Let the kernel end a connection whose other side takes nothing: a blocked send would hold its thread for many minutes."""
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if isinstance(connection, socket.socket) and option is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, STALLED_AFTER_MS)
