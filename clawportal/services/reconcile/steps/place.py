"""The cluster has taken it on, but fetches its image or looks for a machine: that has a time of its own."""

from __future__ import annotations

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import HealthState
from clawportal.errors import GiveUp
from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.services.fleet import operations
from clawportal.services.reconcile.facts import PLACE_LIMIT
from clawportal.services.reconcile.passes import PLACED, Pass

KEEPS_TURN = PLACE_LIMIT / 45
"""A claw that its cluster cannot place for longer gives its place among those that start to others."""


def wait(work: Pass) -> None:
    seen = work.seen
    reason, message = _said(work)
    health = HealthState.UNHEALTHY if seen.exit_code not in (None, 0) else HealthState.STARTING
    told = (Phase.STARTING, reason, message, health)
    if (work.row.phase, work.row.reason, work.row.message, work.row.health) != told:
        work.write(
            Phase.STARTING, reason=reason, message=message, next_action=seen.remedy, health=health,
            conditions=work.condition(PLACED, False, reason, message),
        )  # fmt: skip
    if work.row.turn_at is not None and clock.now() > work.row.turn_at + KEEPS_TURN:
        work.write(Phase.STARTING, turn_at=None)
    operations.advance_for_instance(work.portal, work.row, 0.8, message)
    waits = clock.now() - work.row.phase_since
    work.rest(after=2.0 if waits < KEEPS_TURN else 10.0)  # news come by themselves; this is for those that got lost


def fail(work: Pass) -> None:
    reason, message = _said(work)
    work.runtime.kill(work.ref)
    remedy = work.seen.remedy or _m("Correct the cause, then start it again.")
    raise GiveUp(reason, _m("The cluster could not run it in time: %(message)s", message=message), remedy)


def note(work: Pass) -> None:
    """Only now does the claw itself begin to start, so that its own time begins here."""
    limit = work.startup_limit()
    work.write(
        work.row.phase,
        reason=_n("Starting"),
        message=_m("Starting the claw."),
        next_action=lifecycle.NEXT_ACTION[Phase.STARTING],
        phase_deadline=clock.now() + limit if limit and work.row.phase == Phase.STARTING else work.row.phase_deadline,
        conditions=work.condition(PLACED, True, _n("Placed"), _m("The cluster runs it.")),
    )


def _said(work: Pass) -> tuple[str, str]:
    return work.seen.reason or _n("Pending"), work.seen.message or _m("The cluster prepares the claw.")
