"""What a decision is made from, as plain values: what is wanted of an instance, and what is known of it in this pass.

A pass learns as it goes. What it has not asked for yet is None (or UNKNOWN), and the decision may be to ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import RunState
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.messages import _n
from clawportal.runtime_helpers import ALIVE

HELD = (*ALIVE, RunState.UNKNOWN)
"""States in which something of it may still run."""
KILLING = _n("Killing")
"""Reason within Stopping: it is killed because somebody asked for that."""
WAITING = _n("WaitingForTurn")
"""Reason within Creating: others of its cluster start first."""
PLACE_LIMIT = timedelta(minutes=15)
"""How long a cluster may take to fetch the image and to find a machine."""
KILL_LIMIT = timedelta(minutes=1)
"""How long after its deadline a process that does not even end when killed is waited for."""


class Step(StrEnum):
    """One thing that a pass does next. Each is a function of `services.reconcile.steps`."""

    # learn something, then decide again
    LOOK = "look"
    PLAN = "plan"
    CHECK = "check"
    COMPARE = "compare"
    LEARN_EXIT = "learn-exit"
    FIND_SOFTWARE = "find-software"
    TAKE_TURN = "take-turn"
    ASK_HEALTH = "ask-health"
    CHECK_STORAGE = "check-storage"
    # note what was found, then decide again
    NOTE_START = "note-start"
    NOTE_CONFIG = "note-config"
    NOTE_DRIFT = "note-drift"
    NOTE_DRIFT_GONE = "note-drift-gone"
    NOTE_PLACED = "note-placed"
    COUNT_RESTART = "count-restart"
    ANNOUNCE_DELETE = "announce-delete"
    REMAKE = "remake"
    # change what is there, then decide again, or look again soon
    STOP = "stop"
    KILL = "kill"
    FORCE_KILL = "force-kill"
    STOP_TO_RESTART = "stop-to-restart"
    STOP_TO_RECONFIGURE = "stop-to-reconfigure"
    STOP_BY_POLICY = "stop-by-policy"
    UPDATE_FILES = "update-files"
    AWAIT_PICKUP = "await-pickup"
    REPAIR_DRIFT = "repair-drift"
    CREATE = "create"
    CHECK_START = "check-start"
    START = "start"
    RESUME = "resume"
    # the pass ends, and another one follows
    WAIT_FOR_CLUSTER = "wait-for-cluster"
    WAIT_BACKOFF = "wait-backoff"
    INSTALL = "install"
    QUEUE = "queue"
    AWAIT_PLACE = "await-place"
    WAIT_READY = "wait-ready"
    LOOK_AGAIN = "look-again"
    BACK_OFF = "back-off"
    # the pass ends, and nothing is left to do until something changes
    SETTLE = "settle"
    KILL_REMAINS = "kill-remains"
    MARK_HEALTHY = "mark-healthy"
    REFUSE = "refuse"
    STAY_DOWN = "stay-down"
    NOTE_STOPPED = "note-stopped"
    REMOVE_WITH_DATA = "remove-with-data"
    REMOVE_KEEPING_DATA = "remove-keeping-data"
    SHOW = "show"
    NOTE_EXITED = "note-exited"
    NOTE_GONE = "note-gone"
    # it fails, and says why
    FAIL_ADAPTER_MISSING = "fail-adapter-missing"
    FAIL_EXIT = "fail-exit"
    FAIL_GONE = "fail-gone"
    FAIL_OVERDUE = "fail-overdue"
    FAIL_PLACE = "fail-place"
    FAIL_REMOVED = "fail-removed"
    FAIL_START = "fail-start"
    FAIL_STOP = "fail-stop"
    FAIL_STORAGE = "fail-storage"


class Ownership(StrEnum):
    OURS = "ours"
    """The portal made it and makes it anew."""
    ADOPTED = "adopted"
    """Somebody else made it; the portal starts and ends it as it is."""
    OBSERVED = "observed"
    """Somebody else made it; the portal only looks."""


class Config(StrEnum):
    """The configuration that is wanted, against the one that runs."""

    UNKNOWN = "unknown"
    """Not planned in this pass yet."""
    CURRENT = "current"
    NEW = "new"
    """It differs, and the claw has not been asked yet whether it accepts it."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """In this pass."""
    REFUSED_BEFORE = "refused-before"
    """In an earlier pass; the last good one keeps running until something else is wanted."""


class Drift(StrEnum):
    """What somebody changed by hand in the cluster."""

    NONE = "none"
    SEEN = "seen"
    REPAIRABLE = "repairable"
    """It is noted, and the cluster's policy says to put it back."""
    STANDS = "stands"
    """It is noted, and stays."""
    GONE = "gone"
    """It was noted earlier and is there no longer."""


class Pickup(StrEnum):
    """Whether a claw that reads its files a while after they were written has read them."""

    DONE = "done"
    WAITING = "waiting"
    MISSED = "missed"


class Exit(StrEnum):
    """What is known of an end that nobody asked for."""

    UNKNOWN = "unknown"
    TRANSIENT = "transient"
    """Another start may help."""
    FINAL = "final"
    """The adapter says that another start would end in the same way."""


class Storage(StrEnum):
    UNKNOWN = "unknown"
    FINE = "fine"
    FAR_OVER = "far-over"


@dataclass(frozen=True)
class Wanted:
    """What people want of an instance."""

    desired: Desired
    changed: bool = False
    """Something new is wanted since the last pass that came to an end: `generation` is ahead of `observed_generation`."""
    restart: bool = False
    kill: bool = False
    """With desired `stopped` or `deleted`: end it without asking it."""
    keep_data: bool = False
    restart_policy: str = "always"
    """`always`, `on-failure` or `never`."""
    ownership: Ownership = Ownership.OURS


@dataclass(frozen=True)
class Observation:
    """What is known of an instance: its row, and what this pass has learnt."""

    # as it is stored
    phase: Phase
    sync: Sync = Sync.PROGRESSING
    reason: str = ""
    started: bool = False
    """The row names what was started last."""
    phase_since: datetime | None = None
    deadline: datetime | None = None
    not_before: datetime | None = None
    clock_jumped: bool = False
    """Just after a jump of the clock nobody can tell what is overdue; deadlines move along soon."""
    ends_by_policy: bool = False
    """Its restart policy leaves it down, and it is being ended."""

    # what its cluster shows
    state: RunState | None = None
    explained: bool = False
    """The cluster says why."""
    same_start: bool = True
    """It is what the row names."""
    restarted_in_place: bool = False
    """The cluster itself has started it again since it was looked at last."""
    exit_code: int | None = None

    # what this pass has learnt or done
    adapter_loaded: bool = True
    config: Config = Config.UNKNOWN
    change: str | None = None
    """How the new configuration can be brought to what runs: `none`, `hot`, `call` or `restart`."""
    pickup: Pickup = Pickup.DONE
    drift: Drift = Drift.NONE
    placed: bool = True
    exit: Exit = Exit.UNKNOWN
    installed: bool | None = None
    turn: bool | None = None
    health: HealthState | None = None
    storage: Storage = Storage.UNKNOWN
    just_applied: bool = False
    """The cluster was given it in this pass."""
    just_ended: bool = False
    """It ended in this pass because the portal ended it."""

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    def overdue(self, now: datetime, by: timedelta = timedelta()) -> bool:
        """Whether its phase takes longer than it may."""
        return self.deadline is not None and now > self.deadline + by and not self.clock_jumped

    def backs_off(self, now: datetime) -> bool:
        return self.not_before is not None and now < self.not_before
