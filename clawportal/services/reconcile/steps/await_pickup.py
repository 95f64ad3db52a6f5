"""Waits until a claw works by the files that were written under it: some read them a while later."""

from __future__ import annotations

import time
from datetime import timedelta

from clawportal import clock
from clawportal.services.fleet import plans
from clawportal.services.reconcile import config_pickup
from clawportal.services.reconcile.passes import QUICK_LOOK, Pass


def take(work: Pass) -> None:
    written = config_pickup.written_at(work.row.conditions)
    if written is None or written > clock.now() or clock.jumped():  # nobody knows how long ago that was
        work.write(work.row.phase, conditions=config_pickup.unread(work.row.conditions))
        written = clock.now()
    planned = work.planned
    io = plans.InstanceIO(work.portal, work.row.id, work.ref, work.runtime, planned.context.ports)
    end = time.monotonic() + QUICK_LOOK
    while not config_pickup.has_read(planned.adapter, io, planned.workload, clock.now() - written):
        if time.monotonic() > end:
            return _later(work, clock.now() - written)
        time.sleep(0.1)
    work.write(work.row.phase, conditions=config_pickup.read(work.row.conditions))


def _later(work: Pass, waited: timedelta) -> None:
    if waited > config_pickup.LIMIT:
        work.learnt.pickup_missed = True
    else:
        work.rest(after=0.3)
