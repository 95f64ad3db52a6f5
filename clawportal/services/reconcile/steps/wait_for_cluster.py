"""The cluster does not answer, or a part of it: nobody knows what is there."""

from __future__ import annotations

from clawportal.errors import Retry
from clawportal.messages import _m, _n, joined
from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    words = joined(filter(None, (work.seen.message, work.seen.remedy))) or _m("The cluster does not answer.")
    raise Retry(work.seen.reason or _n("ClusterUnreachable"), words)
