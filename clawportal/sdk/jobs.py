"""Background work: functions that make one pass over what is due and may be called twice, named by a `Job` of the feature.

    def scan_once(portal: Portal) -> None:
        for note in due_notes(limit=100):
            with transaction():
                scan(note)

A pass runs inside an app context; what it raises is logged with the name of the job, and the next pass comes all the same. Jobs
on the `leader` run in one process of all that share a database, those on `each` in every process that does background work.
"""

from __future__ import annotations

from clawportal.contracts.features import Job
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Retry

__all__ = [
    "GiveUp",
    "Job",
    "Portal",
    "Retry",
]
