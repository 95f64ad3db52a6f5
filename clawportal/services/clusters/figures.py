"""How many clusters there are in which state, for `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select

from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.models import Cluster
from clawportal.models.clusters import HEALTHY, UNKNOWN, UNREACHABLE


def by_health(_portal: Portal) -> list[tuple[Mapping[str, str], float]]:
    rows = db.session.execute(select(Cluster.health, func.count()).group_by(Cluster.health))
    found = dict.fromkeys((HEALTHY, UNREACHABLE, UNKNOWN), 0) | {health: int(number) for health, number in rows}
    return [({"health": health}, number) for health, number in found.items()]
