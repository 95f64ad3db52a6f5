"""The next step of a pass: `decide(observed, wanted, now)`, a pure function. It reads no row, no clock and no cluster.

What the portal made and what somebody else made are two strategies of one interface; both end things in the same way.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from clawportal.services.reconcile.facts import Observation, Ownership, Step, Wanted
from clawportal.services.reconcile.managed import Managed
from clawportal.services.reconcile.unmanaged import Adopted, Observed


class Strategy(Protocol):
    def decide(self, observed: Observation, wanted: Wanted, now: datetime) -> Step:
        """The next step, the same for the same arguments. Steps that only learn are followed by another decision."""


STRATEGIES: dict[Ownership, Strategy] = {
    Ownership.OURS: Managed(), Ownership.ADOPTED: Adopted(), Ownership.OBSERVED: Observed(),
}  # fmt: skip


def decide(observed: Observation, wanted: Wanted, now: datetime) -> Step:
    return STRATEGIES[wanted.ownership].decide(observed, wanted, now)
