"""It failed or completed and may stay so; only what was not known while its cluster was silent is corrected."""

from __future__ import annotations

from clawportal.lifecycle import Phase, Sync
from clawportal.services.reconcile.passes import Pass


def take(work: Pass) -> None:
    if work.row.sync == Sync.UNKNOWN:
        work.write(work.row.phase, sync=Sync.SYNCED if work.row.phase == Phase.STOPPED else Sync.OUT_OF_SYNC)
    work.rest()


def kill_remains(work: Pass) -> None:
    """Something of it runs still, such as the rest of a start that failed."""
    work.runtime.kill(work.ref)
    take(work)
