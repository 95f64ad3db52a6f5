"""Takes away what was made for an instance: the last that is done for it."""

from __future__ import annotations

from clawportal import clock
from clawportal.contracts.adapters import HealthState
from clawportal.db import transaction
from clawportal.lifecycle import Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models.operations import SUCCEEDED
from clawportal.services.clusters import ports
from clawportal.services.configuration import secrets
from clawportal.services.reconcile.passes import Pass


def announce(work: Pass) -> None:
    work.write(Phase.DELETING, reason=_n("Deleting"), message=_m("Ending the claw before its data is removed."))


def with_data(work: Pass) -> None:
    _remove(work, keep_data=False, message=_m("Deleted."))


def keeping_data(work: Pass) -> None:
    _remove(work, keep_data=True, message=_m("Deleted. Its data was kept."))


def _remove(work: Pass, *, keep_data: bool, message: str) -> None:
    work.write(Phase.DELETING, reason=_n("Removing"), message=_m("Removing its files."))
    work.runtime.remove(work.ref, keep_data=keep_data)
    with transaction():
        work.answer_all()
        ports.release(work.row.id)
        secrets.forget(work.row.id)
        work.write(
            Phase.DESTROYED, sync=Sync.SYNCED, health=HealthState.UNKNOWN, reason=_n("Deleted"), message=message,
            observed_generation=work.generation, destroyed_at=clock.now(), workload=None, lease_holder="",
        )  # fmt: skip
        work.close(SUCCEEDED, message=message)
    work.over = True
