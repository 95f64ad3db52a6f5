"""Asks again whether those who have something open at the page of a claw may still have it, and ends what they may not.

Only rights are asked for, never the place of the claw: one that hangs holds nobody up, and what works goes on while it is away.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from clawportal_apps.names import App
from clawportal_apps.pump import Pump

AGAIN_SECONDS = 20.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What somebody showed at the door."""

    app: App
    cookie: str
    address: str
    agent: str

    @property
    def environ(self) -> dict[str, Any]:
        return {"REMOTE_ADDR": self.address, "HTTP_USER_AGENT": self.agent}


def shown_by(environ: dict[str, Any], app: App, cookie: str) -> Shown:
    return Shown(app, cookie, environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))


@dataclass(eq=False)
class Request:
    """One that a thread works on; it may last, with an answer or an upload of any length."""

    shown: Shown
    line: socket.socket | None = None
    """To the claw, once there is one."""

    def end(self) -> None:
        with suppress(OSError):  # closed meanwhile
            if self.line is not None:
                self.line.shutdown(socket.SHUT_RDWR)


class Watch:
    """Of all that lasts: the pump's streams, and requests from `begin` to `over`. Its thread begins with the first one."""

    def __init__(self, pump: Pump, may: Callable[[Shown], bool], stopping: threading.Event) -> None:
        self._pump, self._may, self._stopping = pump, may, stopping
        self._requests: set[Request] = set()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self, shown: Shown) -> Request:
        made = Request(shown)
        with self._lock:
            self._requests.add(made)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="apps-watch", daemon=True)
                self._thread.start()
        return made

    def over(self, request: Request) -> None:
        """A stream that it became is in the pump by now: there is no moment at which nobody knows it."""
        with self._lock:
            self._requests.discard(request)

    def look(self) -> None:
        """Once."""
        with self._lock:
            requests = list(self._requests)
        for shown in {request.shown for request in requests} | self._pump.keys():
            if not self._may_still(shown):
                self._pump.end([shown])
                for request in requests:
                    if request.shown == shown:
                        request.end()

    def _may_still(self, shown: Shown) -> bool:
        try:
            return self._may(shown)
        except Exception:  # the database may be away for a moment; who was let in stays
            log.warning("whether what is open at a claw's page may go on could not be asked", exc_info=True)
            return True

    def _run(self) -> None:
        while not self._stopping.wait(AGAIN_SECONDS):
            try:
                self.look()
            except Exception:  # there is no other thread
                log.exception("what is open at claws' pages was not looked at")
