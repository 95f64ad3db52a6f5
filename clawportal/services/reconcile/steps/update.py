"""Brings a new configuration to a claw that runs on: with its files, or with nothing at all."""

from __future__ import annotations

from typing import Any

from clawportal.errors import GiveUp
from clawportal.lifecycle import Sync
from clawportal.services.fleet import plans
from clawportal.services.reconcile import config_pickup
from clawportal.services.reconcile.facts import Config
from clawportal.services.reconcile.passes import Pass


def files(work: Pass) -> None:
    try:
        work.runtime.write_files(work.ref, work.planned.workload)
    except GiveUp as verdict:
        work.learnt.config, work.learnt.refusal = Config.REFUSED, verdict
        return
    waits = config_pickup.waits(work.planned.adapter)
    _note(work, **(_unread(work) if waits else {}))


def nothing(work: Pass) -> None:
    """What changed is nothing that the running claw works by."""
    _note(work)


def _note(work: Pass, **observed: Any) -> None:
    workload = work.planned.workload
    work.write(
        work.row.phase, workload=plans.as_stored(workload), applied_digest=workload.digest(),
        applied_generation=work.generation, **observed,
    )  # fmt: skip
    work.learnt.config = Config.CURRENT


def _unread(work: Pass) -> dict[str, Any]:
    return {"sync": Sync.PROGRESSING, "reason": config_pickup.REASON, "message": config_pickup.WORDS, "next_action": "",
            "conditions": config_pickup.unread(work.row.conditions)}  # fmt: skip
