"""What somebody else made is shown as it is: nothing is planned, and its health is what a check of its own says."""

from __future__ import annotations

from typing import Any

from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import GONE, Observed, RunState
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models.operations import SUCCEEDED
from clawportal.services.reconcile.passes import Pass
from clawportal.services.reconcile.steps.failures import GONE_MESSAGE, GONE_REMEDY
from clawportal.services.reconcile.steps.mark_healthy import forgiven_after, stable
from clawportal.services.reconcile.unmanaged import HEALTH

_WELL = {
    HealthState.HEALTHY: _m("It runs, and its own check says that it is well."),
    HealthState.UNHEALTHY: _m("It runs, but its own check says that it is not well."),
    HealthState.UNKNOWN: _m("It runs. It has no check of its own that would say whether it is well."),
}
UNWELL = _m("Look into its log.")


def present(work: Pass) -> None:
    """It is there: as it is, and whether it was started again meanwhile."""
    seen, row = work.seen, work.row
    again = bool(row.incarnation) and row.phase == Phase.RUNNING and seen.incarnation != row.incarnation
    if again:
        work.record(
            "instance.exited",
            _n("RestartedOutside"),
            _m("%(name)s was started again, and not by this portal.", name=row.name),
            level="warning",
        )
    observed: dict[str, Any] = {
        "incarnation": seen.incarnation, "started_at": seen.started_at or row.started_at,
        "restart_count": row.restart_count + again, "restarts_seen": seen.restarts,
    }  # fmt: skip
    if not row.managed:
        observed["desired"] = Desired.RUNNING
    if seen.state is RunState.PENDING:
        work.write(Phase.STARTING, reason=seen.reason or _n("Pending"), message=seen.message, phase_deadline=None, **observed)
        return work.rest(after=2.0)
    _running(work, seen, observed)


def _running(work: Pass, seen: Observed, observed: dict[str, Any]) -> None:
    health = HEALTH[seen.healthy]
    message = seen.message or _WELL[health]
    work.write(
        Phase.RUNNING, sync=Sync.SYNCED, health=health, reason=seen.reason or _n("Running"), message=message,
        next_action=UNWELL if health is HealthState.UNHEALTHY else "", observed_generation=work.generation, attempts=0,
        applied_generation=work.generation, restarts_done=work.restarts, not_before=None,
        crashes=0 if stable(work) else work.row.crashes, turn_at=None, conditions=_checked(work, health, message), **observed,
    )  # fmt: skip
    work.close(SUCCEEDED, message=_m("Running"))
    work.rest(after=forgiven_after(work))


def _checked(work: Pass, health: HealthState, message: str) -> list[dict[str, Any]]:
    """One thing is known of it: what its own check says or, without one, that it runs."""
    kind = _n("Seen") if health is HealthState.UNKNOWN else _n("Healthy")
    return [entry for entry in work.condition(kind, health is not HealthState.UNHEALTHY, _n("Checked"), message)
            if entry["type"] == kind]  # fmt: skip


def exited(work: Pass) -> None:
    """Of what is only observed: that it ended is what is wanted of it."""
    seen, message = work.seen, _ended(work.seen)
    if work.row.phase == Phase.RUNNING and work.row.incarnation:
        work.record(
            "instance.exited", seen.reason or _n("Exited"), message, level="info" if seen.exit_code == 0 else "warning",
            data={"exit_code": seen.exit_code, "signal": seen.exit_signal},
        )  # fmt: skip
    _absent(work, Phase.STOPPED, Sync.SYNCED, seen.reason or _n("Exited"), message)


def gone(work: Pass) -> None:
    _absent(work, Phase.FAILED, Sync.OUT_OF_SYNC, GONE, GONE_MESSAGE, GONE_REMEDY)


def _absent(work: Pass, phase: Phase, sync: Sync, reason: str, message: str, remedy: str = "") -> None:
    work.write(
        phase, sync=sync, health=HealthState.UNKNOWN, reason=reason, message=message, next_action=remedy, incarnation="",
        desired=Desired.STOPPED, observed_generation=work.generation, restarts_done=work.restarts, attempts=0, conditions=[],
    )  # fmt: skip
    work.close(SUCCEEDED, message=message)
    work.rest()


def _ended(seen: Observed) -> str:
    if seen.message:
        return seen.message
    if seen.exit_signal:
        return _m("It was ended by signal %(_signal_name)s.", _signal_name=seen.exit_signal)
    return (
        _m("It ended with code %(code)s.", code=seen.exit_code)
        if seen.exit_code is not None
        else _m("It ended with an unknown code.")
    )
