"""It has ended as it was wanted."""

from __future__ import annotations

from clawportal import lifecycle
from clawportal.contracts.adapters import HealthState
from clawportal.lifecycle import Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models.operations import SUCCEEDED
from clawportal.services.reconcile.passes import Pass


def note(work: Pass) -> None:
    work.write(
        Phase.STOPPED, sync=Sync.SYNCED, health=HealthState.UNKNOWN, reason=_n("Stopped"), incarnation="", crashes=0,
        message=_m("Stopped; its data is kept."), observed_generation=work.generation, restarts_done=work.restarts,
        not_before=None, attempts=0, next_action=lifecycle.NEXT_ACTION[Phase.STOPPED],
    )  # fmt: skip
    work.close(SUCCEEDED, message=_m("Stopped"))
    work.rest()
