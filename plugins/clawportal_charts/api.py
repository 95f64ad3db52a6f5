"""How the fleet did, as columns for a chart."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from clawportal.sdk.api import Answer, Query, op
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_charts import services

TAGS = ("Charts",)


class FleetSeriesQuery(Query):
    span: Literal["day", "week"] = Field("day", description="`day`: every five minutes; `week`: every hour.")


class FleetSeries(Answer):
    """Columns of equal length, oldest first, summed over the projects that one may see."""

    step: int = Field(description="Seconds between two points.")
    at: list[int] = Field(description="The end of each stretch, seconds since 1970. Where nothing was counted there is none.")
    running: list[int]
    changing: list[int]
    stopped: list[int]
    failed: list[int]
    starts: list[int] = Field(description="Instances that came to run in the stretch.")
    failures: list[int] = Field(description="Instances that failed in it.")
    exits: list[int] = Field(description="Claws that ended by themselves in it; most of them are started again.")


@op("GET", "/fleet/series", permission=INSTANCE_READ, tags=TAGS, summary="How the fleet did", returns=FleetSeries)
def get_fleet_series(actor: Actor, query: FleetSeriesQuery) -> dict[str, Any]:
    found = services.series(actor, query.span)
    return {"step": found.step, "at": found.at, **found.columns}
