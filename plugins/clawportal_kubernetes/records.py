"""What the portal keeps of the objects of a cluster, and how that is read from them: ten thousand whole ones would not fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from clawportal.sdk import _m, joined
from clawportal_kubernetes import names
from clawportal_kubernetes.client import parse_time
from clawportal_kubernetes.projection import OWN_MANAGERS

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended."""

    code: int | None
    signal: int | None
    reason: str
    message: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    state: str
    """`waiting`, `running`, `terminated`, or empty before the kubelet has seen it."""
    reason: str
    message: str
    started_at: datetime | None
    restarts: int
    end: End | None
    """Of this run where it has ended, or else of the run before."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What the portal keeps of a pod: ten thousand whole ones would not fit."""

    uid: str
    name: str
    space: str
    version: int
    instance: str
    tenant: str
    role: str
    digest: str
    node: str
    ip: str
    phase: str
    reason: str
    message: str
    deleting: bool
    created_at: datetime | None
    unscheduled: str
    lost: bool
    unready_at: datetime | None
    """Since when it is not ready, although it may have told that it runs; None where it is, or never was."""
    revision: str
    """Of the StatefulSet's template that it was made from."""
    init: tuple[Container, ...]
    containers: tuple[Container, ...]
    names: tuple[str, ...]
    """Of its containers, as planned."""

    @property
    def restarts(self) -> int:
        return sum(one.restarts for one in self.containers)


@dataclass(frozen=True, slots=True)
class Set:
    """What the portal keeps of a StatefulSet."""

    uid: str
    name: str
    space: str
    version: int
    instance: str
    tenant: str
    title: str
    digest: str
    replicas: int
    stopped_at: datetime | None
    drift: str
    deleting: bool
    revision: str
    """Of its template as it is now; empty until the cluster has said so."""
    remade: bool
    """Whether others have changed the template that its pods are made from."""
    taken_back: tuple[str, ...]
    """Revisions that somebody else had made of it, and that the portal took back."""


@dataclass(frozen=True, slots=True)
class Event:
    uid: str
    about: str
    """Kind and name: `Pod/nora-1a2b3c4d-0`."""
    at: datetime
    warning: bool
    reason: str
    message: str
    count: int


def version_of(found: Json) -> int:
    """Resource versions are opaque, but for being numbers that grow."""
    text = found.get("metadata", {}).get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


def _container(spec: Json) -> Container:
    state = spec.get("state") or {}
    kind = next(iter(state), "")
    body = state.get(kind) or {}
    ended = body if kind == "terminated" else (spec.get("lastState") or {}).get("terminated")
    return Container(
        sys.intern(spec["name"]), sys.intern(kind), sys.intern(body.get("reason") or ""), body.get("message") or "",
        parse_time(body.get("startedAt")) if kind == "running" else None, spec.get("restartCount") or 0,
        _end(ended) if ended else None,
    )  # fmt: skip


def _end(body: Json) -> End:
    return End(body.get("exitCode"), body.get("signal") or None, sys.intern(body.get("reason") or ""),
               (body.get("message") or "").strip()[-1000:], parse_time(body.get("finishedAt")))  # fmt: skip


_TAINTED = "DeletionByTaintManager"


def pod(found: Json) -> Pod:
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    labels = meta.get("labels") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    scheduled, ready = conditions.get("PodScheduled") or {}, conditions.get("Ready") or {}
    phase = sys.intern(status.get("phase") or "Pending")
    return Pod(
        uid=meta["uid"], name=meta["name"], space=sys.intern(meta["namespace"]), version=version_of(found),
        instance=labels.get(names.INSTANCE, ""), tenant=sys.intern(labels.get(names.TENANT, "")),
        role=sys.intern(labels.get(names.ROLE, "")),
        digest=(meta.get("annotations") or {}).get(names.DIGEST, ""), node=sys.intern(spec.get("nodeName") or ""),
        ip=status.get("podIP") or "", phase=phase, reason=sys.intern(status.get("reason") or ""),
        message=status.get("message") or "",
        deleting="deletionTimestamp" in meta, created_at=parse_time(meta.get("creationTimestamp")),
        unscheduled=(scheduled.get("message") or "no node fits") if scheduled.get("status") == "False" else "",
        lost=phase == "Unknown" or ready.get("reason") in ("NodeLost", "NodeStatusUnknown") or status.get("reason") == "NodeLost"
        or _TAINTED in str((conditions.get("DisruptionTarget") or {}).get("reason")),
        unready_at=parse_time(ready.get("lastTransitionTime")) if ready.get("status") == "False" else None,
        revision=sys.intern(labels.get("controller-revision-hash") or ""),
        init=tuple(_container(one) for one in status.get("initContainerStatuses") or ()),
        containers=tuple(_container(one) for one in status.get("containerStatuses") or ()),
        names=tuple(sys.intern(one["name"]) for one in spec.get("containers") or ()),
    )  # fmt: skip


def stateful_set(found: Json) -> Set:
    meta, spec = found["metadata"], found.get("spec") or {}
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    return Set(
        uid=meta["uid"], name=meta["name"], space=sys.intern(meta["namespace"]), version=version_of(found),
        instance=labels.get(names.INSTANCE, ""), tenant=sys.intern(labels.get(names.TENANT, "")), title=notes.get(names.NAME, ""),
        digest=notes.get(names.DIGEST, ""), replicas=spec.get("replicas", 1), stopped_at=parse_time(notes.get(names.STOPPED)),
        drift=drift(meta.get("managedFields") or ()), deleting="deletionTimestamp" in meta,
        revision=_revision(meta, found.get("status") or {}),
        remade=_remade(meta.get("managedFields") or ()), taken_back=tuple(notes.get(names.TAKEN_BACK, "").split()),
    )  # fmt: skip


def _revision(meta: Json, status: Json) -> str:
    """Only what the cluster says of this very version."""
    current = status.get("observedGeneration") == meta.get("generation")
    return sys.intern(status.get("updateRevision") or "") if current else ""


def event(found: Json) -> Event | None:
    about = found.get("involvedObject") or found.get("regarding") or {}
    at = parse_time(found.get("lastTimestamp") or found.get("eventTime") or found.get("metadata", {}).get("creationTimestamp"))
    if not about.get("name") or at is None:
        return None
    series = found.get("series") or {}
    return Event(
        found["metadata"].get("uid", ""), f"{about.get('kind', '')}/{about['name']}",
        parse_time(series.get("lastObservedTime")) or at, found.get("type") == "Warning", sys.intern(found.get("reason") or ""),
        (found.get("message") or found.get("note") or "")[:1000],
        series.get("count") or found.get("count") or 1,
    )  # fmt: skip


def drift(managed: Iterable[Json]) -> str:
    """Which fields somebody else has taken over since the portal applied them, and who."""
    told = []
    for entry in managed:
        spec = (entry.get("fieldsV1") or {}).get("f:spec")
        if entry.get("manager") in OWN_MANAGERS or entry.get("subresource") == "status" or not spec:
            continue
        who, fields = entry.get("manager") or _m("somebody"), [*islice(_leaves(spec), 5)]
        told.append(_m("%(who)s changed %(fields)s", who=who, fields=fields))
    return joined(told, "; ") if told else ""


def _remade(managed: Iterable[Json]) -> bool:
    return any(
        "f:template" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}) for entry in managed
        if entry.get("manager") not in OWN_MANAGERS and entry.get("subresource") != "status"
    )  # fmt: skip


def _leaves(fields: Json, path: str = "") -> Iterator[str]:
    for key, below in fields.items():
        if key == ".":
            continue
        kind, _, name = key.partition(":")
        word = f".{name}" if kind == "f" else "[" + ",".join(re.findall(r'"name":"([^"]+)"', name)) + "]"
        within = _leaves(below, path + word)
        yield next(within, (path + word).lstrip("."))
        yield from within
