"""Counts the fleet every five minutes, in statements whose number is the same for ten instances and for ten thousand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select

from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.events import EventRow
from clawportal.sdk.fleet import Instance, Phase, Portal, Project
from clawportal_charts.models import FINE, HAPPENED, HOURLY, STATES, Sample

KEPT = {FINE: timedelta(hours=26), HOURLY: timedelta(days=8)}
_COLUMN: dict[str, str] = {Phase.RUNNING: "running", Phase.STOPPED: "stopped", Phase.FAILED: "failed"}
_KINDS = ("instance.phase_changed", "instance.exited")


def sample_once(_portal: Portal, moment: datetime | None = None) -> None:
    """One pass; nothing is to be done where this stretch was counted already, also by the leader before."""
    at = int((moment or now()).timestamp()) // FINE * FINE
    if db.session.scalar(select(Sample.at).where(Sample.step == FINE, Sample.at == at).limit(1)) is None:
        rows = _counted(at)
        with transaction():
            if rows:
                db.session.execute(insert(Sample), rows)
    _roll_up(at // HOURLY * HOURLY)


def _counted(at: int) -> list[dict[str, Any]]:
    query = select(Instance.tenant_id, Instance.project_id, Instance.phase, func.count())
    found = db.session.execute(
        query.where(Instance.destroyed_at.is_(None)).group_by(Instance.tenant_id, Instance.project_id, Instance.phase)
    )
    rows = {project_id: _empty(tenant_id, project_id, at) for tenant_id, project_id in _counted_before(at)}
    for tenant_id, project_id, phase, number in found:
        row = rows.setdefault(project_id, _empty(tenant_id, project_id, at))
        row[_COLUMN.get(phase, "changing")] += number
    for project_id, kind, phase, number in _happened(at):
        column = "exits" if kind == "instance.exited" else {"running": "starts", "failed": "failures"}.get(phase)
        if column and project_id in rows:  # a project without instances has nothing to show
            rows[project_id][column] += number
    return list(rows.values())


def _counted_before(at: int) -> list[tuple[str, str]]:
    """Tenant and project of the sample before: where nothing is left there are zeros, and not what was there once."""
    found = db.session.execute(select(Sample.tenant_id, Sample.project_id).where(Sample.step == FINE, Sample.at == at - FINE))
    return [(row[0], row[1]) for row in found]


def _happened(at: int) -> list[tuple[str, str, str, int]]:
    """Project, kind of event, phase that an instance came into, and how often, in the stretch that ends then."""
    phase = func.coalesce(EventRow.data["phase"].as_string(), "")
    inside = (
        EventRow.kind.in_(_KINDS),
        EventRow.at >= _time(at - FINE),
        EventRow.at < _time(at),
        EventRow.project_id.is_not(None),
    )
    query = select(EventRow.project_id, EventRow.kind, phase, func.count()).where(*inside)
    found = db.session.execute(query.group_by(EventRow.project_id, EventRow.kind, phase))
    return [(row[0], row[1], row[2], row[3]) for row in found]


def _empty(tenant_id: str, project_id: str, at: int) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "project_id": project_id, "step": FINE, "at": at} | dict.fromkeys((*STATES, *HAPPENED), 0)


def _roll_up(hour: int) -> None:
    """Put the hour that ended last into one row for each project: the mean of states, the sum of what happened."""
    if db.session.scalar(select(Sample.at).where(Sample.step == HOURLY, Sample.at == hour).limit(1)) is not None:
        return
    states = [func.round(func.avg(getattr(Sample, name))).label(name) for name in STATES]
    happened = [func.sum(getattr(Sample, name)).label(name) for name in HAPPENED]
    fine = select(Sample.tenant_id, Sample.project_id, *states, *happened).join(Project, Project.id == Sample.project_id)
    inside = fine.where(Sample.step == FINE, Sample.at > hour - HOURLY, Sample.at <= hour)
    with transaction():
        found = db.session.execute(inside.group_by(Sample.tenant_id, Sample.project_id)).mappings().all()
        rows = [
            {name: int(value) if name in (*STATES, *HAPPENED) else value for name, value in row.items()}
            | {"step": HOURLY, "at": hour}
            for row in found
        ]
        if rows:
            db.session.execute(insert(Sample), rows)


def forget_old(_portal: Portal, moment: datetime | None = None) -> None:
    for step, kept in KEPT.items():
        with transaction():
            db.session.execute(delete(Sample).where(Sample.step == step, Sample.at < int(((moment or now()) - kept).timestamp())))


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
