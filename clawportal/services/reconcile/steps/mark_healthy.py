"""It runs as it is wanted: what is known of its health is stored, and nothing is left to do until something changes."""

from __future__ import annotations

from typing import Any

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import Health, HealthState
from clawportal.lifecycle import Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models.operations import SUCCEEDED
from clawportal.services.reconcile.facts import Config
from clawportal.services.reconcile.passes import DRIFTED, Pass

CRASHED_REMEDY = _m("Read its log and correct the cause. It counts as well again once it has run for five minutes.")
UNWELL_REMEDY = _m("Look into its log; restart it if it does not recover.")
DRIFT_REMEDY = _m("Restart it, so that it is made anew; or have the cluster's settings say that such changes are repaired.")


def take(work: Pass) -> None:
    refused = work.learnt.config is Config.REFUSED_BEFORE
    drifted = work.marked(DRIFTED) is True
    health = _with_drift(work) if drifted and not refused else _health(work)
    crashes = 0 if stable(work) else work.row.crashes
    words = health.message or (_m("The claw is running and well.") if health.state is HealthState.HEALTHY else "")
    work.write(
        Phase.RUNNING, sync=Sync.OUT_OF_SYNC if refused or drifted else Sync.SYNCED, health=health.state,
        **({} if refused else _told(health, words, crashes, drifted)),
        observed_generation=work.generation, attempts=0, not_before=None,
        restarts_done=work.row.restarts_done if refused else work.restarts, crashes=crashes,
        applied_generation=work.row.applied_generation if refused else work.generation,
        conditions=work.condition(_n("Healthy"), health.state is HealthState.HEALTHY, health.reason or _n("Answers"), words),
    )  # fmt: skip
    work.close(SUCCEEDED, message=_m("Running"))
    work.rest(after=forgiven_after(work))


def stable(work: Pass) -> bool:
    """Whether it ran long enough; by our own note, since that of the cluster may come from another clock."""
    return work.row.phase == Phase.RUNNING and clock.now() - work.row.phase_since > lifecycle.STABLE_AFTER


def forgiven_after(work: Pass) -> float | None:
    """Seconds until a claw that crashed lately is looked at once more, to forgive it."""
    return lifecycle.STABLE_AFTER.total_seconds() + 1 if work.row.crashes else None


def _health(work: Pass) -> Health:
    if work.learnt.health is None:
        raise RuntimeError("nobody has asked for its health")
    return work.learnt.health


def _with_drift(work: Pass) -> Health:
    health, entry = _health(work), work.stored_condition(DRIFTED)
    if entry is None or health.state is not HealthState.HEALTHY:
        return health
    return Health(health.state, DRIFTED, _m("Somebody changed it in its cluster: %(entry)s", entry=entry["message"]))


def _told(health: Health, words: str, crashes: int, drifted: bool) -> dict[str, Any]:
    healthy = health.state is HealthState.HEALTHY
    if crashes >= lifecycle.CRASH_LOOP_AFTER and healthy and not drifted:
        message = _m("It runs and answers, but it ended by itself %(crashes)s times in a row before.", crashes=crashes)
        return {"reason": _n("CrashLoop"), "message": message, "next_action": CRASHED_REMEDY}
    remedy = DRIFT_REMEDY if drifted else "" if healthy else UNWELL_REMEDY
    return {"reason": health.reason or _n("Running"), "message": words, "next_action": remedy}
