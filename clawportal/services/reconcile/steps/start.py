"""Starts what does not run: prepares its files, ports and secrets, and gives the cluster exactly that."""

from __future__ import annotations

from typing import Any

from clawportal import clock
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import Observed
from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.services.clusters import ports
from clawportal.services.fleet import plans
from clawportal.services.reconcile import config_pickup, planning
from clawportal.services.reconcile.facts import WAITING, Config
from clawportal.services.reconcile.passes import APPLY_MAX, ENDED, PLACED, Pass


def create(work: Pass) -> None:
    """Plan it. A configuration that is another than last time is checked before it is used."""
    if work.row.phase != Phase.CREATING or work.row.reason == WAITING:
        work.write(Phase.CREATING, reason=_n("Creating"), message=_m("Preparing files, ports and secrets."))
    ports.give_up_taken(work.portal, work.runtime, work.row)
    work.learnt.planned = planning.plan(work.portal, work.row, work.runtime)
    workload = work.planned.workload
    known = not workload.check or workload.digest() == work.row.applied_digest
    work.learnt.config = Config.ACCEPTED if known else Config.NEW


def apply(work: Pass) -> None:
    if work.abort_if_superseded():
        return
    workload = work.planned.workload
    accepted = work.condition(_n("ConfigAccepted"), True, _n("Accepted"), _m("The claw accepts its configuration."),
                              drop=(PLACED, ENDED, config_pickup.CONDITION))  # fmt: skip
    _starting(
        work, workload=plans.as_stored(workload), applied_digest=workload.digest(), applied_generation=work.generation,
        conditions=accepted,
    )  # fmt: skip
    whole = plans.whole_ref(work.portal, work.row)
    _started(work, work.runtime.apply(whole, workload, work.planned.secrets))
    work.learnt.config = Config.CURRENT


def resume(work: Pass) -> None:
    """Start what somebody else made, as it is."""
    if work.abort_if_superseded():
        return
    _starting(work)
    _started(work, work.runtime.resume(work.ref))


def _starting(work: Pass, **observed: Any) -> None:
    work.write(
        Phase.STARTING, reason=_n("Starting"), message=_m("Starting the claw."), health=HealthState.STARTING, incarnation="",
        crashes=0 if work.changed else work.row.crashes,  # somebody changed something: forgiven
        **observed,
    )  # fmt: skip
    work.hold(APPLY_MAX)


def _started(work: Pass, seen: Observed) -> None:
    # a start counts when it follows an end that nobody asked for; what people ask for is no restart that counts
    again = work.row.not_before is not None and not work.changed
    work.write(
        Phase.STARTING, incarnation=seen.incarnation, started_at=seen.started_at or clock.now(), restarts_done=work.restarts,
        restart_count=work.row.restart_count + again, restarts_seen=seen.restarts,
    )  # fmt: skip
    work.learnt.seen, work.learnt.just_applied = seen, True
