"""Live logs, measurements, consoles and ports over a plain WebSocket, for clients that do not speak Socket.IO.

    GET /api/v1/instances/{id}/logs/stream?tail=100       {"lines": [[time, stream, source, level, text], ...], "dropped": 0}
    GET /api/v1/instances/{id}/metrics/stream             {"instance_id": ..., "at": ..., "cpu_percent": ..., ...}
    GET /api/v1/instances/{id}/console?columns=80&rows=24 a shell: binary messages are what is typed and shown; the caller may
                                                          send {"columns": n, "rows": m}; at the end: {"code": n, "reason": ""}
                                                          with ?ticket= of POST to the same address, no header is needed
    GET /api/v1/instances/{id}/connect/{port}             one TCP connection to a port of the claw, as binary messages both ways

Each message is one JSON object. `{"problem": "..."}` says why the stream ends; a ping comes every 25 seconds. Browsers send their
session's cookie and must come from the portal's own pages; others send `Authorization: Bearer ...`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from flask import Flask, Response, g, request
from simple_websocket import ConnectionClosed, Server

from clawportal.bounded import parse_json
from clawportal.contracts.core_permissions import INSTANCE_CONNECT, INSTANCE_CONSOLE, INSTANCE_LOGS, INSTANCE_READ
from clawportal.db import db
from clawportal.engine.live_samples import Usage
from clawportal.engine.portal import Portal
from clawportal.errors import BadRequest, Forbidden, Problem, Unavailable
from clawportal.http import security, streams
from clawportal.http.front import own_origin
from clawportal.http.security import requires
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.realtime.console import size
from clawportal.realtime.metrics import sample
from clawportal.services.live import consoles, logs
from clawportal.services.rights import access

PING_SECONDS = 25
MAX_INPUT = 64 * 1024
MAX_PIECE = 64 * 1024
RECHECK_SECONDS = 20.0


def init_app(app: Flask) -> None:
    base = "/api/v1/instances/<instance_id>"
    views: dict[str, Any] = {
        "logs/stream": log_stream, "metrics/stream": metric_stream, "console": console_stream, "connect/<port>": connect_stream,
    }  # fmt: skip
    for path, view in views.items():
        name = f"stream.{path.partition('/')[0]}"
        app.add_url_rule(f"{base}/{path}", name, view, websocket=True, methods=["GET"])
        # without an upgrade the same address answers in words why not
        app.add_url_rule(f"{base}/{path}", name, view, methods=["GET"])


@requires(INSTANCE_LOGS)
def log_stream(instance_id: str) -> Response:
    portal = security.portal()
    tail, since = _tail(), logs.parse_since(request.args.get("since", ""))
    subscription = logs.watch(portal, security.actor(), instance_id, tail=tail, since=since)

    def messages(send: Callable[[Any], None]) -> None:
        if subscription.wait(1.0):
            batch = subscription.take()
            if batch.lines or batch.dropped:
                send({"lines": [line.row() for line in batch.lines], "dropped": batch.dropped})

    try:
        return _serve(portal, messages, lambda: logs.still_allowed(security.actor(), instance_id))
    finally:
        subscription.close()


@requires(INSTANCE_READ)
def metric_stream(instance_id: str) -> Response:
    portal = security.portal()

    def allowed() -> None:
        access.get_or_404(Instance, instance_id, security.actor(), INSTANCE_READ)

    allowed()
    news: queue.Queue[Usage] = queue.Queue(16)

    def sampled(usages: Mapping[str, Usage]) -> None:
        if instance_id in usages and not news.full():
            news.put_nowait(usages[instance_id])

    def messages(send: Callable[[Any], None]) -> None:
        try:
            send(sample(instance_id, news.get(timeout=1.0)))
        except queue.Empty:
            return

    latest = portal.samples.get(instance_id)
    if latest is not None:
        news.put_nowait(latest)
    portal.samples.listeners.append(sampled)
    try:
        return _serve(portal, messages, allowed)
    finally:
        portal.samples.listeners.remove(sampled)


def _by_ticket(view: Callable[[str], Response]) -> Callable[[str], Response]:
    """Whoever brings a ticket is who it was given to, whatever else they send."""

    @functools.wraps(view)
    def told(instance_id: str) -> Response:
        if "ticket" in request.args:
            _ready()
            security.use_ticket(instance_id, request.args["ticket"])
        return view(instance_id)

    return told


@_by_ticket
@requires(INSTANCE_CONSOLE)
def console_stream(instance_id: str) -> Response:
    portal, actor = security.portal(), security.actor()
    _ready()
    columns, rows = size({name: _whole(name) for name in ("columns", "rows") if name in request.args})
    console = consoles.open_console(portal, actor, instance_id, columns, rows)
    server = _accept(MAX_INPUT)
    if server is None:
        portal.consoles.close(console)
        return _Over()

    def output(data: bytes) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            server.send(data)

    def ended(code: int | None, reason: str) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            server.send(json.dumps({"code": code, "reason": reason}, ensure_ascii=False))
            server.close()

    output(console.attach(output, ended))
    watch = _Watch(lambda: consoles.still_allowed(security.actor(), console))
    try:
        while server.connected and not portal.stopping.is_set():
            message = server.receive(timeout=1.0)
            if isinstance(message, bytes):
                console.type(message)
            elif message:
                console.resize(*size(_json(message)))
            problem = watch.problem()
            if problem is not None:
                portal.consoles.close(console, problem.detail)
    except (ConnectionClosed, OSError, Problem):
        pass
    portal.consoles.close(console)  # a terminal program that is gone does not come back for its shell
    return _Over()


@requires(INSTANCE_CONNECT)
def connect_stream(instance_id: str, port: str) -> Response:
    portal = security.portal()
    _ready()
    address = consoles.port(portal, security.actor(), instance_id, port)
    try:
        line = socket.create_connection(address, timeout=10)
    except OSError as error:
        raise Unavailable(_m("The claw does not answer on its port %(port)s: %(error)s", port=port, error=error)) from error
    server = _accept(MAX_PIECE)
    if server is None:
        line.close()
        return _Over()
    line.settimeout(None)
    threading.Thread(target=_pass_on, args=(line, server), name="connect", daemon=True).start()
    watch = _Watch(lambda: consoles.port_allowed(security.actor(), instance_id))
    try:
        while server.connected and not portal.stopping.is_set() and watch.problem() is None:
            message = server.receive(timeout=1.0)
            if isinstance(message, bytes):
                line.sendall(message)
            elif message == "":
                line.shutdown(socket.SHUT_WR)
    except (ConnectionClosed, OSError):
        pass
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
    with contextlib.suppress(ConnectionClosed, OSError):
        server.close()
    return _Over()


def _pass_on(line: socket.socket, server: Server) -> None:
    """From the claw to the caller, until one of them ends."""
    with contextlib.suppress(ConnectionClosed, OSError):
        while piece := line.recv(MAX_PIECE):
            server.send(piece)
        server.close()


class _Watch:
    """Asks at intervals whether what was allowed still is."""

    def __init__(self, allowed: Callable[[], None]) -> None:
        self._allowed = allowed
        self._checked = time.monotonic()

    def problem(self) -> Problem | None:
        if time.monotonic() - self._checked < RECHECK_SECONDS:
            return None
        self._checked = time.monotonic()
        return _refused(self._allowed)


def _whole(name: str) -> int:
    text = request.args.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise BadRequest(_m("%(name)s must be a whole number.", name=name))
    return int(text)


def _json(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return {}


def _tail() -> int:
    text = request.args.get("tail", "100")
    if not text.isascii() or not text.isdigit() or int(text[:9]) > logs.MAX_TAIL:
        raise BadRequest(_m("tail must be a whole number from 0 to %(MAX_TAIL)s.", MAX_TAIL=f"{logs.MAX_TAIL:,}"))
    return int(text)


def _serve(portal: Portal, messages: Callable[[Callable[[Any], None]], None], allowed: Callable[[], None]) -> Response:
    """Pass messages on until the caller goes, the portal ends, or what was allowed no longer is."""
    _ready()
    server = _accept(1024)
    if server is None:
        return _Over()
    watch = _Watch(allowed)
    try:
        while server.connected and not portal.stopping.is_set():
            messages(lambda told: server.send(json.dumps(told, ensure_ascii=False, default=str)))
            problem = watch.problem()
            if problem is not None:
                server.send(json.dumps({"problem": problem.detail}, ensure_ascii=False))
                break
        server.close()
    except (ConnectionClosed, OSError):
        pass
    return _Over()


def _ready() -> None:
    """Refuse what cannot become a stream, while there still can be an answer."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise BadRequest(_m("This address speaks WebSocket only."))
    origin = request.headers.get("Origin", "")
    if origin and not own_origin(origin, request.environ, security.portal().settings.public_url):
        raise Forbidden(_m("A page of another site may not open this stream."))


def _accept(longest: int) -> Server | None:
    """The WebSocket; None when the caller is gone already."""
    db.session.rollback()
    try:
        return Server.accept(request.environ, ping_interval=PING_SECONDS, max_message_size=longest)
    except ConnectionClosed:
        return None


def _refused(allowed: Callable[[], None]) -> Problem | None:
    """Rights are asked for anew: they may be gone."""
    g.pop("actor", None)
    g.pop("_login_user", None)
    try:
        allowed()
    except Problem as problem:
        return problem
    finally:
        db.session.rollback()
    return None


class _Over(Response):
    """The connection is spent: the server is told so in the way that it understands, and sends nothing more."""

    def __call__(self, environ: Any, start_response: Any) -> NoReturn:
        raise streams.over(environ)
