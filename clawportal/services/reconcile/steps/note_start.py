"""It was started, but the portal was killed before it could note so."""

from __future__ import annotations

from clawportal.lifecycle import Phase
from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    seen = work.seen
    work.write(Phase.STARTING, incarnation=seen.incarnation, applied_digest=seen.digest, started_at=seen.started_at)
