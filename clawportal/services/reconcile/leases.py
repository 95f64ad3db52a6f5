"""Which instances are due, and who works on them: one pass at a time holds an instance, by a lease that ends by itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from clawportal import clock
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.dispatcher import ASKED, rank_of
from clawportal.engine.portal import Portal
from clawportal.models import Cluster, Instance

LEASE = timedelta(seconds=90)


class LeaseLost(Exception):
    """Another worker has the instance now, or it is gone."""


def claim(portal: Portal, instance_id: str) -> str | None:
    """Take the instance for one pass. Returns the name it was taken by, None when somebody else works on it or it is gone.

    Each pass has a name of its own: with that of the process alone, a pass that outlived its lease would not notice.
    """
    now = clock.now()
    holder = f"{portal.holder}:{secrets.token_hex(4)}"
    with transaction():
        taken = changed_rows(
            update(Instance)
            .where(
                Instance.id == instance_id,
                Instance.destroyed_at.is_(None),
                or_(Instance.lease_until.is_(None), Instance.lease_until < now),
            )
            # due again when the lease ends: if this worker vanishes, the next resync takes the instance up
            .values(lease_holder=holder, lease_until=now + LEASE, due_at=now + LEASE)
            .execution_options(synchronize_session=False)
        )
    return holder if taken else None


@dataclass(frozen=True)
class Whereabouts:
    cluster_id: str
    tenant_id: str
    paused: bool


def whereabouts(instance_id: str) -> Whereabouts | None:
    """Where an instance is. None when there is nothing left to do for it, ever."""
    query = (
        select(Instance.cluster_id, Instance.tenant_id, Cluster.paused_at)
        .join(Cluster, Cluster.id == Instance.cluster_id)
        .where(Instance.id == instance_id, Instance.destroyed_at.is_(None))
    )
    row = db.session.execute(query).one_or_none()
    return Whereabouts(row.cluster_id, row.tenant_id, row.paused_at is not None) if row else None


@dataclass(frozen=True)
class Due:
    instance_id: str
    cluster_id: str
    tenant_id: str
    rank: int


def due(limit: int) -> list[Due]:
    """Instances whose time has come; with those whose worker vanished. First what was asked for, then by priority and age."""
    asked = Instance.generation != Instance.observed_generation
    query = (
        select(Instance.id, Instance.cluster_id, Instance.tenant_id, Instance.priority, asked.label("asked"))
        .join(Cluster, Cluster.id == Instance.cluster_id)
        .where(Instance.due_at <= clock.now(), Cluster.paused_at.is_(None))
        .order_by(asked.desc(), Instance.priority.desc(), Instance.due_at)
        .limit(limit)
    )
    return [
        Due(row.id, row.cluster_id, row.tenant_id, ASKED if row.asked else rank_of(row.priority))
        for row in db.session.execute(query)
    ]


def release_all(portal: Portal) -> None:
    """After a restart with the data folder to ourselves: all leases are of the dead, and everything is looked at once."""
    with transaction():
        db.session.execute(
            update(Instance).where(Instance.destroyed_at.is_(None)).values(lease_holder="", lease_until=None, due_at=clock.now())
        )


def release_of(holder: str) -> int:
    """What a process that is gone had taken is due at once, and not when its leases end. Returns how many there were.

    Should it only have slept, its passes notice with the next thing that they write.
    """
    with transaction():
        mine = Instance.lease_holder.startswith(f"{holder}:", autoescape=True)
        return changed_rows(
            update(Instance)
            .where(Instance.destroyed_at.is_(None), mine)
            .values(lease_holder="", lease_until=None, due_at=clock.now())
            .execution_options(synchronize_session=False)
        )


def shift_times(by: timedelta) -> int:
    """The clock jumped: move what is measured against it, so that no deadline passes or is put off by the jump alone."""
    columns = ("phase_deadline", "phase_since", "started_at", "not_before", "due_at", "lease_until")
    with transaction():
        rows = list(db.session.scalars(select(Instance).where(Instance.destroyed_at.is_(None))))
        for row in rows:
            for column in columns:
                value: datetime | None = getattr(row, column)
                if value is not None:
                    setattr(row, column, value + by)
    return len(rows)
