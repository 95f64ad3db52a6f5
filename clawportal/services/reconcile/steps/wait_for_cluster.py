"""The cluster does not answer, or a part of it: nobody knows what is there."""

from __future__ import annotations

from clawportal.errors import Retry
from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    words = f"{work.seen.message} {work.seen.remedy}".strip() or "The cluster does not answer."
    raise Retry(work.seen.reason or "ClusterUnreachable", words)
