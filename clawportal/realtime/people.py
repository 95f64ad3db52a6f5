"""Who is connected: every handler goes through here, says which permission it needs, and is told who asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from flask import Flask, request
from flask_socketio import ConnectionRefusedError, SocketIO

from clawportal.contracts.permissions import Actor, Permission
from clawportal.engine.portal import Portal
from clawportal.errors import Forbidden, GiveUp, Problem, Retry, Unauthenticated
from clawportal.http import i18n, inside, security, streams
from clawportal.messages import _m
from clawportal.realtime.guard import PLACE
from clawportal.services.identity import clients, identity, sessions

log = logging.getLogger(__name__)

UNAUTHENTICATED = "unauthenticated"
"""What a refused browser is told; its script gives up on this word and sends the person to sign in."""

BUSY = "busy"
"""Told to whoever has too many connections; clients come back later."""


@dataclass(frozen=True)
class Identity:
    """By what somebody was recognised; asked again, it gives the rights of now. The text of a token is kept only in memory."""

    kind: str
    session_id: str = ""
    token: str = field(default="", repr=False)
    address: str = ""
    tenant_id: str | None = None
    """The tenant that the browser was in when it connected. Whoever goes elsewhere loads a page, which connects anew."""

    def actor(self, portal: Portal) -> Actor | None:
        if self.kind == "session":
            found = sessions.actor_from(portal, self.session_id, sessions.BROWSER)
            return (inside.applied(found, self.tenant_id) or found) if found and self.tenant_id else found
        if self.token.startswith(identity.TOKEN_PREFIX):
            return identity.actor_from_token(portal, self.token, self.address)
        client = clients.actor_from_access(portal, self.token)
        return client.actor if client else None


@dataclass
class Viewer:
    """One connection to one namespace."""

    sid: str
    eio_sid: str
    namespace: str
    identity: Identity
    since: float = field(default_factory=time.monotonic)


class Part(Protocol):
    """What a namespace does with those who are connected to it."""

    def seen(self, viewer: Viewer, actor: Actor) -> None:
        """Somebody came, or was found to have these rights now."""

    def gone(self, viewer: Viewer) -> None: ...


class People:
    """The connected, by their connection, and the one way to add a handler."""

    def __init__(self, app: Flask, socketio: SocketIO, portal: Portal) -> None:
        self.app, self.socketio, self.portal = app, socketio, portal
        self.handlers: dict[tuple[str, str], Permission] = {}
        """What each handler needs; a test walks it."""
        self._viewers: dict[tuple[str, str], Viewer] = {}
        self._lock = threading.Lock()
        self._parts: dict[str, Part] = {}

    # ---- handlers

    def namespace(self, name: str, part: Part, permission: Permission) -> None:
        """A namespace that whoever has `permission` somewhere may connect to."""
        self._parts[name] = part
        self.handlers[name, "connect"] = self.handlers[name, "disconnect"] = permission
        self.socketio.on_event("connect", lambda auth=None: self._connect(name, auth, permission), namespace=name)
        self.socketio.on_event("disconnect", lambda reason=None: self._disconnect(name), namespace=name)

    def on(self, namespace: str, event: str, permission: Permission, handler: Callable[[Viewer, Actor, Any], None]) -> None:
        """`handler(viewer, actor, data)` for an event of those who have `permission` somewhere."""
        self.handlers[namespace, event] = permission

        def guarded(data: Any = None, *_more: Any) -> None:
            viewer = self._viewers.get((namespace, _sid()))
            if viewer is None:
                return
            try:
                handler(viewer, self._actor(viewer, permission), data)
            except Unauthenticated as problem:
                self.refuse(viewer, problem.detail)
            except Exception as error:
                self.tell(viewer, words(error))

        self.socketio.on_event(event, guarded, namespace=namespace)

    def _actor(self, viewer: Viewer, permission: Permission) -> Actor:
        actor = viewer.identity.actor(self.portal)
        if actor is None:
            raise Unauthenticated(_m("Your session has ended. Sign in again."))
        if not actor.has(permission):
            raise Forbidden(_m("You lack the right “%(description)s”. Ask an administrator.", description=permission.description))
        return actor

    # ---- coming and going

    def _connect(self, namespace: str, auth: Any, permission: Permission) -> None:
        found = _identity(auth)
        actor = found.actor(self.portal) if found else None
        if found is None or actor is None:
            raise ConnectionRefusedError(UNAUTHENTICATED)
        if not actor.has(permission):
            raise ConnectionRefusedError("forbidden")
        if self.portal.stopping.is_set():
            raise ConnectionRefusedError("stopping")
        self._count(actor)
        sid = _sid()
        viewer = Viewer(sid, self.socketio.server.manager.eio_sid_from_sid(sid, namespace), namespace, found)
        with self._lock:
            self._viewers[namespace, sid] = viewer
        self._parts[namespace].seen(viewer, actor)

    def _count(self, actor: Actor) -> None:
        """Its place was counted for nobody, where neither cookie nor header said who comes."""
        place = request.environ.get(PLACE)
        if place is None:
            return
        try:
            streams.viewers().identify(place, actor)
        except Problem as problem:
            raise ConnectionRefusedError(BUSY, {"detail": problem.detail, "retry_after": streams.RETRY_AFTER}) from problem

    def _disconnect(self, namespace: str) -> None:
        with self._lock:
            viewer = self._viewers.pop((namespace, _sid()), None)
        if viewer is not None:
            self._parts[namespace].gone(viewer)

    def viewers(self) -> list[Viewer]:
        with self._lock:
            return list(self._viewers.values())

    def needed(self, viewer: Viewer) -> Permission:
        """What being connected to its namespace needs."""
        return self.handlers[viewer.namespace, "connect"]

    def here(self, viewer: Viewer) -> bool:
        return (viewer.namespace, viewer.sid) in self._viewers

    def part_of(self, viewer: Viewer) -> Part:
        return self._parts[viewer.namespace]

    # ---- telling

    def tell(self, viewer: Viewer, detail: str, **more: str) -> None:
        self.socketio.server.emit(
            "problem", {"detail": i18n.translate(detail), **more}, to=viewer.sid, namespace=viewer.namespace
        )

    def refuse(self, viewer: Viewer, detail: str) -> None:
        """Say why and end the connection; the browser comes back and is judged anew."""
        self.tell(viewer, detail)
        self.socketio.server.disconnect(viewer.sid, namespace=viewer.namespace)

    def backlog(self, viewer: Viewer) -> int:
        """How many messages wait for a browser to take them."""
        connection = self.socketio.server.eio.sockets.get(viewer.eio_sid)
        return connection.queue.qsize() if connection is not None else 0


def words(error: Exception) -> str:
    """What a person is told; the unexpected goes to the log, without its text to the browser."""
    if isinstance(error, Problem):
        return error.detail
    if isinstance(error, Retry | GiveUp):
        return str(error)
    log.error("a socket handler failed", exc_info=error)
    return _m("This is the portal's fault. Its log has the details.")


def _sid() -> str:
    return cast(str, request.sid)  # type: ignore[attr-defined]  # Flask-SocketIO puts it there


def _identity(auth: Any) -> Identity | None:
    """A token outranks the session: it was sent on purpose."""
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        token = text.strip() if scheme.lower() == "bearer" else None
    if token is not None:
        return Identity("token", token=token, address=request.remote_addr or "") if isinstance(token, str) else None
    session_id = security.browser_session()
    return Identity("session", session_id, tenant_id=inside.chosen()) if session_id else None
