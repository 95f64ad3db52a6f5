"""What the samples say to somebody: the sum over the projects that they may see, in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func, select

from clawportal.sdk.data import db, now, visible
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_charts.models import FINE, HAPPENED, HOURLY, STATES, Sample

Span = Literal["day", "week"]
SPANS: dict[Span, tuple[timedelta, int]] = {"day": (timedelta(days=1), FINE), "week": (timedelta(days=7), HOURLY)}


@dataclass(frozen=True)
class Series:
    """Columns of equal length, oldest first."""

    step: int
    """Seconds between two points."""
    at: list[int]
    """Seconds since 1970: the end of each stretch."""
    columns: dict[str, list[int]]

    @property
    def hours(self) -> list[tuple[int, dict[str, int]]]:
        """By the hour, newest first: states as they were at its end, and what happened in it."""
        found: dict[int, dict[str, int]] = {}
        for k, at in enumerate(self.at):
            hour = (at - 1) // HOURLY * HOURLY
            row = found.setdefault(hour, dict.fromkeys((*STATES, *HAPPENED), 0))
            row.update({name: self.columns[name][k] for name in STATES})
            for name in HAPPENED:
                row[name] += self.columns[name][k]
        return sorted(found.items(), reverse=True)


def series(actor: Actor, span: Span, moment: datetime | None = None) -> Series:
    back, step = SPANS[span]
    since = int(((moment or now()) - back).timestamp())
    names = (*STATES, *HAPPENED)
    sums = [func.sum(getattr(Sample, name)) for name in names]
    query = select(Sample.at, *sums).where(Sample.step == step, Sample.at >= since, visible(Sample, actor, INSTANCE_READ))
    rows = db.session.execute(query.group_by(Sample.at).order_by(Sample.at)).all()
    return Series(step, [row[0] for row in rows], {name: [int(row[k + 1]) for row in rows] for k, name in enumerate(names)})
