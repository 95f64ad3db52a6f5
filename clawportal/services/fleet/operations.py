"""Operations: made by use cases, moved by workers, shown as progress bars; cancelled and retried by people."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, update

from clawportal import clock, paging
from clawportal.contracts.core_permissions import INSTANCE_READ, OPERATION_CONTROL, OPERATION_READ
from clawportal.contracts.permissions import SYSTEM, Actor, Grant, Permission
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict
from clawportal.messages import Message, _m, _n, clipped
from clawportal.models import Instance, Operation
from clawportal.models.operations import CANCELLED, FAILED, OPEN_STATES, QUEUED, RUNNING, SUCCEEDED
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.audit import trail
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.fleet import copy_rights
from clawportal.services.rights import access

INSTALL = "artifact.install"
COPY_FILES = "instance.copy_files"
BY_WORKERS = (INSTALL, COPY_FILES)
"""What workers carry out by a lease; everything else follows an instance."""
LEASE = timedelta(seconds=60)
TITLES = {
    "instance.create": _m("Create"),
    "instance.start": _m("Start"),
    "instance.stop": _m("Stop"),
    "instance.restart": _m("Restart"),
    "instance.kill": _m("Kill"),
    "instance.delete": _m("Delete"),
    "instance.update": _m("Change configuration"),
    "instance.import": _m("Import"),
    "instance.adopt": _m("Adopt"),
    COPY_FILES: _m("Copy files"),
    INSTALL: _m("Install"),
}
_FINISHED = {
    "instance.create": _n("Create %(name)s: %(result)s"), "instance.start": _n("Start %(name)s: %(result)s"),
    "instance.stop": _n("Stop %(name)s: %(result)s"), "instance.restart": _n("Restart %(name)s: %(result)s"),
    "instance.kill": _n("Kill %(name)s: %(result)s"), "instance.delete": _n("Delete %(name)s: %(result)s"),
    "instance.update": _n("Change configuration %(name)s: %(result)s"), "instance.import": _n("Import %(name)s: %(result)s"),
    "instance.adopt": _n("Adopt %(name)s: %(result)s"), INSTALL: _n("Install %(name)s: %(result)s"),
    COPY_FILES: _n("Copy files to %(name)s: %(result)s"),
}  # fmt: skip
_ANY_FINISHED = _n("%(name)s: %(result)s")
_ENDS = {SUCCEEDED: _m("succeeded"), FAILED: _m("failed"), CANCELLED: _m("cancelled")}


def open_for_instance(actor: Actor, kind: str, instance: Instance) -> Operation:
    """Record that a change of an instance is under way; the reconciler finishes it with the instance's generation."""
    with transaction():
        operation = Operation(
            kind=kind,
            tenant_id=instance.tenant_id,
            project_id=instance.project_id,
            instance_id=instance.id,
            cluster_id=instance.cluster_id,
            subject=instance.name,
            subject_type="instance",
            subject_id=instance.id,
            generation=instance.generation,
            created_by=actor.name,
            due_at=None,
        )
        operation.say(_m("Waiting to be taken up"))
        db.session.add(operation)
    return operation


def ensure_install(
    portal: Portal, cluster_id: str, key: str, title: str, payload: dict[str, Any], looked_at: datetime
) -> Operation:
    """The one open operation that installs something in a cluster; a new one where none is open.

    One that has succeeded since the caller saw at `looked_at` that it was missing is that one, too.
    """
    dedup = f"artifact:{cluster_id}:{key}"
    with transaction():
        clusters.lock(cluster_id)
        done = and_(Operation.state == SUCCEEDED, Operation.finished_at >= looked_at)
        found = db.session.scalar(
            select(Operation).where(Operation.dedup == dedup, or_(Operation.state.in_(OPEN_STATES), done)).limit(1)
        )
        if found is None:
            found = Operation(
                kind=INSTALL,
                cluster_id=cluster_id,
                subject=title,
                subject_type="cluster",
                subject_id=cluster_id,
                dedup=dedup,
                payload=payload,
                created_by=SYSTEM.name,
            )
            db.session.add(found)
            db.session.flush()
            data = {"operation_id": found.id}
            event_log.record(
                portal, "operation.queued", actor=SYSTEM, message=_m("%(title)s will be installed.", title=title), data=data
            )
    return found


def open_install(cluster_id: str, key: str) -> bool:
    query = select(Operation.id).where(Operation.dedup == f"artifact:{cluster_id}:{key}", Operation.state.in_(OPEN_STATES))
    return db.session.scalar(query.limit(1)) is not None


def last_install(cluster_id: str, key: str) -> Operation | None:
    query = select(Operation).where(Operation.dedup == f"artifact:{cluster_id}:{key}")
    return db.session.scalar(query.order_by(Operation.created_at.desc(), Operation.id.desc()).limit(1))


def open_copy(actor: Actor, instance: Instance, payload: dict[str, Any]) -> Operation:
    """Record that files are to be copied to an instance; a worker takes it up."""
    with transaction():
        operation = Operation(
            kind=COPY_FILES,
            tenant_id=instance.tenant_id,
            project_id=instance.project_id,
            instance_id=instance.id,
            cluster_id=instance.cluster_id,
            subject=instance.name,
            subject_type="instance",
            subject_id=instance.id,
            payload=payload,
            created_by=actor.name,
        )
        operation.say(_m("Waiting to be taken up"))
        db.session.add(operation)
    return operation


def claim(portal: Portal, kind: str, limit: int) -> list[str]:
    """Take queued work of a kind, and running work whose worker is gone, for this process."""
    now = clock.now()
    waiting = (
        Operation.kind == kind,
        or_(Operation.state == QUEUED, (Operation.state == RUNNING) & (Operation.lease_until < now)),
        or_(Operation.due_at.is_(None), Operation.due_at <= now),
    )
    if db.session.scalar(select(Operation.id).where(*waiting).limit(1)) is None:
        return []  # asked every second: nearly always there is nothing, and reading locks nobody out
    with transaction():
        order = Operation.due_at.asc().nulls_first(), Operation.created_at  # those that look again and again come last
        query = select(Operation).where(*waiting).order_by(*order).limit(limit)
        rows = list(db.session.scalars(query.with_for_update(skip_locked=True)))
        for row in rows:
            row.state, row.started_at = RUNNING, row.started_at or now
            row.lease_holder, row.lease_until = portal.holder, now + LEASE
            row.attempts += 1
            row.say(_m("Starting") if row.attempts == 1 else _m("Starting again after an interruption"))
    return [row.id for row in rows]


def hold(portal: Portal, operation_id: str, lease: timedelta = LEASE) -> bool:
    """Keep it for so long from now. False where another has taken it over."""
    with transaction():
        row = db.session.get(Operation, operation_id, with_for_update=True)
        if row is None or row.lease_holder != portal.holder or row.state != RUNNING:
            return False
        row.lease_until = clock.now() + lease
        return True


def report(portal: Portal, operation_id: str, progress: float | None, message: str) -> bool:
    """Progress (0..1) of a running operation. False tells the worker to end: cancelled, or taken over by another."""
    with transaction() as after_commit:
        row = db.session.get(Operation, operation_id)
        if row is None or row.lease_holder != portal.holder or row.state != RUNNING:
            return False
        row.progress = None if progress is None else round(100 * min(max(progress, 0.0), 1.0), 1)
        row.say(clipped(message, 500))
        row.lease_until = clock.now() + LEASE
        after_commit(_tell, portal, row)
        return not row.cancel_requested


def finish(
    portal: Portal, operation_id: str, state: str, *, message: str = "", error: str = "", lines: Iterable[str] = ()
) -> None:
    """End an operation; not one that another worker has taken over meanwhile."""
    with transaction():
        row = db.session.get(Operation, operation_id, with_for_update=True)
        if row is None or row.state not in OPEN_STATES or row.lease_holder not in ("", portal.holder):
            return
        _close(portal, row, state, message=message, error=error, lines=lines)


def retry_later(portal: Portal, operation_id: str, delay: timedelta, reason: str, *, tried: bool = True) -> None:
    """Back into the queue; the reason is shown meanwhile. `tried`: False where it only waits, which counts as no attempt."""
    with transaction():
        row = db.session.get_one(Operation, operation_id, with_for_update=True)
        if row.state != RUNNING or row.lease_holder != portal.holder:
            return
        if row.cancel_requested and row.kind == INSTALL:
            return _close(portal, row, CANCELLED, message=_m("Cancelled. %(reason)s", reason=reason))
        row.state, row.due_at = QUEUED, clock.now() + (timedelta() if row.cancel_requested else delay)
        row.attempts -= not tried
        row.say(reason)
        row.lease_holder, row.lease_until = "", None


def _close(portal: Portal, row: Operation, state: str, *, message: str, error: str = "", lines: Iterable[str] = ()) -> None:
    row.say(error or message)
    row.state, row.finished_at, row.message, row.error = state, clock.now(), message, error
    row.lines, row.lease_holder, row.lease_until, row.due_at = list(lines)[-200:], "", None, None
    row.progress = 100.0 if state == SUCCEEDED else row.progress
    level = {FAILED: "error", CANCELLED: "warning"}.get(state, "info")
    instance = db.session.get(Instance, row.instance_id) if row.instance_id else None
    event_log.record(
        portal,
        "operation.finished",
        actor=SYSTEM,
        instance=instance,
        level=level,
        reason=state,
        message=Message(
            _FINISHED.get(row.kind, _ANY_FINISHED), {"name": row.subject, "result": error or message or _ENDS[state]}
        ),
        data={"operation_id": row.id, "kind": row.kind, "state": state, "asked_by": row.created_by},
    )


def close_for_instance(
    portal: Portal, instance: Instance, generation: int, state: str, *, message: str, error: str = "", lines: Iterable[str] = ()
) -> None:
    """End the open operations of an instance up to `generation`: the newest as told, older ones as replaced."""
    with transaction():
        rows = db.session.scalars(
            select(Operation).where(
                Operation.instance_id == instance.id,
                Operation.state.in_(OPEN_STATES),
                Operation.generation <= generation,
                Operation.kind.not_in(BY_WORKERS),
            )
        )
        for row in list(rows):
            if row.generation == generation:
                _close(portal, row, state, message=message, error=error, lines=lines)
            else:
                _close(portal, row, CANCELLED, message=_m("Replaced by a later request"))


def advance_for_instance(portal: Portal, instance: Instance, progress: float, message: str) -> None:
    """Show how far the open operations of an instance are (0..1)."""
    with transaction() as after_commit:
        following = Operation.kind.not_in(BY_WORKERS)
        query = select(Operation).where(Operation.instance_id == instance.id, Operation.state.in_(OPEN_STATES), following)
        for row in db.session.scalars(query):
            if (row.state, row.progress, row.message) == (RUNNING, round(100 * progress, 1), clipped(message, 500)):
                continue
            row.state, row.started_at = RUNNING, row.started_at or clock.now()
            row.progress = round(100 * progress, 1)
            row.say(clipped(message, 500))
            after_commit(_tell, portal, row)


def _tell(portal: Portal, row: Operation) -> None:
    from clawportal.contracts.events import Event

    portal.publish(
        Event(0, "operation.progressed", clock.now(), row.tenant_id, row.instance_id, "info", "", row.message, SYSTEM.name,
              {"operation_id": row.id})
    )  # fmt: skip


def listing(
    actor: Actor, *, states: tuple[str, ...] = (), instance_id: str | None = None, kinds: tuple[str, ...] = (),
    which: Which = FIRST_PAGE,
) -> Slice[Operation]:  # fmt: skip
    """Newest first. Installs belong to no tenant and are shown to everybody who may see operations anywhere."""
    where: list[ColumnElement[bool]] = [_visible(actor)]
    if instance_id:
        access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
        where.append(or_(Operation.instance_id == instance_id, Operation.id.in_(_installs_of(instance_id))))
    if states:
        where.append(Operation.state.in_(states))
    if kinds:
        where.append(Operation.kind.in_(kinds))
    total = db.session.scalar(select(func.count()).select_from(Operation).where(*where)) or 0
    return paging.page(
        select(Operation).where(*where), _NEWEST, which, about=("operations", states, instance_id, kinds), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    )  # fmt: skip


_NEWEST = paging.Order(
    (Operation.created_at.expression, Operation.id.expression), (datetime, str), lambda row: (row.created_at, row.id), True
)


def open_count(actor: Actor) -> int:
    """How many are not finished; every page shows that."""
    return db.session.scalar(_open_count(actor.id, actor.grants)) or 0


@functools.lru_cache(maxsize=256)
def _open_count(actor_id: str, grants: tuple[Grant, ...]) -> Select[Any]:
    """Kept, because making a statement takes longer than running it."""
    visible = _visible(Actor(actor_id, "", grants=grants))
    return select(func.count()).select_from(Operation).where(visible, Operation.state.in_(OPEN_STATES))


def _visible(actor: Actor) -> ColumnElement[bool]:
    condition = access.visible(Operation, actor)
    if actor.has(OPERATION_READ):
        condition = or_(condition, Operation.kind == INSTALL)
    return condition


def _installs_of(instance_id: str) -> list[str]:
    """Installs that an instance waits for or waited for: those of its adapter's artifacts in its cluster."""
    instance = db.session.get(Instance, instance_id)
    if instance is None:
        return []
    query = select(Operation.id, Operation.payload).where(
        Operation.kind == INSTALL, Operation.cluster_id == instance.cluster_id, Operation.created_at >= instance.created_at
    )
    return [row.id for row in db.session.execute(query) if row.payload.get("adapter") == instance.adapter]


def get(actor: Actor, operation_id: str, permission: Permission = OPERATION_READ) -> Operation:
    row = db.session.get(Operation, operation_id)
    if row is not None and row.kind == INSTALL and actor.has(permission):
        return row
    return access.get_or_404(Operation, operation_id, actor, permission)


def cancel(portal: Portal, actor: Actor, operation_id: str) -> Operation:
    """Ask an install to end. What follows an instance is taken back by asking for something else (stop, delete)."""
    with transaction() as after_commit:
        row = get(actor, operation_id, OPERATION_CONTROL)
        db.session.refresh(row, with_for_update=True)
        if row.state not in OPEN_STATES:
            raise Conflict(_m("This operation has already ended: %(state)s.", state=_ENDS[row.state]))
        if row.kind not in BY_WORKERS:
            raise Conflict(_m("This follows an instance: stop or delete the instance instead."))
        row.cancel_requested = True
        event_log.record(
            portal,
            "operation.cancel_requested",
            actor=actor,
            message=_m("%(subject)s: cancel was asked for.", subject=row.subject),
        )
        if row.state == QUEUED and row.kind == INSTALL:
            _close(portal, row, CANCELLED, message=_m("Cancelled before it began"))
        elif row.state == QUEUED:
            row.due_at = clock.now()  # its worker puts back what was done for it
        after_commit(_tell, portal, row)
    return row


def retry(portal: Portal, actor: Actor, operation_id: str) -> Operation:
    """Begin a failed or cancelled install or copy again as a new operation; a copy with the rights of who asks now."""
    with transaction():
        row = get(actor, operation_id, OPERATION_CONTROL)
        if row.state not in (FAILED, CANCELLED):
            raise Conflict(_m("Only an operation that failed or was cancelled can be tried again."))
        if row.kind not in BY_WORKERS:
            raise Conflict(_m("This followed an instance: start the instance again instead."))
        words = _m("%(subject)s: another try was asked for.", subject=row.subject)
        trail.note(trail.Pending("operation.retry", actor, "operation", row.id, row.subject, summary=words))
        if row.kind == COPY_FILES:
            return open_copy(actor, *copy_rights.again(actor, row))
        key = row.dedup.split(":", 2)[2]
        return ensure_install(portal, row.cluster_id or "", key, row.subject, row.payload, clock.now())


def release_all(portal: Portal) -> None:
    """After a restart with the data folder to ourselves: whoever held work is gone, so it can go on at once."""
    with transaction():
        db.session.execute(
            update(Operation).where(Operation.state == RUNNING, Operation.kind.in_(BY_WORKERS)).values(lease_until=clock.now())
        )


def shift_times(by: timedelta) -> None:
    """The clock jumped: move along what the work of workers waits for."""
    with transaction():
        for row in db.session.scalars(select(Operation).where(Operation.kind.in_(BY_WORKERS), Operation.state.in_(OPEN_STATES))):
            row.due_at = row.due_at and row.due_at + by
            row.lease_until = row.lease_until and row.lease_until + by


def forget_old(portal: Portal) -> int:
    with transaction():
        limit = clock.now() - timedelta(days=portal.settings.event_days)
        return changed_rows(delete(Operation).where(Operation.finished_at < limit))
