"""Measurements of an instance over time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal import clock
from clawportal.api._layer import Answer, Query, op
from clawportal.api.system import Counts
from clawportal.contracts.core_permissions import INSTANCE_READ, OPERATION_READ
from clawportal.contracts.permissions import Actor
from clawportal.engine import metric_history
from clawportal.engine.portal import Portal
from clawportal.services.fleet import instances, operations
from clawportal.services.live import metrics


class Metrics(Answer):
    """One list for each quantity; entries with the same place belong together. Null: not measured then."""

    resolution: str = Field(description="`raw` as sampled, `5m` or `1h`.")
    step: int = Field(description="Seconds from point to point; 0 as sampled.")
    since: datetime
    until: datetime
    at: list[datetime] = Field(description="Beginning of the stretch that a point stands for.")
    cpu_percent: list[float | None] = Field(description="Percent of one core, mean of the stretch.")
    cpu_percent_max: list[float | None]
    memory_bytes: list[float | None]
    memory_bytes_max: list[float | None]
    disk_bytes: list[float | None]
    restarts: list[int] = Field(description="How often it was restarted since it was created.")


class Overview(Answer):
    """What runs just now, and what it takes, of all instances that one may see."""

    at: datetime
    instances: Counts
    measured: int = Field(description="How many running instances have a measurement; the sums are over these.")
    cpu_percent: float = Field(description="Of one core, in all.")
    memory_bytes: int
    disk_bytes: int = Field(description="Of those whose disk was measured.")
    processes: int
    operations_open: int = Field(description="Queued or in progress; 0 for who may not see operations.")


class MetricsQuery(Query):
    since: datetime | None = Field(None, description="Beginning; an hour before `until` when it is left out.")
    until: datetime | None = Field(None, description="End; now when it is left out.")
    resolution: Literal["auto", "raw", "5m", "1h"] = Field(
        "auto", description="`raw` is kept for 24 hours, `5m` for 30 days, `1h` for a year. `auto` fits the span."
    )
    points: int = Field(
        400,
        ge=2,
        le=metric_history.MAX_POINTS,
        description="About so many points at most; more are condensed to means and maxima.",
    )


@op("GET", "/metrics/overview", permission=INSTANCE_READ, tags=("Instances",), summary="All instances together",
    returns=Overview)  # fmt: skip
def get_metrics_overview(actor: Actor, portal: Portal) -> dict[str, Any]:
    """From what was measured last; no cluster is asked."""
    found = [usage for one in instances.running_ids(actor) if (usage := portal.samples.get(one)) is not None]
    return {
        "at": clock.now(),
        "instances": Counts.model_validate(instances.counts(actor), from_attributes=True),
        "measured": len(found),
        "cpu_percent": round(sum(usage.cpu_percent or 0.0 for usage in found), 1),
        "memory_bytes": sum(usage.memory_bytes for usage in found),
        "disk_bytes": sum(usage.disk_bytes or 0 for usage in found),
        "processes": sum(usage.processes for usage in found),
        "operations_open": operations.open_count(actor) if actor.has(OPERATION_READ) else 0,
    }


@op("GET", "/instances/{instance_id}/metrics", permission=INSTANCE_READ, tags=("Instances",),
    summary="Measurements of an instance", returns=Metrics, problems=(404,))  # fmt: skip
def get_instance_metrics(actor: Actor, portal: Portal, instance_id: str, query: MetricsQuery) -> dict[str, Any]:
    """CPU, memory, disk and restarts over time. A time without an offset is UTC."""
    found = metrics.read(
        portal.recorder, actor, instance_id, since=metric_history.utc(query.since), until=metric_history.utc(query.until),
        resolution=query.resolution, points=query.points,
    )  # fmt: skip
    told = {"resolution": found.resolution, "step": found.step, "since": found.since, "until": found.until}
    return told | metric_history.columns(found)
