"""Asks the claw whether it is well; a quick one is waited for here, a slow one in later passes."""

from __future__ import annotations

import time

from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import RunState
from clawportal.lifecycle import Phase
from clawportal.services.fleet import plans
from clawportal.services.reconcile import health
from clawportal.services.reconcile.passes import QUICK_LOOK, Pass


def take(work: Pass) -> None:
    planned = work.planned
    io = plans.InstanceIO(work.portal, work.row.id, work.ref, work.runtime, planned.context.ports)
    end, pause = time.monotonic() + QUICK_LOOK, 0.02
    while True:
        work.learnt.health = health.ask(planned.adapter, io, planned.context)
        if work.learnt.health.state is HealthState.HEALTHY or work.row.phase == Phase.RUNNING:
            return
        if time.monotonic() + pause > end:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
        if work.runtime.inspect(work.ref).state is not RunState.RUNNING:
            return work.rest(after=0.0)
