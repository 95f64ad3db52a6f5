"""Asks the claw whether it accepts a new configuration, before anything is ended or started for it."""

from __future__ import annotations

from clawportal.errors import GiveUp
from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.services.reconcile import planning
from clawportal.services.reconcile.facts import Config
from clawportal.services.reconcile.passes import Pass


def of_running(work: Pass) -> None:
    """What it refuses does not cost the one that runs."""
    try:
        _ask(work)
    except GiveUp as verdict:
        work.learnt.config, work.learnt.refusal = Config.REFUSED, verdict


def of_start(work: Pass) -> None:
    """What it refuses fails the start."""
    work.write(Phase.CREATING, reason=_n("Checking"), message=_m("The claw checks its configuration."))
    _ask(work)


def _ask(work: Pass) -> None:
    if check := work.planned.workload.check:
        work.hold(check.timeout)
        planning.check(work.portal, work.row, work.runtime, work.planned)
    work.learnt.config = Config.ACCEPTED
