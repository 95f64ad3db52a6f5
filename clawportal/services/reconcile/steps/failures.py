"""Ends that need somebody to change something, where the reason is plain from what is known."""

from __future__ import annotations

from clawportal.contracts.runtimes import GONE
from clawportal.errors import GiveUp
from clawportal.messages import _m, _n
from clawportal.services.fleet import plans
from clawportal.services.reconcile.passes import Pass

GONE_MESSAGE = _m("It no longer exists in its cluster.")
GONE_REMEDY = _m("Forget it here. If another one took its place there, import that one.")


def adapter_missing(work: Pass) -> None:
    plans.adapter_of(work.portal, work.row)


def overdue(work: Pass) -> None:
    work.check_deadline()


def gone(work: Pass) -> None:
    raise GiveUp(GONE, GONE_MESSAGE, GONE_REMEDY)


def does_not_end(work: Pass) -> None:
    raise GiveUp(
        _n("StopTimedOut"), _m("The claw does not end, not even when it is killed."),
        _m("Look at its processes on the machine; one that hangs in the kernel ends with a reboot only."),
    )  # fmt: skip
