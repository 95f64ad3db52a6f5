"""Socket.IO: the namespaces /changes (ids only), /logs, /metrics and /console, over websockets only.

A websocket costs a thread for as long as it is open, so there is a cap. Whoever connects says who he is, and is asked again at
each request and at intervals: what was taken back ends within a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

from flask import Flask
from flask_socketio import SocketIO

from clawportal.contracts.features import Feature
from clawportal.declarations import resolve
from clawportal.engine.portal import Portal
from clawportal.http import streams
from clawportal.http.front import own_origin
from clawportal.pluginmanager import Registry
from clawportal.realtime import plain
from clawportal.realtime.guard import Guard
from clawportal.realtime.people import People
from clawportal.realtime.recheck import Recheck

PATH = "socket.io"
PING_SECONDS, PING_TIMEOUT = 25, 20
MAX_MESSAGE = 16 * 1024
"""Bytes of one message from a browser; they only ask for things."""


def init_app(app: Flask) -> SocketIO:
    """Attach Socket.IO to the app."""
    portal = cast(Portal, app.extensions["clawportal"])
    counted = streams.init_app(app, portal.settings.max_viewers)
    own_page = _own_page(portal.settings.public_url)
    socketio = SocketIO(
        app, path=PATH, async_mode="threading", cors_allowed_origins=own_page, transports=["websocket"], allow_upgrades=False,
        manage_session=False, async_handlers=False, ping_interval=PING_SECONDS, ping_timeout=PING_TIMEOUT,
        max_http_buffer_size=MAX_MESSAGE, logger=_quiet("clawportal.socketio"), engineio_logger=_quiet("clawportal.engineio"),
    )  # fmt: skip
    people = People(app, socketio, portal)
    for init in collected(portal.registry):
        init(people)
    recheck = app.extensions["clawportal_recheck"] = Recheck(people)
    app.extensions["clawportal_people"] = people
    app.wsgi_app = Guard(app, app.wsgi_app, counted, recheck.start)  # type: ignore[method-assign]  # Flask's documented way
    plain.init_app(app)
    _join_hub(app, portal)
    return socketio


def collected(registry: Registry) -> list[Callable[[People], None]]:
    """What joins the sockets, of all features. A plugin that names what is not there is left out of the registry."""
    return registry.gather("sockets", _sockets, key=lambda init: init.__module__)


def _sockets(feature: Feature) -> Iterator[Callable[[People], None]]:
    return (resolve(f"{name}:init_sockets") for name in feature.sockets)


def _own_page(public_url: str) -> Callable[[str, dict[str, Any]], bool]:
    """Which pages may open a websocket: those of this portal, by the address that the request or the settings give it."""

    def own(origin: str, environ: dict[str, Any]) -> bool:
        return own_origin(origin, environ, public_url)

    return own


def _quiet(name: str) -> logging.Logger:
    """Below warnings these libraries write whole messages, and with them what claws said."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.WARNING)
    return logger


def _join_hub(app: Flask, portal: Portal) -> None:
    portal.logs.context = portal.consoles.context = app.app_context
    portal.logs.stopping = portal.consoles.stopping = portal.stopping.is_set
