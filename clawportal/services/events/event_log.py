"""The feed of facts: `record` appends in the transaction of the change, `feed` reads on from a cursor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, text

from clawportal import clock
from clawportal.contracts.core_permissions import INSTANCE_READ
from clawportal.contracts.events import Event
from clawportal.contracts.permissions import Actor, Permission
from clawportal.db import changed_rows, db, scratch, transaction
from clawportal.engine.portal import Portal
from clawportal.models import EventRow, IdempotencyKey, Instance
from clawportal.services.audit import trail
from clawportal.services.rights import access


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
    project_id: str | None = None,
    person_id: str | None = None,
    read: Permission | None = None,
) -> EventRow:
    """Append a fact inside the running transaction; listeners and plugins hear of it after the commit.

    What somebody brought about becomes an entry of the audit with it. What it is about is the instance, or the id that `data`
    has for the noun of `kind`. `read`: a right that readers need beside the one to read events, where the kind declares none.
    """
    declared = portal.registry.event_kind(kind)
    read = (declared.read if declared else None) or read
    about, concerns = dict(data or {}), instance.project_id if instance else project_id
    noun = kind.partition(".")[0]
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
            data=about,
            project_id=concerns,
            person_id=person_id,
            subject_type=noun,
            subject_id=str(about.get(f"{noun}_id") or (instance.id if instance and noun == "instance" else "")),
            read_permission=str(read or ""),
        )
        _announce()
        db.session.add(row)
        db.session.flush()
        place = trail.Place(tenant_id, concerns, person_id, row.read_permission)
        if kind not in portal.registry.unaudited:
            trail.told(actor, kind, message=message, instance=instance, place=place, data=about)
        after_commit(portal.publish, as_event(row))
    return row


_MARK = 0x636C << 48
"""Begins the numbers of our advisory locks; the rest of each is a position in the feed."""
_ANNOUNCE = text(
    "SELECT pg_advisory_xact_lock_shared(:mark + last_value - CASE WHEN is_called THEN 0 ELSE 1 END) FROM event_seq_seq"
)
_LAST = {
    "postgresql": text("SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM event_seq_seq"),
    "sqlite": text("SELECT seq FROM sqlite_sequence WHERE name = 'event'"),
}
_OPEN = text(
    "SELECT min((classid::bigint << 32 | objid::bigint) - :mark) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
    "AND classid::bigint >> 16 = :start AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _announce() -> None:
    """On PostgreSQL positions are given before the commit: say, until then, that what is given from here on is still open.

    A lock that all may hold, so that nobody waits for anybody; it ends with the transaction. SQLite has one writer at a time.
    """
    if db.engine.dialect.name == "postgresql" and not scratch().get("feed"):
        db.session.execute(_ANNOUNCE, {"mark": _MARK})
        scratch()["feed"] = True


def _last() -> int:
    """The position that was given last. It never falls, whatever is deleted."""
    return db.session.scalar(_LAST[db.engine.dialect.name]) or 0


def settled() -> int:
    """The position up to which nothing can appear any more: a follower that went past it would miss what is still open.

    The last position is read first. Whoever announces after that is given later ones; whoever ended before the look at the
    locks has committed, or never will.
    """
    last = _last()
    if db.engine.dialect.name != "postgresql":
        return last
    still_open: int | None = db.session.scalar(_OPEN, {"mark": _MARK, "start": _MARK >> 48})
    return last if still_open is None else min(last, still_open)


def as_event(row: EventRow) -> Event:
    return Event(
        row.seq, row.kind, row.at, row.tenant_id, row.instance_id, row.level, row.reason, row.message, row.actor, row.data,
        project_id=row.project_id, person_id=row.person_id, subject_type=row.subject_type, subject_id=row.subject_id,
        read_permission=row.read_permission,
    )  # fmt: skip


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
    """Newest first; `after` and `before` are positions in the feed. A follower asks `after` its last one, oldest first.

    What is told `after` a position ends before the first one that is still open, so that a follower misses nothing.
    """
    query = select(EventRow).where(access.visible(EventRow, actor))
    if instance_id:
        access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
        query = query.where(EventRow.instance_id == instance_id)
    if after is not None:
        query = query.where(EventRow.seq > after, EventRow.seq <= settled())
    if before is not None:
        query = query.where(EventRow.seq < before)
    if levels:
        query = query.where(EventRow.level.in_(levels))
    order = EventRow.seq.asc() if oldest_first else EventRow.seq.desc()
    return list(db.session.scalars(query.order_by(order).limit(min(limit, 500))))


def number_so_far(_portal: Portal) -> list[tuple[Mapping[str, str], float]]:
    """For `/metrics`: the position that was given last, which counts those that are forgotten, too."""
    return [({}, _last())]


def forget_old(portal: Portal) -> int:
    """Retention: drop events older than the setting says, and idempotency keys of yesterday. Returns how many events went."""
    with transaction():
        limit = clock.now() - timedelta(days=portal.settings.event_days)
        gone = changed_rows(delete(EventRow).where(EventRow.at < limit))
        db.session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < clock.now() - timedelta(days=1)))
    return gone
