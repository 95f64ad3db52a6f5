"""Somebody took it away behind the portal's back. What is missing is made again, unless its restart policy leaves it so."""

from __future__ import annotations

from datetime import timedelta

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import HealthState
from clawportal.errors import GiveUp
from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.services.reconcile.passes import Pass

REMOVED = _n("DeletedOutside")


def remake(work: Pass) -> None:
    message = _m("Somebody deleted it in its cluster. It is made again.")
    _tell(work, message)
    times = work.row.attempts + 1  # until it is well again: whoever deletes it again and again is not chased
    work.write(
        Phase.STARTING, reason=REMOVED, message=message, health=HealthState.STARTING, incarnation="", turn_at=None,
        observed_generation=work.generation, phase_deadline=clock.now() + lifecycle.DEADLINES[Phase.STARTING],
        attempts=times, not_before=clock.now() + (lifecycle.backoff(times - 1) if times > 1 else timedelta()),
    )  # fmt: skip


def fail(work: Pass) -> None:
    message = _m("Somebody deleted it in its cluster; its restart policy leaves it so.")
    _tell(work, message)
    raise GiveUp(REMOVED, message, _m("Start it again if it is needed."))


def _tell(work: Pass, message: str) -> None:
    work.record("instance.exited", REMOVED, message, level="warning", data={"exit_code": None, "signal": None, "lines": []})
