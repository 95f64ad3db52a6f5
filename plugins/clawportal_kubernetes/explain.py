"""Tells what the cluster says about an instance as a state, a reason, a sentence and what a person can do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from clawportal.sdk import Message, _m, _n, joined
from clawportal.sdk.runtimes import Observed, Ref, RunState
from clawportal_kubernetes.records import Container, End, Event, Pod, Set

_NODE_EVENT_SLACK = timedelta(seconds=30)
"""By which the event of a node that went silent may be earlier than what is then said of its pods."""


class Told(NamedTuple):
    """Why something does not run."""

    reason: str
    message: str
    remedy: str = ""


def node_lost(found: Pod, events: Iterable[Event]) -> bool:
    """Of a node that went silent the cluster only says so in an event of each pod, and that the pod is not ready.

    What the pod itself says stays as its node has told it last: that all of it runs.
    """
    if found.lost:
        return True
    if found.unready_at is None:
        return False
    return any(one.reason == "NodeNotReady" and one.at >= found.unready_at - _NODE_EVENT_SLACK for one in events)


def look(ref: Ref, owner: Set | None, found: Pod | None, events: Iterable[Event] = (), last_end: End | None = None) -> Observed:
    """The state of one instance."""
    if owner is None and found is None:
        return Observed(ref, RunState.ABSENT)
    base: dict[str, Any] = {
        "digest": owner.digest if owner else found.digest if found else "",
        "drift": (owner.drift or _still_changed(owner, found)) if owner else "",
    }
    if found is None:
        assert owner is not None
        if owner.replicas == 0:
            code = last_end.code if last_end else None
            return Observed(ref, RunState.EXITED, reason="", exited_at=owner.stopped_at, exit_code=code, **base)
        told = from_events(events) or Told(_n("Creating"), _m("The cluster is about to make its pod."))
        return Observed(ref, RunState.PENDING, reason=told.reason, message=told.message, remedy=told.remedy, **base)
    base |= {"incarnation": f"{found.uid[:13]}.{found.restarts}", "restarts": found.restarts, "node": found.node,
             "started_at": started(found)}  # fmt: skip
    end = _latest_end(found)
    if end is not None:
        base |= {"exit_code": end.code, "exit_signal": end.signal, "exited_at": end.at}
    state, why = _state(found, events)
    return Observed(ref, state, reason=why.reason, message=why.message, remedy=why.remedy, **base)


def runs_changed(owner: Set, found: Pod | None) -> bool:
    """Whether the pod was made from what somebody else had made of the StatefulSet."""
    if found is None or not found.revision:
        return False
    known, now = found.revision in owner.taken_back, found.revision == owner.revision
    # one that is known and the present one is no change at all: somebody has written what was there before
    return known is not now and (known or owner.remade)


def _still_changed(owner: Set, found: Pod | None) -> str:
    return "its pod still runs with what somebody changed" if runs_changed(owner, found) else ""


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
            _n("NodeLost"), _m("The node %(node)s that it runs on does not answer.", node=found.node),
            _m("Bring the node back, or kill the instance; it then starts elsewhere."),
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
        words = _m(
            "The cluster has started it again %(_times)s; the last time it %(how)s.", _times=_times(found.restarts), how=how(end)
        )
        if end.reason == "OOMKilled":
            return RunState.RUNNING, Told(_n("OutOfMemory"), words, _m("Raise its memory limit."))
        return RunState.RUNNING, Told("", words)
    return RunState.RUNNING, Told("", "")


def why(found: Pod) -> Told:
    """Why a pod does not run yet; empty words where it does."""
    return _state(found, ())[1]


def _failed(found: Pod) -> Told:
    if found.reason == "Evicted":
        return Told(
            _n("Evicted"),
            _m("The node %(node)s has sent it away: %(message)s", node=found.node, message=found.message),
            _m(
                "It starts again by itself where there is room. Give the nodes more memory or disk, or the claw a higher request."
            ),
        )
    return Told(
        found.reason or _n("PodFailed"),
        found.message or _m("Its pod has failed."),
        _m("Look at its events; then start it again."),
    )


def _waiting(found: Pod, events: Iterable[Event]) -> Told | None:
    """None when all of it runs."""
    if not found.node:
        if found.unscheduled:
            return unschedulable(found.unscheduled)
        return from_events(events) or Told(_n("Scheduling"), _m("The cluster looks for a node."))
    for one in found.init:
        if one.state == "terminated" and one.end and one.end.code == 0:
            continue
        told = _of_container(one, files=True)
        if told.reason in ("Starting", "FilesBeingPlaced"):
            return from_events(events) or told
        return told
    if not found.containers:
        return from_events(events) or Told(_n("Starting"), _m("The node prepares its volumes and image."))
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
            _n("ImagePullFailed"), _m("Its image cannot be fetched: %(message)s", message=one.message or one.reason),
            _m("Check the image's name, the cluster's mirror and its registry credentials."),
        )  # fmt: skip
    end = one.end
    if files and end is not None and end.code != 0 and end.reason != "OOMKilled":
        return Told(
            _n("FilesFailed"), _m("Its files could not be placed: %(message)s", message=end.message or how(end)),
            _m("Look at its volume: it may be full, or belong to another user."),
        )  # fmt: skip
    if one.reason in _BROKEN or (end is not None and end.reason in _BROKEN and one.state != "running"):
        said = one.message or (end.message if end else "") or one.reason
        return Told(
            _n("CannotStart"),
            _m("The node cannot start it: %(said)s", said=said),
            _m("Check the command, the image and the secrets of the claw."),
        )
    if end is not None and end.reason == "OOMKilled":
        return Told(
            _n("OutOfMemory"),
            _m(
                "It used more memory than its limit and was killed; it is started again (%(_times)s so far).",
                _times=_times(one.restarts),
            ),
            _m("Raise its memory limit."),
        )
    if one.reason == "CrashLoopBackOff" or one.state == "terminated":
        said = _m(
            "It %(end)s and is started again (%(_times)s so far).",
            end=how(end) if end else _m("ended"),
            _times=_times(one.restarts),
        )
        return Told(
            _n("CrashLoop") if one.reason == "CrashLoopBackOff" else _n("Restarting"),
            joined((said, end.message)) if end and end.message else said,
            _m("Read its log, also that of the run before."),
        )
    if files:
        return Told(_n("FilesBeingPlaced"), _m("Its files are being placed."))
    return Told(_n("Starting"), one.message or _m("The node is starting it."))


def _times(number: int) -> str:
    return _m("once") if number == 1 else _m("%(number)s times", number=number)


def how(end: End) -> str:
    if end.reason == "OOMKilled":
        return _m("used more memory than its limit")
    if end.signal:
        return _m("was ended by signal %(signal)s", signal=end.signal)
    return _m("ended with code %(code)s", code=end.code)


_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" (is )?not found|persistentvolumeclaim "[^"]*" is being deleted')
"""Of the very claim. Kubernetes 1.36 also ends with "not found" what it says of a claim that is only not bound yet."""


def unschedulable(message: str) -> Told:
    low = message.lower()
    if _NO_CLAIM.search(low):
        return Told(
            _n("VolumeMissing"),
            _m("Its volume claim is not there: %(message)s", message=message),
            _m("Stop the instance and start it again."),
        )
    if "unbound" in low or "persistentvolumeclaim" in low or "volume node affinity" in low:
        return Told(
            _n("VolumePending"), _m("Its volume is not there yet: %(message)s", message=message),
            _m("That takes a moment. If it stays so, check the cluster's storage class; without a default one, name one in the "
            "settings of the cluster."),
        )  # fmt: skip
    if "insufficient" in low:
        return Told(
            _n("NoRoom"),
            _m("No node has room for it: %(message)s", message=message),
            _m("Lower its memory or CPU, stop others, or add a node."),
        )
    return Told(
        _n("Unschedulable"), _m("No node may run it: %(message)s", message=message),
        _m("Compare the node selector and tolerations of the cluster's settings with the labels and taints of the nodes."),
    )  # fmt: skip


_EVENTS = {
    "ProvisioningFailed": (
        _n("VolumePending"), _n("Its volume cannot be made: %(message)s"),
        _m("Check the cluster's storage class and its provisioner."),
    ),
    "FailedMount": (
        _n("VolumeMountFailed"), _n("Its volume cannot be mounted: %(message)s"), _m("Look at the node and at the volume."),
    ),
    "FailedAttachVolume": (
        _n("VolumeMountFailed"), _n("Its volume cannot be attached: %(message)s"),
        _m("See that no other node still uses the volume."),
    ),
    "FailedCreatePodSandBox": (
        _n("NetworkNotReady"), _n("The node cannot prepare its network: %(message)s"), _m("Look at the node's network plugin."),
    ),
}  # fmt: skip
"""Of each reason of an event: ours, what is said, and what to do."""


def from_events(events: Iterable[Event]) -> Told | None:
    """The latest event that explains a wait."""
    for one in sorted(events, key=lambda one: one.at, reverse=True):
        if one.reason == "FailedCreate":
            return _not_created(one.message)
        if one.reason in _EVENTS:
            reason, words, remedy = _EVENTS[one.reason]
            return Told(reason, Message(words, {"message": one.message}), remedy)
        if one.reason == "Pulling":
            return Told(_n("ImagePulling"), _m("The node fetches its image."))
        if one.reason in ("Pulled", "Scheduled", "Created", "Started", "SuccessfulCreate"):
            return None
    return None


def _not_created(message: str) -> Told:
    if "exceeded quota" in message:
        return Told(
            _n("QuotaExceeded"),
            _m("The namespace's quota does not let it start: %(message)s", message=message),
            _m("Stop another instance, or ask for a larger quota."),
        )
    if "PodSecurity" in message:
        return Told(
            _n("PodSecurityRefused"),
            _m("The cluster's pod security refuses it: %(told)s", told=message),
            _m("Use an image that runs without root."),
        )
    return Told(
        _n("PodRefused"),
        _m("The cluster does not make its pod: %(message)s", message=message),
        _m("Ask who runs the cluster about this rule."),
    )
