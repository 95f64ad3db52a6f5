"""Starts are limited per cluster, so that a returning machine is not overrun."""

from __future__ import annotations

from datetime import timedelta

from clawportal import clock
from clawportal.db import db
from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.services.reconcile import start_limiter
from clawportal.services.reconcile.facts import WAITING
from clawportal.services.reconcile.passes import Pass

QUEUE_LIMIT = timedelta(hours=1)
"""How long a start may wait for its turn; others leave the queue by their own deadlines long before."""


def take(work: Pass) -> None:
    work.learnt.turn = start_limiter.take(work.portal, work.row, fresh=work.changed)
    work.row = db.session.get_one(Instance, work.row.id)


def wait(work: Pass) -> None:
    if work.row.phase != Phase.CREATING or work.row.reason != WAITING:
        work.write(Phase.CREATING, reason=WAITING, message=_m("Other claws are starting; this one waits for its turn."),
                   phase_deadline=clock.now() + QUEUE_LIMIT)  # fmt: skip
    ahead = work.learnt.turn.ahead if work.learnt.turn else 0
    work.rest(after=start_limiter.pause(ahead))
