"""Keeps what the cluster says about the portal's pods, StatefulSets and events: one list and one watch for each of the three.

Everything that is asked often is answered from here, so that ten thousand instances cost no request in the steady state.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from clawportal.sdk import _m
from clawportal.sdk.errors import GiveUp, Retry, Unavailable
from clawportal.sdk.runtimes import Observed, Ref
from clawportal_kubernetes import explain, names, projection, records
from clawportal_kubernetes.client import Api, ApiError, Json, verdict
from clawportal_kubernetes.listwatch import ListWatch

_FIRST_LIST = 180.0
"""Seconds that the first list of everything may take in a large cluster."""
_EVENTS_KEPT = 20
_EVENT_AGE = 3600.0


class _Thing(Protocol):
    @property
    def uid(self) -> str: ...
    @property
    def version(self) -> int: ...


T = TypeVar("T", bound=_Thing)


@dataclass
class Shelf(Generic[T]):
    """Things by uid, newer never replaced by older; what was deleted does not come back through a late message."""

    read: Callable[[Json], T]
    things: dict[str, T] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    seen: set[str] | None = None

    def put(self, found: Json) -> tuple[T | None, T]:
        """What was there, and what is there now."""
        return self.keep(self.read(found))

    def keep(self, thing: T) -> tuple[T | None, T]:
        if self.seen is not None:
            self.seen.add(thing.uid)
        was = self.things.get(thing.uid)
        if thing.uid in self.gone or (was is not None and was.version > thing.version):
            return was, was or thing
        self.things[thing.uid] = thing
        return was, thing

    def forget(self, uid: str) -> None:
        self.things.pop(uid, None)
        now = time.monotonic()
        self.gone[uid] = now
        if len(self.gone) > 5000:
            self.gone = {uid: at for uid, at in self.gone.items() if now - at < 600}


class Mirror:
    """Started by the first question. `observe` and `inspect` raise Unavailable while the cluster cannot be heard."""

    def __init__(self, api: Api, place: str, prefix: str) -> None:
        self.api, self.place, self.prefix = api, place, prefix
        self.lock = threading.RLock()
        self.pods: Shelf[records.Pod] = Shelf(records.pod)
        self.sets: Shelf[records.Set] = Shelf(records.stateful_set)
        self.pod_by: dict[str, dict[str, records.Pod]] = {}
        """Pods of claws by instance and uid."""
        self.set_by: dict[str, records.Set] = {}
        self.set_named: dict[tuple[str, str], str] = {}
        self.ends: dict[str, records.End] = {}
        """How the last run of an instance ended, where its pod is gone."""
        self.events: dict[tuple[str, str], deque[records.Event]] = {}
        self._watchers: set[queue.SimpleQueue[str]] = set()
        self._streams: list[ListWatch] = []
        self._closed = False

    # ---- life

    def _start(self) -> list[ListWatch]:
        with self.lock:
            if self._closed:
                raise Unavailable(_m("The connection to the cluster is closed."))
            if not self._streams:
                mine = {"labelSelector": names.selector(self.place)}
                self._streams = [
                    ListWatch(self.api, "/api/v1/pods", mine, fresh=self._pods, started=lambda: self._begin(self.pods),
                              done=lambda: self._finish(self.pods, self._pod_gone), change=self._pod_changed,
                              read=projection.pods),
                    ListWatch(self.api, "/apis/apps/v1/statefulsets", mine, fresh=self._sets,
                              started=lambda: self._begin(self.sets), done=lambda: self._finish(self.sets, self._set_gone),
                              change=self._set_changed, read=projection.stateful_sets),
                    ListWatch(self.api, "/api/v1/events", {}, fresh=self._take_events, started=lambda: None, done=self._drop_old,
                              change=self._event_changed),
                ]  # fmt: skip
                for stream in self._streams:
                    stream.start()
            return self._streams

    def ready(self) -> None:
        """Returns when what is kept is fresh; Unavailable, or GiveUp in the cluster's words, when it cannot be."""
        until = time.monotonic() + max(_FIRST_LIST, self.api.timeout)
        for stream in self._start()[:2]:
            while not stream.synced.wait(0.05):
                if stream.failure is not None and stream.attempted.is_set():
                    _tell(stream.failure)
                if time.monotonic() > until:
                    raise Unavailable(_m("The cluster has not listed its pods in time."))

    def close(self) -> None:
        with self.lock:
            self._closed = True
            streams = self._streams
            watchers = list(self._watchers)
        for stream in streams:
            stream.end()
        for watcher in watchers:
            watcher.put("")

    def lists(self) -> int:
        """How often everything was listed; for tests and figures."""
        return sum(stream.lists for stream in self._streams)

    # ---- taking in

    def _begin(self, shelf: Shelf[Any]) -> None:
        with self.lock:
            shelf.seen = set()

    def _finish(self, shelf: Shelf[T], gone: Callable[[T], None]) -> None:
        """What a whole list did not name is no longer there."""
        with self.lock:
            seen = shelf.seen or set()
            shelf.seen = None
            for uid, thing in list(shelf.things.items()):
                if uid not in seen:
                    shelf.forget(uid)
                    gone(thing)

    def _pods(self, items: list[Json]) -> None:
        for found in items:
            self.put_pod(found)

    def _sets(self, items: list[Json]) -> None:
        for found in items:
            self.put_set(found)

    def _pod_changed(self, kind: str, found: Json) -> None:
        if kind != "DELETED":
            return self.put_pod(found)
        with self.lock:
            thing = self.pods.read(found)
            self.pods.forget(thing.uid)
            self._pod_gone(thing)

    def put_pod(self, found: Json) -> None:
        """Also for what a request has answered: so the portal reads its own writes."""
        with self.lock:
            was, now = self.pods.put(found)
            if now.uid in self.pods.gone or now.role != "claw" or was is now:
                return
            self.pod_by.setdefault(now.instance, {})[now.uid] = now
        if was is None or was != now:
            self._tell(now.instance)

    def _pod_gone(self, thing: records.Pod) -> None:
        with self.lock:
            there = self.pod_by.get(thing.instance)
            if there is not None:
                there.pop(thing.uid, None)
                if not there:
                    del self.pod_by[thing.instance]
            ends = [one.end for one in thing.containers if one.end is not None and one.state == "terminated"]
            if ends:
                self.ends[thing.instance] = ends[0]
            else:
                self.ends.pop(thing.instance, None)
        self._tell(thing.instance)

    def forget_pod(self, uid: str) -> None:
        with self.lock:
            thing = self.pods.things.get(uid)
            self.pods.forget(uid)
            if thing is not None:
                self._pod_gone(thing)

    def _set_changed(self, kind: str, found: Json) -> None:
        if kind != "DELETED":
            return self.put_set(found)
        self.forget_set(found["metadata"]["uid"], self.sets.read(found))

    def put_set(self, found: Json) -> None:
        with self.lock:
            was, now = self.sets.put(found)
            if now.uid in self.sets.gone or was is now:
                return
            self.set_by[now.instance] = now
            self.set_named[now.space, now.name] = now.instance
        if was is None or was != now:
            self._tell(now.instance)

    def forget_set(self, uid: str, thing: records.Set | None = None) -> None:
        with self.lock:
            thing = thing or self.sets.things.get(uid)
            self.sets.forget(uid)
            if thing is not None:
                self._set_gone(thing)

    def _set_gone(self, thing: records.Set) -> None:
        with self.lock:
            there = self.set_by.get(thing.instance)
            if there is not None and there.uid == thing.uid:
                del self.set_by[thing.instance]
                self.set_named.pop((thing.space, thing.name), None)
            self.ends.pop(thing.instance, None)
        self._tell(thing.instance)

    def _take_events(self, items: list[Json]) -> None:
        for found in items:
            self._event_changed("ADDED", found)

    def _event_changed(self, kind: str, found: Json) -> None:
        space = found["metadata"].get("namespace") or ""
        if kind == "DELETED" or not space.startswith(self.prefix):
            return
        told = records.event(found)
        if told is None:
            return
        with self.lock:
            kept = self.events.setdefault((space, told.about), deque(maxlen=_EVENTS_KEPT))
            for place, one in enumerate(kept):
                if one.uid == told.uid:
                    kept[place] = told
                    break
            else:
                kept.append(told)
            owner = self._owner(space, told.about)
        if owner and told.warning:
            self._tell(owner)

    def _owner(self, space: str, about: str) -> str:
        name = about.partition("/")[2]
        for end in ("", "-0", "-data"):
            owner = self.set_named.get((space, name.removesuffix(end)))
            if owner:
                return owner
        return ""

    def _drop_old(self) -> None:
        with self.lock:
            now = time.time()
            for key in [key for key, kept in self.events.items() if all(now - one.at.timestamp() > _EVENT_AGE for one in kept)]:
                del self.events[key]

    # ---- telling

    def _tell(self, instance: str) -> None:
        for watcher in list(self._watchers):
            watcher.put(instance)

    def look(self, ref: Ref) -> Observed:
        """As it is kept; call `ready` before."""
        with self.lock:
            owner = self.set_by.get(ref.instance_id)
            found = self.pod_of(ref.instance_id)
            events = self.events_of(owner) if owner is not None and not _plain(found) else ()
            end = self.ends.get(ref.instance_id)
        full = Ref(
            ref.instance_id,
            ref.name or (owner.title if owner else ""),
            ref.tenant or (owner.tenant if owner else found.tenant if found else ""),
        )
        return explain.look(full, owner, found, events, end)

    def observe(self) -> list[Observed]:
        with self.lock:
            known = self.set_by.keys() | self.pod_by.keys()
        return [self.look(Ref(instance)) for instance in known if instance]

    def pod_of(self, instance: str) -> records.Pod | None:
        """The one that counts: the youngest, where an old one is still ending."""
        there = self.pod_by.get(instance)
        if not there:
            return None
        if len(there) == 1:
            return next(iter(there.values()))
        return max(there.values(), key=lambda one: (not one.deleting, one.version))

    def pods_of(self, instance: str) -> list[records.Pod]:
        with self.lock:
            return list(self.pod_by.get(instance, {}).values())

    def events_of(self, owner: records.Set) -> list[records.Event]:
        """About an instance's StatefulSet, pod and volume claim, oldest first."""
        about = (f"StatefulSet/{owner.name}", f"Pod/{owner.name}-0", f"PersistentVolumeClaim/{owner.name}-data")
        with self.lock:
            found = [one for key in about for one in self.events.get((owner.space, key), ())]
        return sorted(found, key=lambda one: one.at)

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        """Changes as they are heard; a change that comes while one is told is told after it."""
        mine: queue.SimpleQueue[str] = queue.SimpleQueue()
        with self.lock:
            self._watchers.add(mine)
        try:
            self._start()
            yield None  # the streams may have run before, and told nobody
            while not stop() and not self._closed:
                try:
                    instance = mine.get(timeout=0.4)
                except queue.Empty:
                    continue
                if instance:
                    yield self.look(Ref(instance))
        finally:
            with self.lock:
                self._watchers.discard(mine)


def _plain(found: records.Pod | None) -> bool:
    """Whether nothing about it needs to be explained by events."""
    return (
        found is not None
        and found.phase == "Running"
        and found.unready_at is None
        and all(one.state == "running" for one in found.containers)
    )


def _tell(failure: Exception) -> None:
    if isinstance(failure, ApiError):
        told = verdict(failure, _m("the portal"))
        # a list that is refused says nothing about any instance: unknown, not failed
        raise Unavailable(f"{told}" if isinstance(told, (GiveUp, Retry)) else str(failure)) from failure
    raise Unavailable(
        str(failure) if isinstance(failure, Unavailable) else _m("The cluster cannot be watched: %(failure)s", failure=failure)
    ) from failure


def newest(items: Iterable[Json]) -> Json | None:
    return max(items, key=records.version_of, default=None)
