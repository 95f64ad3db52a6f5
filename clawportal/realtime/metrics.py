"""The namespace /metrics: each new sample of the instances that somebody looks at."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from typing import Any

from clawportal.contracts.core_permissions import INSTANCE_READ
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.live_samples import Usage
from clawportal.errors import Invalid, Problem
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.realtime.people import People, Viewer
from clawportal.services.rights import access

log = logging.getLogger(__name__)

NAMESPACE = "/metrics"
MAX_WATCHED = 50
"""Instances that one connection may watch at a time."""


class Metrics:
    """Who watches which instance, and one thread that passes samples on: the sampling round must not wait for a browser."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._watched: dict[str, set[str]] = {}
        """Instances by connection."""
        self._lock = threading.Lock()
        self._queue: queue.Queue[Mapping[str, Usage]] = queue.Queue(8)
        self._thread: threading.Thread | None = None
        people.namespace(NAMESPACE, self, INSTANCE_READ)
        people.on(NAMESPACE, "join", INSTANCE_READ, self.join)
        people.on(NAMESPACE, "leave", INSTANCE_READ, self.leave)
        people.portal.samples.listeners.append(self._sampled)

    # ---- who watches what

    def join(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        instance_id = _instance_id(data)
        access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
        db.session.rollback()
        with self._lock:
            if not self.people.here(viewer):
                return
            watched = self._watched.setdefault(viewer.sid, set())
            if len(watched | {instance_id}) > MAX_WATCHED:
                raise Invalid.field(
                    "instance_id",
                    _m("One page can watch %(MAX_WATCHED)s instances at most. Leave one first.", MAX_WATCHED=MAX_WATCHED),
                )
            watched.add(instance_id)
            self._start()

    def leave(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        with self._lock:
            self._watched.get(viewer.sid, set()).discard(_instance_id(data))

    def gone(self, viewer: Viewer) -> None:
        with self._lock:
            self._watched.pop(viewer.sid, None)

    def seen(self, viewer: Viewer, actor: Actor) -> None:
        """Asked at intervals: what its viewer may no longer see ends."""
        with self._lock:
            watched = list(self._watched.get(viewer.sid, ()))
        for instance_id in watched:
            try:
                access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
            except Problem as problem:
                with self._lock:
                    self._watched.get(viewer.sid, set()).discard(instance_id)
                self.people.tell(viewer, problem.detail, instance_id=instance_id)
            finally:
                db.session.rollback()

    # ---- passing on

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="metric-samples", daemon=True)
            self._thread.start()

    def _sampled(self, usages: Mapping[str, Usage]) -> None:
        if self._thread is not None:
            try:
                self._queue.put_nowait(usages)
            except queue.Full:  # browsers are slower than the clock: the next round tells what counts then
                log.warning("samples were not passed on: the round before is still under way")

    def _run(self) -> None:
        stopping = self.people.portal.stopping
        while not stopping.is_set():
            try:
                self._tell(self._queue.get(timeout=1))
            except queue.Empty:
                continue
            except Exception:
                log.exception("samples could not be passed on")

    def _tell(self, usages: Mapping[str, Usage]) -> None:
        with self._lock:
            wanted: dict[str, list[str]] = {}
            for sid, watched in self._watched.items():
                for instance_id in watched & usages.keys():
                    wanted.setdefault(instance_id, []).append(sid)
        for instance_id, sids in wanted.items():
            self.people.socketio.server.emit("sample", sample(instance_id, usages[instance_id]), to=sids, namespace=NAMESPACE)


def sample(instance_id: str, usage: Usage) -> dict[str, Any]:
    return {
        "instance_id": instance_id, "at": usage.at.isoformat().replace("+00:00", "Z"), "cpu_percent": usage.cpu_percent,
        "memory_bytes": usage.memory_bytes, "disk_bytes": usage.disk_bytes, "processes": usage.processes,
    }  # fmt: skip


def _instance_id(data: Any) -> str:
    found = data.get("instance_id") if isinstance(data, dict) else None
    if not isinstance(found, str) or not 1 <= len(found) <= 64:
        raise Invalid.field("instance_id", _m("Say which instance: {instance_id: ...}."), "missing")
    return found


def init_sockets(people: People) -> None:
    Metrics(people)
