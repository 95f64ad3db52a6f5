"""What the samples say to somebody: the sum over the projects that they may see, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
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
    return _of(step, _rows(actor, step, int(((moment or now()) - back).timestamp()) - 1))


def glance(actor: Actor, moment: datetime | None = None) -> Series:
    """The last day in few rows: by the hour as far as hours are whole, and by each sample since."""
    day = int(((moment or now()) - timedelta(days=1)).timestamp()) - 1
    hours = _rows(actor, HOURLY, day)
    return _of(HOURLY, [*hours, *_rows(actor, FINE, hours[-1][0] if hours else day)])


def _rows(actor: Actor, step: int, after: int) -> list[Sequence[int]]:
    """The sums over what the actor may see, oldest first."""
    sums = [func.sum(getattr(Sample, name)) for name in (*STATES, *HAPPENED)]
    query = select(Sample.at, *sums).where(Sample.step == step, Sample.at > after, visible(Sample, actor, INSTANCE_READ))
    return [tuple(map(int, row)) for row in db.session.execute(query.group_by(Sample.at).order_by(Sample.at))]


def _of(step: int, rows: Sequence[Sequence[int]]) -> Series:
    columns = {name: [row[k + 1] for row in rows] for k, name in enumerate((*STATES, *HAPPENED))}
    return Series(step, [row[0] for row in rows], columns)
