"""Reads what Kubernetes says about a pod, and tells it as a state, a reason, a sentence and what a person can do."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from clawportal.sdk.runtimes import Observed, Ref, RunState
from clawportal_kubernetes import names
from clawportal_kubernetes.client import parse_time
from clawportal_kubernetes.projection import OWN_MANAGERS

Json = Mapping[str, Any]


class Told(NamedTuple):
    """Why something does not run."""

    reason: str
    message: str
    remedy: str = ""


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
    foreign: tuple[str, ...]
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


# --------------------------------------------------------------------------------------------------------------------
# Reading


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
_NODE_EVENT_SLACK = timedelta(seconds=30)
"""By which the event of a node that went silent may be earlier than what is then said of its pods."""


def node_lost(found: Pod, events: Iterable[Event]) -> bool:
    """Of a node that went silent the cluster only says so in an event of each pod, and that the pod is not ready.

    What the pod itself says stays as its node has told it last: that all of it runs.
    """
    if found.lost:
        return True
    if found.unready_at is None:
        return False
    return any(one.reason == "NodeNotReady" and one.at >= found.unready_at - _NODE_EVENT_SLACK for one in events)


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
        remade=_remade(meta.get("managedFields") or ()), foreign=tuple(notes.get(names.FOREIGN, "").split()),
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
        told.append(f"{entry.get('manager') or 'somebody'} changed {', '.join(islice(_leaves(spec), 5))}")
    return "; ".join(told)


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


# --------------------------------------------------------------------------------------------------------------------
# Judging


def look(ref: Ref, owner: Set | None, found: Pod | None, events: Iterable[Event] = (), last_end: End | None = None) -> Observed:
    """The state of one instance."""
    if owner is None and found is None:
        return Observed(ref, RunState.ABSENT)
    base: dict[str, Any] = {
        "digest": owner.digest if owner else found.digest if found else "",
        "drift": (owner.drift or _still_foreign(owner, found)) if owner else "",
    }
    if found is None:
        assert owner is not None
        if owner.replicas == 0:
            code = last_end.code if last_end else None
            return Observed(ref, RunState.EXITED, reason="", exited_at=owner.stopped_at, exit_code=code, **base)
        told = from_events(events) or Told("Creating", "The cluster is about to make its pod.")
        return Observed(ref, RunState.PENDING, reason=told.reason, message=told.message, remedy=told.remedy, **base)
    base |= {"incarnation": f"{found.uid[:13]}.{found.restarts}", "restarts": found.restarts, "node": found.node,
             "started_at": started(found)}  # fmt: skip
    end = _latest_end(found)
    if end is not None:
        base |= {"exit_code": end.code, "exit_signal": end.signal, "exited_at": end.at}
    state, why = _state(found, events)
    return Observed(ref, state, reason=why.reason, message=why.message, remedy=why.remedy, **base)


def runs_foreign(owner: Set, found: Pod | None) -> bool:
    """Whether the pod was made from what somebody else had made of the StatefulSet."""
    if found is None or not found.revision:
        return False
    known, now = found.revision in owner.foreign, found.revision == owner.revision
    # one that is known and the present one is no change at all: somebody has written what was there before
    return known is not now and (known or owner.remade)


def _still_foreign(owner: Set, found: Pod | None) -> str:
    return "its pod still runs with what somebody changed" if runs_foreign(owner, found) else ""


def started(found: Pod) -> datetime | None:
    times = [one.started_at for one in found.containers if one.started_at]
    return max(times) if times else None


def _latest_end(found: Pod) -> End | None:
    ends = [one.end for one in found.containers if one.end is not None]
    return max(ends, key=lambda end: end.at.timestamp() if end.at else 0.0) if ends else None


def _state(found: Pod, events: Iterable[Event]) -> tuple[RunState, Told]:
    events = list(events)
    if node_lost(found, events):
        return RunState.UNKNOWN, Told(
            "NodeLost", f"The node {found.node} that it runs on does not answer.",
            "Bring the node back, or kill the instance; it then starts elsewhere.",
        )  # fmt: skip
    if found.phase == "Failed":
        return RunState.PENDING, _failed(found)
    if found.deleting:
        return RunState.RUNNING, Told("", "")
    waiting = _waiting(found, events)
    if waiting is not None:
        return RunState.PENDING, waiting
    end = _latest_end(found)
    if end is not None and found.restarts:
        words = f"The cluster has started it again {_times(found.restarts)}; the last time it {how(end)}."
        if end.reason == "OOMKilled":
            return RunState.RUNNING, Told("OutOfMemory", words, "Raise its memory limit.")
        return RunState.RUNNING, Told("", words)
    return RunState.RUNNING, Told("", "")


def why(found: Pod) -> Told:
    """Why a pod does not run yet; empty words where it does."""
    return _state(found, ())[1]


def _failed(found: Pod) -> Told:
    if found.reason == "Evicted":
        return Told(
            "Evicted", f"The node {found.node} has sent it away: {found.message}",
            "It starts again by itself where there is room. Give the nodes more memory or disk, or the claw a higher request.",
        )  # fmt: skip
    return Told(found.reason or "PodFailed", found.message or "Its pod has failed.", "Look at its events; then start it again.")


def _waiting(found: Pod, events: Iterable[Event]) -> Told | None:
    """None when all of it runs."""
    if not found.node:
        if found.unscheduled:
            return unschedulable(found.unscheduled)
        return from_events(events) or Told("Scheduling", "The cluster looks for a node.")
    for one in found.init:
        if one.state == "terminated" and one.end and one.end.code == 0:
            continue
        told = _of_container(one, files=True)
        if told.reason in ("Starting", "FilesBeingPlaced"):
            return from_events(events) or told
        return told
    if not found.containers:
        return from_events(events) or Told("Starting", "The node prepares its volumes and image.")
    for one in found.containers:
        if one.state == "running":
            continue
        told = _of_container(one)
        return (from_events(events) or told) if told.reason == "Starting" else told
    return None


_PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
            "ImageInspectError", "SignatureValidationFailed")  # fmt: skip
_BROKEN = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun")


def _of_container(one: Container, *, files: bool = False) -> Told:
    """Why one container does not run."""
    if one.reason in _PULLING:
        return Told(
            "ImagePullFailed", f"Its image cannot be fetched: {one.message or one.reason}",
            "Check the image's name, the cluster's mirror and its registry credentials.",
        )  # fmt: skip
    end = one.end
    if files and end is not None and end.code != 0 and end.reason != "OOMKilled":
        return Told(
            "FilesFailed", f"Its files could not be placed: {end.message or how(end)}",
            "Look at its volume: it may be full, or belong to another user.",
        )  # fmt: skip
    if one.reason in _BROKEN or (end is not None and end.reason in _BROKEN and one.state != "running"):
        said = one.message or (end.message if end else "") or one.reason
        return Told(
            "CannotStart", f"The node cannot start it: {said}", "Check the command, the image and the secrets of the claw."
        )
    if end is not None and end.reason == "OOMKilled":
        return Told(
            "OutOfMemory",
            f"It used more memory than its limit and was killed; it is started again ({_times(one.restarts)} so far).",
            "Raise its memory limit.",
        )  # fmt: skip
    if one.reason == "CrashLoopBackOff" or one.state == "terminated":
        said = f" {end.message}" if end and end.message else ""
        return Told(
            "CrashLoop" if one.reason == "CrashLoopBackOff" else "Restarting",
            f"It {how(end) if end else 'ended'} and is started again ({_times(one.restarts)} so far).{said}",
            "Read its log, also that of the run before.",
        )  # fmt: skip
    if files:
        return Told("FilesBeingPlaced", "Its files are being placed.")
    return Told("Starting", one.message or "The node is starting it.")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def how(end: End) -> str:
    if end.reason == "OOMKilled":
        return "used more memory than its limit"
    if end.signal:
        return f"was ended by signal {end.signal}"
    return f"ended with code {end.code}"


_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" (is )?not found|persistentvolumeclaim "[^"]*" is being deleted')
"""Of the very claim. Kubernetes 1.36 also ends with "not found" what it says of a claim that is only not bound yet."""


def unschedulable(message: str) -> Told:
    low = message.lower()
    if _NO_CLAIM.search(low):
        return Told("VolumeMissing", f"Its volume claim is not there: {message}", "Stop the instance and start it again.")
    if "unbound" in low or "persistentvolumeclaim" in low or "volume node affinity" in low:
        return Told(
            "VolumePending", f"Its volume is not there yet: {message}",
            "That takes a moment. If it stays so, check the cluster's storage class; without a default one, name one in the "
            "settings of the cluster.",
        )  # fmt: skip
    if "insufficient" in low:
        return Told("NoRoom", f"No node has room for it: {message}", "Lower its memory or CPU, stop others, or add a node.")
    return Told(
        "Unschedulable", f"No node may run it: {message}",
        "Compare the node selector and tolerations of the cluster's settings with the labels and taints of the nodes.",
    )  # fmt: skip


_EVENTS = {
    "ProvisioningFailed": (
        "VolumePending",
        "Its volume cannot be made",
        "Check the cluster's storage class and its provisioner.",
    ),
    "FailedMount": ("VolumeMountFailed", "Its volume cannot be mounted", "Look at the node and at the volume."),
    "FailedAttachVolume": ("VolumeMountFailed", "Its volume cannot be attached", "See that no other node still uses the volume."),
    "FailedCreatePodSandBox": ("NetworkNotReady", "The node cannot prepare its network", "Look at the node's network plugin."),
}


def from_events(events: Iterable[Event]) -> Told | None:
    """The latest event that explains a wait."""
    for one in sorted(events, key=lambda one: one.at, reverse=True):
        if one.reason == "FailedCreate":
            return _not_created(one.message)
        if one.reason in _EVENTS:
            reason, words, remedy = _EVENTS[one.reason]
            return Told(reason, f"{words}: {one.message}", remedy)
        if one.reason == "Pulling":
            return Told("ImagePulling", "The node fetches its image.")
        if one.reason in ("Pulled", "Scheduled", "Created", "Started", "SuccessfulCreate"):
            return None
    return None


def _not_created(message: str) -> Told:
    if "exceeded quota" in message:
        return Told(
            "QuotaExceeded",
            f"The namespace's quota does not let it start: {message}",
            "Stop another instance, or ask for a larger quota.",
        )
    if "PodSecurity" in message:
        return Told(
            "PodSecurityRefused", f"The cluster's pod security refuses it: {message}", "Use an image that runs without root."
        )
    return Told("PodRefused", f"The cluster does not make its pod: {message}", "Ask who runs the cluster about this rule.")
