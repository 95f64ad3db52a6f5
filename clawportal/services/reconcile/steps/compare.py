"""Asks the adapter how a new configuration can be brought to a claw that runs."""

from __future__ import annotations

from clawportal.messages import _m
from clawportal.services.fleet import plans
from clawportal.services.reconcile.passes import Pass

_FORGOTTEN = _m("Its former configuration is not known.")


def take(work: Pass) -> None:
    old = plans.workload_from(work.row.workload) if work.row.workload else None
    if old is None or old.digest() != work.row.applied_digest:
        work.learnt.change, work.learnt.change_reason = "restart", _FORGOTTEN
        return
    change = work.planned.adapter.change(old, work.planned.workload)
    work.learnt.change, work.learnt.change_reason = change.action, change.reason
