"""Asks the cluster what is there."""

from __future__ import annotations

from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    work.learnt.seen = work.runtime.inspect(work.ref)
