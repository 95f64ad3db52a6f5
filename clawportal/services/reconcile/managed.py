"""The strategy for what the portal made: it is planned, started, kept as it is wanted, ended and removed."""

from __future__ import annotations

from datetime import datetime

from clawportal import lifecycle
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import RunState
from clawportal.lifecycle import Desired, Phase
from clawportal.services.reconcile import rules
from clawportal.services.reconcile.facts import (
    PLACE_LIMIT,
    Config,
    Drift,
    Exit,
    Observation,
    Pickup,
    Step,
    Storage,
    Wanted,
)


class Managed:
    def decide(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        if wanted.desired is Desired.DELETED:
            return rules.delete(observed, wanted, now)
        if wanted.desired is Desired.STOPPED:
            return rules.end(observed, wanted, now) or Step.NOTE_STOPPED
        return self.run(observed, wanted, now)

    def run(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        if observed.state is None:
            return Step.LOOK
        if observed.just_applied:
            return self.until_healthy(observed, now) if observed.alive else Step.LOOK_AGAIN
        if observed.state is RunState.UNKNOWN:
            return Step.WAIT_FOR_CLUSTER
        if rules.is_settled(observed, wanted):
            return Step.KILL_REMAINS if observed.alive else Step.SETTLE
        if observed.ends_by_policy and not wanted.changed and not wanted.restart:
            return rules.end(observed, wanted, now) or Step.STAY_DOWN
        if observed.alive:
            return self.keep(observed, wanted, now)
        if rules.exited_by_itself(observed, wanted):
            return self.removed(wanted) if observed.state is RunState.ABSENT else rules.after_exit(observed, wanted)
        return self.start(observed, wanted, now)

    def keep(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        """It runs: is it the right thing, and is it well?"""
        if observed.phase is Phase.STOPPING:
            return rules.end_by(Step.STOP_TO_RESTART, observed, now)
        if observed.restarted_in_place and rules.exited_by_itself(observed, wanted):
            return self.restarted_in_place(observed, wanted)
        if observed.config in _UNSETTLED:
            return _UNSETTLED[observed.config]
        if observed.config is Config.REFUSED_BEFORE:  # the last good one runs on; only its health is looked at
            return self.until_healthy(observed, now)
        if wanted.restart:
            return rules.end_by(Step.STOP_TO_RESTART, observed, now)
        if not observed.same_start:  # started, but the portal was killed before it could note so
            return Step.NOTE_START
        if observed.config is Config.ACCEPTED:
            return self.reconfigure(observed, now)
        if observed.pickup is not Pickup.DONE:
            missed = observed.pickup is Pickup.MISSED
            return rules.end_by(Step.STOP_TO_RECONFIGURE, observed, now) if missed else Step.AWAIT_PICKUP
        return _DRIFTED.get(observed.drift) or self.until_healthy(observed, now)

    def restarted_in_place(self, observed: Observation, wanted: Wanted) -> Step:
        if observed.exit is Exit.UNKNOWN:
            return Step.LEARN_EXIT
        again = lifecycle.wants_restart(wanted.restart_policy, observed.exit_code)
        return Step.COUNT_RESTART if again else Step.STOP_BY_POLICY

    def reconfigure(self, observed: Observation, now: datetime) -> Step:
        if observed.change is None:
            return Step.COMPARE
        if observed.change == "restart":
            return rules.end_by(Step.STOP_TO_RECONFIGURE, observed, now)
        return Step.UPDATE_FILES if observed.change == "hot" else Step.NOTE_CONFIG

    def removed(self, wanted: Wanted) -> Step:
        """Somebody took it away behind the portal's back: no exit, and no fault of the claw."""
        return Step.FAIL_REMOVED if wanted.restart_policy == "never" else Step.REMAKE

    def start(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        """It does not run: wait, install what it needs, take a turn, plan, check, start."""
        if not observed.adapter_loaded:
            return Step.FAIL_ADAPTER_MISSING
        if observed.backs_off(now) and not wanted.changed:
            return Step.WAIT_BACKOFF
        if observed.installed is None:
            return Step.FIND_SOFTWARE
        if not observed.installed:
            return Step.FAIL_OVERDUE if observed.overdue(now) else Step.INSTALL
        return rules.turn(observed, now) or _TOWARDS_START.get(observed.config, Step.START)

    def until_healthy(self, observed: Observation, now: datetime) -> Step:
        starting = observed.phase is Phase.STARTING
        if observed.state is RunState.PENDING:
            return Step.FAIL_PLACE if starting and _unplaced_for_long(observed, now) else Step.AWAIT_PLACE
        if not observed.placed:
            return Step.NOTE_PLACED
        if observed.health is None:
            return Step.ASK_HEALTH
        if observed.health is HealthState.HEALTHY or observed.phase is Phase.RUNNING:
            return _WITHIN_STORAGE.get(observed.storage, Step.MARK_HEALTHY)
        if starting and observed.overdue(now):  # one that does part of its work may go on
            return Step.MARK_HEALTHY if observed.health is HealthState.DEGRADED else Step.FAIL_START
        return Step.WAIT_READY


_UNSETTLED = {Config.UNKNOWN: Step.PLAN, Config.NEW: Step.CHECK, Config.REFUSED: Step.REFUSE}
"""Of what runs: before anything is ended, since what the claw refuses must not cost the one that runs."""
_TOWARDS_START = {Config.UNKNOWN: Step.CREATE, Config.NEW: Step.CHECK_START}
_DRIFTED = {Drift.SEEN: Step.NOTE_DRIFT, Drift.REPAIRABLE: Step.REPAIR_DRIFT, Drift.GONE: Step.NOTE_DRIFT_GONE}
_WITHIN_STORAGE = {Storage.UNKNOWN: Step.CHECK_STORAGE, Storage.FAR_OVER: Step.FAIL_STORAGE}


def _unplaced_for_long(observed: Observation, now: datetime) -> bool:
    since = observed.phase_since
    return since is not None and now > since + PLACE_LIMIT and not observed.clock_jumped
