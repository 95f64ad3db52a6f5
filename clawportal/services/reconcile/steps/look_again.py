"""What was applied is not alive yet, or not any more: the next pass says which."""

from __future__ import annotations

from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    work.rest(after=0.0)
