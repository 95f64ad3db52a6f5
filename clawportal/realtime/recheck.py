"""Asks again who is connected: a session that ended, a token that was revoked, a right that was taken away."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time

from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.messages import _m
from clawportal.realtime.people import Identity, People, Viewer

log = logging.getLogger(__name__)

EVERY_SECONDS = 20.0
ENDED = _m("Your session has ended. Sign in again.")


class Recheck:
    """One thread for all connections; each person is looked up once a round, however many pages he has open."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._silent: set[str] = set()

    def start(self) -> None:
        """With the first websocket; can be called with each."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recheck", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        due = time.monotonic() + EVERY_SECONDS
        while not self.people.portal.stopping.wait(1.0):
            try:
                self.show_out_silent()
                if time.monotonic() >= due:
                    due = time.monotonic() + EVERY_SECONDS
                    self.once()
            except Exception:
                log.exception("the connected could not be checked")
        self.close_all()

    def show_out_silent(self) -> None:
        """Whoever opened a websocket and did not say who he is. The thread that reads it notices, and gives its place back."""
        for place in self.people.app.extensions["clawportal_viewers"].silent():
            if place.connection is not None:
                with contextlib.suppress(OSError):
                    place.connection.shutdown(socket.SHUT_RDWR)

    def once(self) -> None:
        known: dict[Identity, Actor | None] = {}
        with self.people.app.app_context():
            for viewer in self.people.viewers():
                try:
                    self._look(viewer, known)
                except Exception:
                    log.exception("a connection could not be checked")
                finally:
                    db.session.rollback()
        self._end_silent()

    def _look(self, viewer: Viewer, known: dict[Identity, Actor | None]) -> None:
        if viewer.identity not in known:
            known[viewer.identity] = viewer.identity.actor(self.people.portal)
        actor = known[viewer.identity]
        if actor is None or self._worn_out(viewer) or not actor.has(self.people.needed(viewer)):
            self.people.refuse(viewer, ENDED)
        else:
            self.people.part_of(viewer).seen(viewer, actor)

    def _worn_out(self, viewer: Viewer) -> bool:
        """A session cookie must be shown anew now and then, or an open page would outlive its session."""
        limit = self.people.portal.settings.session_hours * 3600
        return viewer.identity.kind == "session" and time.monotonic() - viewer.since > limit

    def _end_silent(self) -> None:
        """Whoever is in no namespace any more, though a cookie or header said who he is, must not keep others out."""
        used = {viewer.eio_sid for viewer in self.people.viewers()}
        sockets = self.people.socketio.server.eio.sockets
        silent = set(sockets.copy()) - used
        for eio_sid in silent & self._silent:
            self._close(eio_sid)
        self._silent = silent

    def close_all(self) -> None:
        """The portal stops: each open websocket would hold it up."""
        for eio_sid in self.people.socketio.server.eio.sockets.copy():
            self._close(eio_sid)

    def _close(self, eio_sid: str) -> None:
        connection = self.people.socketio.server.eio.sockets.get(eio_sid)
        if connection is not None:
            connection.close(wait=False)
