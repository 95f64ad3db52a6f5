"""The new configuration cannot be used: it is said why, and what runs stays untouched."""

from __future__ import annotations

from typing import Any

from clawportal.contracts.adapters import HealthState
from clawportal.lifecycle import Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models.operations import FAILED
from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    verdict = work.learnt.refusal
    if verdict is None:
        raise RuntimeError("nothing was refused")
    starting = work.row.phase == Phase.STARTING
    if starting:
        work.check_deadline(verdict)
    unseen: dict[str, Any] = {"health": HealthState.UNKNOWN} if verdict.reason == "AdapterMissing" else {}
    work.write(
        Phase.STARTING if starting else Phase.RUNNING,
        sync=Sync.OUT_OF_SYNC, reason=verdict.reason, message=str(verdict),
        next_action=verdict.remedy or _m("Correct the configuration; the last good one keeps running."),
        observed_generation=work.generation, conditions=work.condition(_n("ConfigAccepted"), False, verdict.reason, str(verdict)),
        **unseen,
    )  # fmt: skip
    work.close(FAILED, error=str(verdict), lines=verdict.lines)
    work.rest(after=1.0 if starting else None)
