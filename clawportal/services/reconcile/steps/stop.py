"""Asks what runs to end, with the reason for it, and waits a moment."""

from __future__ import annotations

from typing import Any

from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.services.reconcile import config_pickup
from clawportal.services.reconcile.passes import ENDED, OF_WHAT_RUNS, Pass
from clawportal.services.reconcile.steps.await_exit import await_exit


def take(work: Pass) -> None:
    _stop(work, _n("Stopping"), _m("Asked the claw to end."))


def to_restart(work: Pass) -> None:
    _stop(work, _n("Restarting"), _m("Ending the old process before the restart."))


def to_reconfigure(work: Pass) -> None:
    words = _m("A restart is needed: %(why)s", why=work.learnt.change_reason)
    _stop(work, _n("Reconfiguring"), config_pickup.RESTART_WORDS if work.learnt.pickup_missed else words)


def by_policy(work: Pass) -> None:
    """Its cluster started it again, but its restart policy leaves it down. How it ended is kept until it is down."""
    ended = work.learnt.ended
    if ended is None:
        raise RuntimeError("nobody knows how it ended")
    good = work.seen.exit_code == 0
    _stop(
        work,
        _n("Stopping"),
        _m("Its cluster started it again; its restart policy leaves it down."),
        restarts_seen=work.seen.restarts,
        conditions=work.condition(ENDED, good, ended.reason, ended.message, drop=OF_WHAT_RUNS),
    )


def _stop(work: Pass, reason: str, message: str, **observed: Any) -> None:
    if work.row.phase != Phase.STOPPING:
        work.write(Phase.STOPPING, reason=reason, message=message, **observed)
    work.runtime.stop(work.ref, work.grace())  # each time: the portal may have been killed before the first call
    await_exit(work)
