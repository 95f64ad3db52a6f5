"""The last lines that a claw said, without its secrets."""

from __future__ import annotations

from clawportal import redact
from clawportal.errors import Problem
from clawportal.services.reconcile import planning
from clawportal.services.reconcile.passes import Pass

MOST = 20


def last_words(work: Pass, *, previous: bool = False) -> tuple[str, ...]:
    """Oldest first; `previous`: of the run before the present one. None of them where they cannot be read."""
    try:
        found = work.runtime.logs(work.ref, tail=MOST, previous=previous)
        lines = [line.text for line in found if line is not None]
    except (OSError, Problem):
        return ()
    # they are kept in the open: a claw may have said its own token
    return redact.masked(lines, planning.secret_values(work.portal, work.row).values())
