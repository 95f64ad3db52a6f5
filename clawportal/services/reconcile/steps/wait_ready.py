"""It runs, but does not say yet that it is well."""

from __future__ import annotations

from clawportal import clock
from clawportal.errors import GiveUp
from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.services.fleet import operations
from clawportal.services.reconcile.passes import Pass
from clawportal.services.reconcile.steps.last_words import last_words


def take(work: Pass) -> None:
    if work.row.phase != Phase.STARTING:
        work.write(Phase.STARTING, reason=_n("Starting"), message=_m("Waiting until the claw answers."))
    said = work.learnt.health.message if work.learnt.health else ""
    operations.advance_for_instance(work.portal, work.row, 0.85, said or _m("Waiting until the claw answers."))
    age = (clock.now() - work.row.phase_since).total_seconds()
    work.rest(after=0.25 if age < 5 else 1.0)


def fail(work: Pass) -> None:
    """It did not turn healthy before its deadline."""
    work.runtime.kill(work.ref)
    said = work.learnt.health.message if work.learnt.health else ""
    raise GiveUp(
        _n("StartTimedOut"),
        _m("The claw did not turn healthy in time: %(said)s", said=said or _m("it does not answer.")),
        _m("Read its log. If it only needs longer, start it again."),
        last_words(work),
    )
