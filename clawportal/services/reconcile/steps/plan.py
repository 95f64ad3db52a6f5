"""Plans the workload that is wanted of what runs, and compares it with the one that was applied."""

from __future__ import annotations

from clawportal.errors import GiveUp
from clawportal.lifecycle import Sync
from clawportal.services.reconcile import planning
from clawportal.services.reconcile.facts import Config
from clawportal.services.reconcile.passes import DRIFTED, Pass


def take(work: Pass) -> None:
    try:
        work.learnt.planned = planning.plan(work.portal, work.row, work.runtime)
    except GiveUp as verdict:
        work.learnt.config, work.learnt.refusal = Config.REFUSED, verdict
    else:
        work.learnt.config = _compared(work)


def _compared(work: Pass) -> Config:
    row, seen = work.row, work.seen
    runs = seen.digest if seen.incarnation != row.incarnation else row.applied_digest
    if work.planned.workload.digest() == runs:
        return Config.CURRENT
    refused = row.sync == Sync.OUT_OF_SYNC and row.reason != DRIFTED and not work.changed
    return Config.REFUSED_BEFORE if refused else Config.NEW
