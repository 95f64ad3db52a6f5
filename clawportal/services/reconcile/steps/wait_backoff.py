"""The next start after a crash waits."""

from __future__ import annotations

from clawportal import clock, lifecycle
from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    wait = (work.row.not_before - clock.now()).total_seconds() if work.row.not_before else 0.0
    work.rest(after=min(max(wait, 0.0), lifecycle.LONGEST_BACKOFF))  # never longer: the clock may be the one that is wrong
