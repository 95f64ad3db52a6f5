"""Rules that instances have in common, whoever made them: how one is ended, and what follows an end that nobody asked for."""

from __future__ import annotations

from datetime import datetime

from clawportal import lifecycle
from clawportal.contracts.runtimes import RunState
from clawportal.lifecycle import Phase
from clawportal.services.reconcile.facts import HELD, KILL_LIMIT, KILLING, WAITING, Exit, Observation, Step, Wanted


def end(observed: Observation, wanted: Wanted, now: datetime) -> Step | None:
    """The step that ends it; None when it has ended."""
    if observed.state is None:
        return Step.LOOK
    if observed.state is RunState.UNKNOWN and not (wanted.kill and observed.explained):
        return Step.WAIT_FOR_CLUSTER  # a kill may be meant for just that, where the cluster itself answers
    if observed.state not in HELD:
        return None
    if wanted.kill and not (observed.reason == KILLING and observed.overdue(now)):
        return Step.KILL
    return end_by(Step.STOP, observed, now)


def end_by(step: Step, observed: Observation, now: datetime) -> Step:
    """`step`, which asks it to end, as long as there is time for that."""
    if observed.phase is not Phase.STOPPING or not observed.overdue(now):
        return step
    return Step.FAIL_STOP if observed.overdue(now, KILL_LIMIT) else Step.FORCE_KILL


def delete(observed: Observation, wanted: Wanted, now: datetime) -> Step:
    if observed.phase not in (Phase.DELETING, Phase.STOPPING):
        return Step.ANNOUNCE_DELETE
    return end(observed, wanted, now) or (Step.REMOVE_KEEPING_DATA if wanted.keep_data else Step.REMOVE_WITH_DATA)


def exited_by_itself(observed: Observation, wanted: Wanted) -> bool:
    """Whether what was started by the portal, and is not alive, ended although nobody asked for that."""
    return observed.phase in (Phase.STARTING, Phase.RUNNING) and observed.started and not wanted.restart


def is_settled(observed: Observation, wanted: Wanted) -> bool:
    """It failed or completed, and nothing else is wanted since."""
    return observed.phase in (Phase.FAILED, Phase.STOPPED) and not wanted.changed


def after_exit(observed: Observation, wanted: Wanted) -> Step:
    if observed.exit is Exit.UNKNOWN:
        return Step.LEARN_EXIT
    if observed.exit is Exit.FINAL:
        return Step.FAIL_EXIT
    return Step.BACK_OFF if lifecycle.wants_restart(wanted.restart_policy, observed.exit_code) else Step.STAY_DOWN


def turn(observed: Observation, now: datetime) -> Step | None:
    """The step towards a place among those that start; None when it has one."""
    if observed.turn is None:
        return Step.TAKE_TURN
    if observed.turn:
        return None
    queued = observed.phase is Phase.CREATING and observed.reason == WAITING
    return Step.FAIL_OVERDUE if queued and observed.overdue(now) else Step.QUEUE
