"""Who may start now: each cluster has so many places for claws that are starting, and whoever waits is called in order.

A place is given in one transaction under the cluster's lock, so that any number of workers and replicas together never give
more than there are. It is given back when the claw runs, fails or waits for something else. First come those that somebody
asked for, then by priority, then by how long they wait; between tenants, whoever has the fewest places.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.engine.dispatcher import ASKED
from clawportal.engine.portal import Portal
from clawportal.lifecycle import Desired, Phase
from clawportal.models import Cluster, Instance
from clawportal.services.clusters import clusters
from clawportal.services.reconcile.facts import WAITING

LONGEST_PAUSE = 20.0
"""Seconds after which one that waits looks by itself; usually it is called earlier."""
CALLED = 20
"""How many are told at most that a place became free."""
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
        limit = limit_of(portal, db.session.get_one(Cluster, row.cluster_id))
        others = _queues(row, fresh)
        turn = allowed(others.pop(row.tenant_id, Queue(0, 0)), others, limit, shared=portal.dispatcher.shared)
        if turn.given:
            row.turn_at = clock.now()
    return turn


_WAITS = (
    Instance.reason == WAITING, Instance.phase == Phase.CREATING, Instance.desired == Desired.RUNNING, Instance.turn_at.is_(None),
    Instance.destroyed_at.is_(None),
)  # fmt: skip
_FRESH: ColumnElement[int] = case((Instance.generation != Instance.observed_generation, 1), else_=0)


@dataclass(frozen=True)
class Queue:
    """Of one tenant in one cluster."""

    held: int
    """Places that it has."""
    waiting: int
    leads: bool = False
    """Whether one of those that wait is to come before the one that asks, by asking, priority and time."""


def allowed(mine: Queue, others: Mapping[str, Queue], limit: int, *, shared: bool) -> Turn:
    """Whether one more of this tenant may start. `mine.waiting`: those of its own that come before.

    The fewer places a tenant has, the earlier it comes; and while there are several, the last quarter is for those with none.
    """
    level = mine.held + mine.waiting
    kept = max(1, limit // 4) if shared and limit > 1 and level else 0
    free = limit - mine.held - sum(other.held for other in others.values()) - kept
    before = sum(min(other.waiting, max(0, level - other.held) + other.leads) for other in others.values() if other.held <= level)
    ahead = mine.waiting + before
    return Turn(True) if ahead < free else Turn(False, ahead - max(free, 0) + 1)


def _queues(row: Instance, fresh: bool) -> dict[str, Queue]:
    """Of every tenant in the cluster that starts something or waits."""
    waits = and_(*_WAITS, Instance.id != row.id)
    first = _comes_before(row, fresh)
    query = (
        select(
            Instance.tenant_id,
            func.count(case((Instance.turn_at.is_not(None), 1))).label("held"),
            func.count(case((waits, 1))).label("waiting"),
            func.count(case((and_(waits, first), 1))).label("earlier"),
        )
        .where(
            Instance.cluster_id == row.cluster_id, Instance.destroyed_at.is_(None), or_(Instance.turn_at.is_not(None), waits)
        )
        .group_by(Instance.tenant_id)
    )  # fmt: skip
    return {
        found.tenant_id: Queue(
            found.held, found.earlier if found.tenant_id == row.tenant_id else found.waiting, found.earlier > 0
        )
        for found in db.session.execute(query)
    }


def _comes_before(row: Instance, fresh: bool) -> ColumnElement[bool]:
    mine = (literal(int(fresh)), literal(row.priority))
    since = row.phase_since if (row.phase, row.reason) == (Phase.CREATING, WAITING) else clock.now()
    earlier = or_(Instance.phase_since < since, (Instance.phase_since == since) & (Instance.id < row.id))
    return or_(
        mine[0] < _FRESH,
        (mine[0] == _FRESH) & or_(Instance.priority > mine[1], (Instance.priority == mine[1]) & earlier),
    )


def call_next(portal: Portal, cluster_id: str) -> None:
    """A place became free: hint those whose turn is next, two of each tenant, since which of these comes next is found there."""
    order: Any = (_FRESH.desc(), Instance.priority.desc(), Instance.phase_since, Instance.id)
    place = func.row_number().over(partition_by=Instance.tenant_id, order_by=order).label("place")
    waiting = select(Instance.id, Instance.tenant_id, place).where(Instance.cluster_id == cluster_id, *_WAITS).subquery()
    query = select(waiting.c.id, waiting.c.tenant_id).where(waiting.c.place <= 2).order_by(waiting.c.place).limit(CALLED)
    for row in db.session.execute(query):
        portal.dispatcher.hint(row.id, rank=ASKED, cluster=cluster_id, tenant=row.tenant_id)


def pause(ahead: int) -> float:
    """How long one waits before it looks by itself: the more are ahead, the longer; a long queue must not cost much."""
    return float(min(LONGEST_PAUSE, 0.3 + 0.1 * ahead * (1 + ahead / 20))) * (1 + random.random() * 0.3)


def spread(number: int) -> float:
    """A delay for the first look at one of so many: a returning cluster is not asked for all of them in one moment."""
    return random.random() * min(SPREAD, 0.01 * number)
