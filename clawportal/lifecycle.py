"""The life of an instance as pure rules: phases, deadlines, and how long to wait after a failure.

Nothing here reads a clock, a table or a process, so that every rule can be tried with made-up times.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from clawportal.messages import _m


class Phase(StrEnum):
    PENDING = "pending"
    INSTALLING = "installing"
    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    DELETING = "deleting"
    DESTROYED = "destroyed"


PHASE_WORDS: dict[str, str] = {
    Phase.PENDING: _m("pending"), Phase.INSTALLING: _m("installing"), Phase.CREATING: _m("creating"),
    Phase.STARTING: _m("starting"), Phase.RUNNING: _m("running"), Phase.STOPPING: _m("stopping"), Phase.STOPPED: _m("stopped"),
    Phase.FAILED: _m("failed"), Phase.DELETING: _m("deleting"), Phase.DESTROYED: _m("destroyed"),
}  # fmt: skip
"""Inside of a sentence."""


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class Sync(StrEnum):
    """Does what runs match what is wanted?"""

    SYNCED = "synced"
    PROGRESSING = "progressing"
    OUT_OF_SYNC = "out-of-sync"
    UNKNOWN = "unknown"


PRIORITIES: dict[str, int] = {"low": 0, "normal": 1, "high": 2}
"""Who starts first when not all can start at once: the higher number."""

TRANSITIONAL = frozenset({
    Phase.PENDING, Phase.INSTALLING, Phase.CREATING, Phase.STARTING, Phase.STOPPING, Phase.DELETING,
})  # fmt: skip
"""Phases that must end: each has a deadline."""

ENDING = frozenset({Phase.STOPPING, Phase.STOPPED, Phase.DELETING, Phase.DESTROYED})
"""What is in one of these is not called healthy, and uses nothing worth telling."""

DEADLINES: dict[Phase, timedelta] = {
    Phase.PENDING: timedelta(minutes=5),
    Phase.INSTALLING: timedelta(minutes=45),
    Phase.CREATING: timedelta(minutes=5),
    Phase.STARTING: timedelta(minutes=3),
    Phase.STOPPING: timedelta(minutes=6),
    Phase.DELETING: timedelta(minutes=10),
}
"""How long a phase may last. Starting and Stopping are replaced by what the adapter and the workload say."""

NEXT_ACTION: dict[Phase, str] = {
    Phase.PENDING: _m("The portal takes it up by itself."),
    Phase.INSTALLING: _m("Wait for the installation; its progress is under Operations."),
    Phase.CREATING: _m("The portal goes on by itself."),
    Phase.STARTING: _m("Wait until the claw reports healthy; its log shows what it does."),
    Phase.RUNNING: "",
    Phase.STOPPING: _m("Wait until it has ended, or kill it."),
    Phase.STOPPED: _m("Start it when you need it; its data is kept."),
    Phase.FAILED: _m("Read the reason, correct it, then start again."),
    Phase.DELETING: _m("The portal goes on by itself."),
    Phase.DESTROYED: "",
}

CRASH_LOOP_AFTER = 3
"""So many exits in a row, each soon after a start, are called a crash loop."""

STABLE_AFTER = timedelta(minutes=5)
"""A claw that ran this long is forgiven its earlier crashes."""

_BACKOFF_FIRST = 1.0
_BACKOFF_MAX = 300.0
LONGEST_BACKOFF = _BACKOFF_MAX * 2
"""Seconds. No wait can be longer, so one that seems so is the fault of a clock."""


def backoff(attempt: int, jitter: float = 0.0) -> timedelta:
    """Wait before attempt number `attempt` (1 is the first retry): 1, 2, 4 ... 300 s, stretched by `jitter` (0..1)."""
    seconds = min(_BACKOFF_MAX, _BACKOFF_FIRST * 2 ** min(max(attempt - 1, 0), 16))
    return timedelta(seconds=seconds * (1 + jitter))


def deadline_for(phase: Phase, *, startup_seconds: float, stop_grace: float) -> timedelta | None:
    """How long `phase` may last, None for a phase that may last for ever."""
    if phase is Phase.STARTING:
        return timedelta(seconds=startup_seconds)
    if phase is Phase.STOPPING:
        return timedelta(seconds=stop_grace + 15)
    return DEADLINES.get(phase)


def wants_restart(policy: str, exit_code: int | None) -> bool:
    """Whether the restart policy asks for another start after an exit; a signal (no code) counts as failure."""
    return policy == "always" or (policy == "on-failure" and exit_code != 0)
