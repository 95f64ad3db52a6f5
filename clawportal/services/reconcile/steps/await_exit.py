"""Waits a moment for something to end: most claws do at once, and a pass is cheaper than two."""

from __future__ import annotations

import time

from clawportal.services.reconcile.facts import HELD, Config
from clawportal.services.reconcile.passes import QUICK_LOOK, Pass


def await_exit(work: Pass) -> None:
    """What is known of the configuration is forgotten once it has ended: it is planned anew for a start."""
    end, pause = time.monotonic() + QUICK_LOOK, 0.02
    while time.monotonic() < end:
        work.learnt.seen = work.runtime.inspect(work.ref)
        if work.seen.state not in HELD:
            work.learnt.just_ended = True
            work.learnt.planned, work.learnt.config, work.learnt.change = None, Config.UNKNOWN, None
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
    work.rest(after=0.4)
