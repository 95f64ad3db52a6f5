"""The namespace /changes: says which instances and operations changed, by id, to those who may see them.

Pages then ask for what they show; so nothing that anybody must not see ever travels here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clawportal.contracts.bus import FACTS, News
from clawportal.contracts.permissions import SELF, Actor
from clawportal.realtime.people import People, Viewer
from clawportal.services.live import audience
from clawportal.services.live.audience import Changed, Sight

log = logging.getLogger(__name__)

NAMESPACE = "/changes"
BATCH_SECONDS = 0.15


class Changes:
    """Collects changes of any thread, and tells them in batches. People with equal rights are one room."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._pending: dict[Changed, None] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._sights: dict[str, Sight] = {}
        self._persons: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        people.namespace(NAMESPACE, self, SELF)
        people.portal.bus.subscribe(FACTS, self.on_news)

    def on_news(self, news: News) -> None:
        """Called from any thread after a commit: only notes, and only while somebody is there."""
        if not self._sights:
            return
        change = audience.changed(news)
        if change is not None:
            with self._lock:
                self._pending[change] = None
            self._news.set()

    # ---- who sees what

    def seen(self, viewer: Viewer, actor: Actor) -> None:
        now = audience.of(actor, self.people.portal.registry.rights_of_events)
        self._persons[viewer.sid] = actor.id
        if self._sights.get(viewer.sid) == now:
            return
        self._leave_room(viewer)
        self._sights[viewer.sid] = now
        try:
            self.people.socketio.server.enter_room(viewer.sid, _room(now), namespace=NAMESPACE)
        except KeyError:  # left while being looked at: Socket.IO does not know this connection any more
            self.gone(viewer)
        self._start()

    def gone(self, viewer: Viewer) -> None:
        self._persons.pop(viewer.sid, None)
        self._sights.pop(viewer.sid, None)  # Socket.IO itself takes who leaves out of all rooms

    def _leave_room(self, viewer: Viewer) -> None:
        before = self._sights.get(viewer.sid)
        if before is not None:
            self.people.socketio.server.leave_room(viewer.sid, _room(before), namespace=NAMESPACE)

    # ---- telling

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        stopping = self.people.portal.stopping
        while not stopping.is_set():
            if not self._news.wait(timeout=2):
                continue
            stopping.wait(BATCH_SECONDS)
            self._news.clear()
            try:
                self.tell_once()
            except Exception:
                log.exception("changes could not be told")

    def tell_once(self) -> None:
        """Tell what is pending to each room that may see any of it; never to an empty room."""
        with self._lock:
            changes, self._pending = list(self._pending), {}
            sights = set(self._sights.copy().values())
        personal = [change for change in changes if audience.personal(change)]
        changes = [change for change in changes if not audience.personal(change)]
        projects = self._projects_of([*changes, *personal]) if any(one.by_project for one in sights) else {}
        for one in sights:
            self._emit(audience.told(one, changes, projects), _room(one))
        if personal:
            self._tell_persons(personal, projects)

    def _tell_persons(self, changes: Sequence[Changed], projects: Mapping[str, str]) -> None:
        wanted = {change.person_id for change in changes}
        for sid, person in self._persons.copy().items():
            one = self._sights.get(sid)
            if person in wanted and one is not None:
                self._emit(audience.told(one, changes, projects, person), sid)

    def _emit(self, told: dict[str, Any], room: str) -> None:
        if any(told.values()):
            self.people.socketio.server.emit("changed", told, room=room, namespace=NAMESPACE)

    def _projects_of(self, changes: Iterable[Changed]) -> dict[str, str]:
        """Looked up for each batch: an instance can be moved, and from then on other people are told of it."""
        with self.people.app.app_context():
            return audience.projects_of({change.instance_id for change in changes if change.instance_id})


def _room(one: Sight) -> str:
    return f"sight:{one.name}"


def init_sockets(people: People) -> None:
    Changes(people)
