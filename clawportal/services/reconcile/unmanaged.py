"""The strategies for what somebody else made: seen as it is and, once it was adopted, started and ended as it is.

Nothing is planned, written or made anew: the portal does not know all that its maker put in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clawportal.contracts import runtimes
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import GONE, RunState
from clawportal.lifecycle import Desired, Phase
from clawportal.services.reconcile import rules
from clawportal.services.reconcile.facts import Observation, Step, Wanted

HEALTH = {True: HealthState.HEALTHY, False: HealthState.UNHEALTHY, None: HealthState.UNKNOWN}
"""What a check of the cluster's own says."""


class Observed:
    """What it does is what is wanted of it: the portal wants nothing."""

    def decide(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        return _WHILE_OBSERVED.get(observed.state, Step.SHOW)


_WHILE_OBSERVED: dict[RunState | None, Step] = {
    None: Step.LOOK, RunState.UNKNOWN: Step.WAIT_FOR_CLUSTER, RunState.ABSENT: Step.NOTE_GONE, RunState.EXITED: Step.NOTE_EXITED,
}  # fmt: skip


class Adopted:
    def decide(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        if wanted.desired is Desired.DELETED:
            return rules.delete(observed, wanted, now)
        if observed.state is None:
            return Step.LOOK
        if observed.state is RunState.ABSENT and not (observed.just_ended or observed.just_applied):
            return Step.FAIL_GONE
        if wanted.desired is Desired.STOPPED:
            return rules.end(observed, wanted, now) or Step.NOTE_STOPPED
        return self.run(observed, wanted, now)

    def run(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        if observed.just_applied:
            return Step.SHOW if observed.alive else Step.LOOK_AGAIN  # it ended at once: the next pass says so
        if observed.state is RunState.UNKNOWN:
            return Step.WAIT_FOR_CLUSTER
        if observed.alive:
            ends = observed.phase is Phase.STOPPING or wanted.restart
            return rules.end_by(Step.STOP_TO_RESTART, observed, now) if ends else Step.SHOW
        if rules.is_settled(observed, wanted):
            return Step.SETTLE
        if rules.exited_by_itself(observed, wanted):
            return rules.after_exit(observed, wanted)
        if observed.backs_off(now) and not wanted.changed:
            return Step.WAIT_BACKOFF
        return rules.turn(observed, now) or Step.RESUME


def news(row: Any, seen: runtimes.Observed | None) -> bool:
    """Whether a cluster shows something else than its row says, beside what is looked at of every instance."""
    if seen is None:
        return bool(row.reason != GONE)
    return bool(row.phase == Phase.RUNNING and seen.state is RunState.RUNNING and row.health != HEALTH[seen.healthy])
