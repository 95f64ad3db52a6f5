"""Who is at the door of a page: asked anew every few seconds, so that a page of a hundred files is not asked a hundred times."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask

from clawportal.sdk import _m
from clawportal.sdk.data import now
from clawportal.sdk.errors import Forbidden, NotFound, TooManyRequests, Unauthenticated
from clawportal.sdk.fleet import Portal
from clawportal.sdk.hosts import Place, asked_from
from clawportal_apps import proofs, services
from clawportal_apps.names import App
from clawportal_apps.proofs import Pass
from clawportal_apps.services import Admitted
from clawportal_apps.watch import Shown

KNOWN_SECONDS = 5.0
"""So long an answer is believed; what was taken back ends with it."""
_MOST = 2000
_WAIT_SECONDS = 15.0
"""A request waits so long for others of the same person."""


class Gate:
    """Of one portal process."""

    def __init__(self, app: Flask, at_once: int) -> None:
        self._app, self._at_once = app, at_once
        self._known: OrderedDict[tuple[str, str, App], tuple[float, Admitted | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._working: Counter[str] = Counter()
        self._free = threading.Condition()

    def admitted(self, environ: dict[str, Any], app: App, cookie: str) -> Admitted:
        """Who comes with this cookie, and the way to the claw; a Problem where they may not."""
        key = (cookie, environ.get("REMOTE_ADDR", ""), app)
        with self._lock:
            until, admitted = self._known.pop(key, (0.0, None))
            if admitted is not None and until > time.monotonic():
                self._known[key] = until, admitted
                return admitted
        until = time.monotonic() + KNOWN_SECONDS  # from when it is asked: the place may take a while
        admitted = self._asked(environ, app, cookie)
        with self._lock:
            self._known[key] = until, admitted
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return admitted

    def check(self, shown: Shown) -> None:
        """A Problem where whoever came with this may not be there now; the claw and its place are not asked."""
        with asked_from(self._app, shown.environ) as portal:
            services.allowed(portal, _given(portal, shown.app, shown.cookie), place_of(shown.environ))

    def may(self, shown: Shown) -> bool:
        """Whether rights still say so."""
        try:
            self.check(shown)
        except (Unauthenticated, Forbidden, NotFound):
            return False
        return True

    def _asked(self, environ: dict[str, Any], app: App, cookie: str) -> Admitted:
        with asked_from(self._app, environ) as portal:
            return services.admit(portal, _given(portal, app, cookie), place_of(environ))

    def forget(self, app: App) -> None:
        """The way to this claw is another one now, or there is none."""
        with self._lock:
            for key in [key for key in self._known if key[2] == app]:
                del self._known[key]

    def full(self, person: str) -> bool:
        """All who come by one link are one, and have a quarter: what lasts of it is in the name of its maker."""
        most = max(self._at_once // 4, 2) if person.startswith(services.LINK) else self._at_once
        return self._working.get(person, 0) >= most

    @contextmanager
    def turn(self, person: str) -> Iterator[None]:
        """One of the few requests of a person that are worked on at a time."""
        with self._free:
            if not self._free.wait_for(lambda: not self.full(person), _WAIT_SECONDS):
                words = _m("Too many requests for pages of claws wait. Try again in a moment.")
                raise TooManyRequests(words, headers={"Retry-After": "5"})
            self._working[person] += 1
        try:
            yield
        finally:
            with self._free:
                self._working[person] -= 1
                if not self._working[person]:
                    del self._working[person]
                self._free.notify_all()


def _given(portal: Portal, app: App, cookie: str) -> Pass:
    given = proofs.read_cookie(portal, cookie) if cookie else None
    if given is None or given.app != app or given.until < now():
        raise Unauthenticated(_m("Open this page from the portal."))
    return given


def place_of(environ: dict[str, Any]) -> Place:
    return Place(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))
