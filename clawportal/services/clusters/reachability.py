"""What is known of a cluster: when it began or ceased to answer, why, and what it has. Written only when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from clawportal import clock
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.events import Event
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Capacity, Separation, SeparationLevel
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Retry
from clawportal.lifecycle import Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models import Cluster, Instance
from clawportal.models.clusters import HEALTHY, UNREACHABLE
from clawportal.services.events import event_log

NEXT = _m("Nothing is wrong with the claw as far as is known. It is looked at as soon as its cluster answers again.")
NOTABLE = 0.05
"""A change of what is free is written when it is at least this share of the whole."""


@dataclass(frozen=True)
class Facts:
    version: str
    capacity: Capacity | None
    capabilities: Sequence[str]
    separation: Separation | None = None
    """None: it could not say just now, and what is known stays."""


def unreachable(error: str) -> Retry:
    """What one says of a cluster that cannot be reached. Drivers often say in their own words that it does not answer."""
    if "does not answer" in error:
        return Retry(_n("ClusterUnreachable"), error)
    return Retry(_n("ClusterUnreachable"), _m("The cluster does not answer: %(error)s", error=error))


def answered(portal: Portal, cluster_id: str, facts: Facts | None = None) -> None:
    """It answers: close its breaker, and keep what it says of itself. Costs one read while nothing changes."""
    row = db.session.get(Cluster, cluster_id, populate_existing=True)
    if row is None or (row.health == HEALTHY and (facts is None or not _news(row, facts))):
        return
    with transaction():
        row = db.session.get(Cluster, cluster_id, with_for_update=True, populate_existing=True)
        if row is None:
            return
        before = row.health
        if facts is not None:
            row.version, row.capabilities = facts.version[:200], sorted(facts.capabilities)
            row.capacity = asdict(facts.capacity) if facts.capacity else None
            _separated(portal, row, facts.separation)
        row.last_contact_at = clock.now()
        if before != HEALTHY:
            row.health, row.health_reason, row.health_message, row.health_since = HEALTHY, "", "", clock.now()
        if before == UNREACHABLE:
            _tell(portal, row, "recovered", "info", _m("Cluster %(name)s answers again.", name=row.title or row.name))


def _separated(portal: Portal, row: Cluster, found: Separation | None) -> None:
    """What was measured; that nothing keeps claws apart any more, or again something does, is a fact of its own."""
    if found is None:
        return
    before, row.separation = row.separation, str(found.level)
    row.separation_findings = [asdict(item) for item in found.findings]
    none, name = SeparationLevel.NONE, row.title or row.name
    if row.separation != none:
        row.trusted_at, row.trusted_by = None, ""  # should the wall fall one day, somebody has to say so anew
    if row.separation == none and before != none:
        _tell(
            portal, row, "unseparated", "warning", _m("Cluster %(name)s: nothing keeps claws apart from each other.", name=name)
        )
    elif before == none and row.separation != none:
        _tell(portal, row, "separated", "info", _m("Cluster %(name)s: claws are kept apart from each other now.", name=name))


def _measured(row: Cluster, found: Separation | None) -> bool:
    """Whether what was measured is known already."""
    if found is None:
        return True
    return (row.separation, row.separation_findings) == (str(found.level), [asdict(item) for item in found.findings])


def _news(row: Cluster, facts: Facts) -> bool:
    if (row.version, sorted(row.capabilities or [])) != (facts.version[:200], sorted(facts.capabilities)):
        return True
    if not _measured(row, facts.separation):
        return True
    now, before = (asdict(facts.capacity) if facts.capacity else None), row.capacity
    if now is None or before is None:
        return now != before
    whole = {"memory_available": "memory_bytes", "disk_available": "disk_bytes"}
    return any(
        abs(value - before.get(name, 0)) > NOTABLE * (now[whole[name]] if name in whole else 0) for name, value in now.items()
    )


def silent(portal: Portal, cluster_id: str, reason: str, message: str, last_contact: datetime | None) -> bool:
    """It does not answer: open its breaker, and say of its claws that nobody knows. Whether that is news."""
    with transaction() as after_commit:
        row = db.session.get(Cluster, cluster_id, with_for_update=True, populate_existing=True)
        if row is None or row.paused_at is not None:
            return False
        news = row.health != UNREACHABLE
        if news or row.health_reason != reason:
            row.health, row.health_reason, row.health_message = UNREACHABLE, reason[:80], message
            row.last_contact_at = last_contact or row.last_contact_at
        if news:
            row.health_since = clock.now()
            _tell(
                portal,
                row,
                "unreachable",
                "error",
                _m("Cluster %(name)s: %(message)s", name=row.title or row.name, message=message),
                reason,
            )
        for instance in _hide(cluster_id, reason, message):
            after_commit(portal.publish, instance)
    return news


def _hide(cluster_id: str, reason: str, message: str) -> list[Event]:
    """Of what nobody works on nobody knows any more; the others find out by themselves, in the pass that they are in."""
    settled = (
        Instance.cluster_id == cluster_id, Instance.destroyed_at.is_(None), Instance.sync != Sync.UNKNOWN,
        Instance.lease_holder == "", Instance.phase.in_((Phase.RUNNING, Phase.STOPPED, Phase.FAILED)),
    )  # fmt: skip
    rows = db.session.execute(select(Instance.id, Instance.tenant_id).where(*settled)).all()
    told = {"reason": reason[:80], "message": message, "next_action": NEXT}
    unknown = {"sync": Sync.UNKNOWN, "health": HealthState.UNKNOWN}
    for where, values in ((Instance.phase == Phase.RUNNING, told | unknown), (Instance.phase != Phase.RUNNING, unknown)):
        statement = update(Instance).where(*settled, where).values(values).execution_options(synchronize_session=False)
        db.session.execute(statement)
    return [
        Event(0, "instance.observed", clock.now(), row.tenant_id, row.id, "info", reason, message, SYSTEM.name, {})
        for row in rows
    ]


def _tell(portal: Portal, row: Cluster, verb: str, level: str, message: str, reason: str = "") -> None:
    event_log.record(
        portal, f"cluster.{verb}", actor=SYSTEM, level=level, reason=reason, message=message,
        data={"cluster_id": row.id, "name": row.name},
    )  # fmt: skip


def shift_times(by: timedelta) -> None:
    """The clock jumped: what is shown as "since" moves along."""
    with transaction():
        for row in db.session.scalars(select(Cluster)):
            for column in ("health_since", "last_contact_at", "paused_at"):
                value: datetime | None = getattr(row, column)
                if value is not None:
                    setattr(row, column, value + by)
