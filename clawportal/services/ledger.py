"""The feed of facts: `record` appends in the transaction of the change, `feed` reads on from a cursor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select

from clawportal import clock
from clawportal.db import changed_rows, db, transaction
from clawportal.events import Event
from clawportal.models import EventRow, IdempotencyKey, Instance
from clawportal.permissions import Actor, Permission
from clawportal.services import access, audit
from clawportal.services.portal import Portal


def record(
    portal: Portal,
    kind: str,
    *,
    actor: Actor,
    message: str,
    instance: Instance | None = None,
    tenant_id: str | None = None,
    level: str = "info",
    reason: str = "",
    data: Mapping[str, Any] | None = None,
) -> EventRow:
    """Append a fact inside the running transaction; listeners and plugins hear of it after the commit.

    What somebody brought about becomes an entry of the audit with it.
    """
    with transaction() as after_commit:
        row = EventRow(
            kind=kind,
            at=clock.now(),
            tenant_id=instance.tenant_id if instance else tenant_id,
            instance_id=instance.id if instance else None,
            level=level,
            reason=reason,
            message=message,
            actor=actor.name,
            data=dict(data or {}),
        )
        db.session.add(row)
        db.session.flush()
        audit.told(actor, kind, message=message, instance=instance, tenant_id=tenant_id, data=data or {})
        after_commit(portal.publish, as_event(row))
    return row


def as_event(row: EventRow) -> Event:
    return Event(
        row.seq, row.kind, row.at, row.tenant_id, row.instance_id, row.level, row.reason, row.message, row.actor, row.data
    )


def feed(
    actor: Actor,
    *,
    instance_id: str | None = None,
    after: int | None = None,
    before: int | None = None,
    levels: tuple[str, ...] = (),
    limit: int = 50,
    oldest_first: bool = False,
) -> list[EventRow]:
    """Newest first; `after` and `before` are positions in the feed. A follower asks `after` its last one, oldest first."""
    query = select(EventRow).where(access.visible(EventRow, actor))
    if instance_id:
        access.get_or_404(Instance, instance_id, actor, Permission.INSTANCE_READ)
        query = query.where(EventRow.instance_id == instance_id)
    if after is not None:
        query = query.where(EventRow.seq > after)
    if before is not None:
        query = query.where(EventRow.seq < before)
    if levels:
        query = query.where(EventRow.level.in_(levels))
    order = EventRow.seq.asc() if oldest_first else EventRow.seq.desc()
    return list(db.session.scalars(query.order_by(order).limit(min(limit, 500))))


def forget_old(portal: Portal) -> int:
    """Retention: drop events older than the setting says, and idempotency keys of yesterday. Returns how many events went."""
    with transaction():
        limit = clock.now() - timedelta(days=portal.settings.event_days)
        gone = changed_rows(delete(EventRow).where(EventRow.at < limit))
        db.session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < clock.now() - timedelta(days=1)))
    return gone
