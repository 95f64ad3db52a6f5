"""Live logs and measurements over a plain WebSocket, for clients that do not speak Socket.IO.

    GET /api/v1/instances/{id}/logs/stream?tail=100       {"lines": [[time, stream, source, level, text], ...], "dropped": 0}
    GET /api/v1/instances/{id}/metrics/stream             {"instance_id": ..., "at": ..., "cpu_percent": ..., ...}

Each message is one JSON object. `{"problem": "..."}` says why the stream ends; a ping comes every 25 seconds. Browsers send their
session's cookie and must come from the portal's own pages; others send `Authorization: Bearer ...`.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from simple_websocket import ConnectionClosed, Server

from clawportal.db import db
from clawportal.errors import BadRequest, Forbidden, Problem
from clawportal.http import security
from clawportal.http.security import requires
from clawportal.models import Instance
from clawportal.permissions import Permission
from clawportal.realtime.metrics import sample
from clawportal.services import access, logs
from clawportal.services.portal import Portal
from clawportal.services.samples import Usage

PING_SECONDS = 25
RECHECK_SECONDS = 20.0


def init_app(app: Flask) -> None:
    base = "/api/v1/instances/<instance_id>"
    app.add_url_rule(f"{base}/logs/stream", "stream.logs", log_stream, websocket=False)
    app.add_url_rule(f"{base}/metrics/stream", "stream.metrics", metric_stream, websocket=False)


@requires(Permission.INSTANCE_LOGS)
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


@requires(Permission.INSTANCE_READ)
def metric_stream(instance_id: str) -> Response:
    portal = security.portal()

    def allowed() -> None:
        access.get_or_404(Instance, instance_id, security.actor(), Permission.INSTANCE_READ)

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


def _tail() -> int:
    text = request.args.get("tail", "100")
    if not text.isascii() or not text.isdigit() or int(text[:9]) > logs.MAX_TAIL:
        raise BadRequest(f"tail must be a whole number from 0 to {logs.MAX_TAIL:,}.")
    return int(text)


def _serve(portal: Portal, messages: Callable[[Callable[[Any], None]], None], allowed: Callable[[], None]) -> Response:
    """Pass messages on until the caller goes, the portal ends, or what was allowed no longer is."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise BadRequest("This address speaks WebSocket only. For server-sent events use the same address without /stream.")
    origin = request.headers.get("Origin", "")
    if origin and urlsplit(origin).netloc != request.host:
        raise Forbidden("A page of another site may not open this stream.")
    db.session.rollback()
    try:
        server = Server.accept(request.environ, ping_interval=PING_SECONDS, max_message_size=1024)
    except ConnectionClosed:
        return _Over()
    checked = time.monotonic()
    try:
        while server.connected and not portal.stopping.is_set():
            messages(lambda told: server.send(json.dumps(told, ensure_ascii=False, default=str)))
            if time.monotonic() - checked >= RECHECK_SECONDS:
                checked = time.monotonic()
                problem = _refused(allowed)
                if problem is not None:
                    server.send(json.dumps({"problem": problem.detail}, ensure_ascii=False))
                    break
        server.close()
    except (ConnectionClosed, OSError):
        pass
    return _Over()


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
        raise StopIteration
