"""What an adapter thinks of a claw that runs."""

from __future__ import annotations

import logging
from dataclasses import replace

from clawportal.contracts.adapters import Adapter, Health, HealthState
from clawportal.contracts.workloads import Context
from clawportal.errors import Problem
from clawportal.messages import _m, _n, clipped
from clawportal.services.fleet import plans

log = logging.getLogger(__name__)

_LONGEST = 1_000
"""Of what is said about the health of a claw, characters."""


def ask(adapter: Adapter, io: plans.InstanceIO, context: Context) -> Health:
    """The adapter's opinion; a claw that does not answer is a finding, not an error."""
    try:
        health = adapter.health(io, context)
        # a claw's own words may stand in it, and each look is stored
        return replace(health, reason=health.reason[:80], message=clipped(health.message, _LONGEST))
    except (OSError, Problem) as error:
        return Health(HealthState.UNHEALTHY, _n("NoAnswer"), _m("The claw does not answer: %(error)s", error=error))
    except Exception as error:
        log.exception("adapter %s failed to ask for health", adapter.kind)
        return Health(
            HealthState.UNHEALTHY,
            _n("ProbeFailed"),
            _m("The adapter failed when it asked for health: %(error)s.", error=repr(error)),
        )
