"""The namespace /logs: follows logs for browsers, in batches, and says how many lines somebody was too slow for."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from typing import Any

from clawportal.contracts.core_permissions import INSTANCE_LOGS
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.log_hub import RING_LINES, Batch, Subscription
from clawportal.errors import Invalid, Problem
from clawportal.messages import _m
from clawportal.realtime.people import People, Viewer, words
from clawportal.services.live import logs

log = logging.getLogger(__name__)

NAMESPACE = "/logs"
BATCH_SECONDS = 0.15
GATHER_SECONDS = 0.02
"""After a silence a first line goes out almost at once; those that come with it travel along."""
MAX_BACKLOG = 8
"""Batches that may wait for one browser; further lines stay in the ring, and are dropped when that is full."""
MAX_WATCHED = 20
"""Logs that one connection may follow at a time."""


class Logs:
    """Subscriptions of all browsers, and one thread that passes lines on."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._watched: dict[str, dict[str, Subscription]] = {}
        """By connection and instance."""
        self._viewers: dict[str, Viewer] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        people.namespace(NAMESPACE, self, INSTANCE_LOGS)
        people.on(NAMESPACE, "join", INSTANCE_LOGS, self.join)
        people.on(NAMESPACE, "leave", INSTANCE_LOGS, self.leave)

    # ---- who follows what

    def join(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        instance_id, tail, since = _wanted(data)
        watched = self._watched.get(viewer.sid, {})
        if len(watched.keys() | {instance_id}) > MAX_WATCHED:
            raise Invalid.field(
                "instance_id",
                _m("One page can follow %(MAX_WATCHED)s logs at most. Leave another one first.", MAX_WATCHED=MAX_WATCHED),
            )
        subscription = logs.watch(self.people.portal, actor, instance_id, tail=tail, since=since)
        with self._lock:
            here = self.people.here(viewer)
            before = self._watched.setdefault(viewer.sid, {}).pop(instance_id, None) if here else subscription
            if here:
                self._watched[viewer.sid][instance_id] = subscription
                self._viewers[viewer.sid] = viewer
                self._start()
        if before is not None:
            before.close()
        self.people.portal.logs.news.set()

    def leave(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        self._drop(viewer, _instance_id(data))

    def _drop(self, viewer: Viewer, instance_id: str) -> None:
        with self._lock:
            subscription = self._watched.get(viewer.sid, {}).pop(instance_id, None)
        if subscription is not None:
            subscription.close()

    def gone(self, viewer: Viewer) -> None:
        with self._lock:
            self._viewers.pop(viewer.sid, None)
            watched = self._watched.pop(viewer.sid, {})
        for subscription in watched.values():
            subscription.close()

    def seen(self, viewer: Viewer, actor: Actor) -> None:
        """Asked at intervals: ends each stream that its viewer may no longer read."""
        with self._lock:
            watched = list(self._watched.get(viewer.sid, {}))
        for instance_id in watched:
            try:
                logs.still_allowed(actor, instance_id)
            except Problem as problem:
                self._drop(viewer, instance_id)
                self.people.tell(viewer, problem.detail, instance_id=instance_id)
            finally:
                db.session.rollback()

    # ---- passing on

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        portal = self.people.portal
        while not portal.stopping.is_set():
            if not portal.logs.news.wait(timeout=2):
                continue
            portal.stopping.wait(GATHER_SECONDS)
            portal.logs.news.clear()
            try:
                if self.pass_on_once():
                    portal.logs.news.set()
            except Exception as error:
                log.error("log lines could not be passed on: %s", words(error))
            portal.stopping.wait(BATCH_SECONDS - GATHER_SECONDS)

    def pass_on_once(self) -> bool:
        """Send each viewer what is new for it. Whether somebody still waits for more."""
        with self._lock:
            waiting = [
                (self._viewers[sid], instance_id, subscription)
                for sid, watched in self._watched.items()
                for instance_id, subscription in watched.items()
                if subscription.behind
            ]
        groups: dict[tuple[str, tuple[int, int, int, bool]], tuple[Batch, list[str]]] = {}
        more = False
        for viewer, instance_id, subscription in waiting:
            if self.people.backlog(viewer) < MAX_BACKLOG:
                batch = subscription.take()
                if batch:
                    groups.setdefault((instance_id, batch.place), (batch, []))[1].append(viewer.sid)
            more = more or subscription.behind
        for (instance_id, _), (batch, sids) in groups.items():
            self._send(instance_id, batch, sids)
        return more

    def _send(self, instance_id: str, batch: Batch, sids: list[str]) -> None:
        """One encoding for all who get the same."""
        message = {"instance_id": instance_id, "lines": [line.row() for line in batch.lines], "dropped": batch.dropped}
        self.people.socketio.server.emit("lines", message, to=sids, namespace=NAMESPACE)


def _instance_id(data: Any) -> str:
    found = data.get("instance_id") if isinstance(data, dict) else None
    if not isinstance(found, str) or not 1 <= len(found) <= 64:
        raise Invalid.field("instance_id", _m("Say which instance: {instance_id: ...}."), "missing")
    return found


def _wanted(data: Any) -> tuple[str, int, datetime | None]:
    instance_id = _instance_id(data)
    tail, since = data.get("tail", logs.DEFAULT_TAIL), data.get("since")
    if not isinstance(tail, int) or isinstance(tail, bool) or not 0 <= tail <= logs.MAX_TAIL:
        raise Invalid.field("tail", _m("tail must be a whole number from 0 to %(MAX_TAIL)s.", MAX_TAIL=f"{logs.MAX_TAIL:,}"))
    if since is not None and not isinstance(since, str):
        raise Invalid.field("since", _m("since must be a time such as 2026-11-23T08:30:00Z."))
    return instance_id, min(tail, RING_LINES), logs.parse_since(since) if since else None


def init_sockets(people: People) -> None:
    Logs(people)
