"""Who is at the door of a page: asked anew every few seconds, so that a page of a hundred files is not asked a hundred times."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flask import Flask

from clawportal.sdk import _m
from clawportal.sdk.data import now
from clawportal.sdk.errors import TooManyRequests, Unauthenticated
from clawportal.sdk.hosts import Place, asked_from
from clawportal_apps import proofs, services
from clawportal_apps.names import App
from clawportal_apps.services import Admitted

KNOWN_SECONDS = 5.0
"""So long an answer is believed; what was taken back ends with it."""
_MOST = 2000
_WAIT_SECONDS = 15.0
"""A request waits so long for others of the same person."""


class Gate:
    """Of one portal process."""

    def __init__(self, app: Flask, at_once: int) -> None:
        self._app, self._at_once = app, at_once
        self._known: OrderedDict[tuple[str, str, App], tuple[float, Admitted]] = OrderedDict()
        self._working: Counter[str] = Counter()
        self._free = threading.Condition()

    def admitted(self, environ: dict[str, Any], app: App, cookie: str, *, anew: bool = False) -> Admitted:
        """Who comes with this cookie, and the way to the claw; a Problem where they may not."""
        key = (cookie, environ.get("REMOTE_ADDR", ""), app)
        found = self._known.get(key)
        if found is not None and found[0] > time.monotonic() and not anew:
            return found[1]
        self._known.pop(key, None)
        admitted = self._asked(environ, app, cookie)
        self._known[key] = (time.monotonic() + KNOWN_SECONDS, admitted)
        while len(self._known) > _MOST:
            with suppress(KeyError):  # another thread was first
                self._known.popitem(last=False)
        return admitted

    def _asked(self, environ: dict[str, Any], app: App, cookie: str) -> Admitted:
        with asked_from(self._app, environ) as portal:
            given = proofs.read_cookie(portal, cookie) if cookie else None
            if given is None or given.app != app or given.until < now():
                raise Unauthenticated(_m("Open this page from the portal."))
            return services.admit(portal, given, place_of(environ))

    def forget(self, app: App) -> None:
        """The way to this claw is another one now, or there is none."""
        for key in [key for key in list(self._known) if key[2] == app]:
            self._known.pop(key, None)

    @contextmanager
    def turn(self, person: str) -> Iterator[None]:
        """One of the few requests of a person that are worked on at a time."""
        with self._free:
            if not self._free.wait_for(lambda: self._working[person] < self._at_once, _WAIT_SECONDS):
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


def place_of(environ: dict[str, Any]) -> Place:
    return Place(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))
