"""Ends the whole process tree without asking."""

from __future__ import annotations

import logging

from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.services.reconcile.facts import KILLING
from clawportal.services.reconcile.passes import Pass
from clawportal.services.reconcile.steps.await_exit import await_exit

log = logging.getLogger(__name__)


def take(work: Pass) -> None:
    """Because somebody asked for that."""
    if (work.row.phase, work.row.reason) != (Phase.STOPPING, KILLING):
        work.write(Phase.STOPPING, reason=KILLING, message=_m("Ending the whole process tree."))
    work.runtime.kill(work.ref)
    await_exit(work)


def force(work: Pass) -> None:
    """Because it did not end in time."""
    log.warning("instance %s did not end in time and is killed", work.row.id)
    work.runtime.kill(work.ref)
    await_exit(work)
