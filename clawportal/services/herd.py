"""Who may start now: each cluster has so many places for claws that are starting, and whoever waits is called in order.

A place is given in one transaction under the cluster's lock, so that any number of workers and replicas together never give
more than there are. It is given back when the claw runs, fails or waits for something else. First come those that somebody
asked for, then by priority, then by how long they wait.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal, or_, select

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.lifecycle import Desired, Phase
from clawportal.models import Cluster, Instance
from clawportal.services import clusters
from clawportal.services.dispatch import ASKED
from clawportal.services.portal import Portal

WAITING = "WaitingForTurn"
LONGEST_PAUSE = 20.0
"""Seconds after which one that waits looks by itself; usually it is called earlier."""
SPREAD = 5.0
"""Seconds over which the first looks of a whole cluster are spread at most."""


@dataclass(frozen=True)
class Turn:
    given: bool
    ahead: int = 0
    """How many have to start before."""


def limit_of(portal: Portal, cluster: Cluster) -> int:
    return clusters.policy_of(cluster).max_concurrent_starts or portal.settings.concurrent_starts


def take(portal: Portal, instance: Instance, *, fresh: bool) -> Turn:
    """Give the instance one of its cluster's places, if it is its turn. The caller holds its lease."""
    with transaction():
        clusters.lock(instance.cluster_id)
        row = db.session.scalars(
            select(Instance).where(Instance.id == instance.id).execution_options(populate_existing=True).with_for_update()
        ).one()
        if row.turn_at is not None:
            return Turn(True)
        free = limit_of(portal, db.session.get_one(Cluster, row.cluster_id)) - _held(row.cluster_id)
        ahead = _ahead(row, fresh)
        if ahead >= free:
            return Turn(False, ahead - max(free, 0) + 1)
        row.turn_at = clock.now()
    return Turn(True)


def _held(cluster_id: str) -> int:
    query = select(func.count()).select_from(Instance).where(
        Instance.cluster_id == cluster_id, Instance.turn_at.is_not(None), Instance.destroyed_at.is_(None)
    )  # fmt: skip
    return db.session.scalar(query) or 0


_WAITS = (
    Instance.reason == WAITING, Instance.phase == Phase.CREATING, Instance.desired == Desired.RUNNING, Instance.turn_at.is_(None),
    Instance.destroyed_at.is_(None),
)  # fmt: skip
_FRESH: ColumnElement[int] = case((Instance.generation != Instance.observed_generation, 1), else_=0)


def _ahead(row: Instance, fresh: bool) -> int:
    """How many others wait that come first."""
    mine = (literal(int(fresh)), literal(row.priority))
    since = row.phase_since if (row.phase, row.reason) == (Phase.CREATING, WAITING) else clock.now()
    earlier = or_(Instance.phase_since < since, (Instance.phase_since == since) & (Instance.id < row.id))
    first = or_(
        mine[0] < _FRESH,
        (mine[0] == _FRESH) & or_(Instance.priority > mine[1], (Instance.priority == mine[1]) & earlier),
    )
    query = select(func.count()).select_from(Instance).where(
        Instance.cluster_id == row.cluster_id, Instance.id != row.id, *_WAITS, first
    )  # fmt: skip
    return db.session.scalar(query) or 0


def call_next(portal: Portal, cluster_id: str) -> None:
    """A place became free: hint those whose turn is next."""
    order: Any = (_FRESH.desc(), Instance.priority.desc(), Instance.phase_since, Instance.id)
    query = select(Instance.id).where(Instance.cluster_id == cluster_id, *_WAITS).order_by(*order).limit(2)
    for instance_id in db.session.scalars(query):
        portal.dispatcher.hint(instance_id, rank=ASKED, cluster=cluster_id)


def pause(ahead: int) -> float:
    """How long one waits before it looks by itself: the more are ahead, the longer; a long queue must not cost much."""
    return float(min(LONGEST_PAUSE, 0.3 + 0.1 * ahead * (1 + ahead / 20))) * (1 + random.random() * 0.3)


def spread(number: int) -> float:
    """A delay for the first look at one of so many: a returning cluster is not asked for all of them in one moment."""
    return random.random() * min(SPREAD, 0.01 * number)
