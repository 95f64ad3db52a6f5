"""The charts of the fleet: a card with a line on the home page, and a page with all of them and their tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import render_template, request
from markupsafe import Markup

from clawportal.sdk.data import now
from clawportal.sdk.pages import actor, page, requires
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_charts import services
from clawportal_charts.models import FINE, HAPPENED
from clawportal_charts.services import Series, Span

WIDTH, HEIGHT = 600, 80
"""Of the drawing on the card."""


def card(who: Actor) -> Markup | None:
    """Nothing before there are two points."""
    found = services.glance(who)
    if len(found.at) < 2:
        return None
    sums = {name: sum(found.columns[name]) for name in HAPPENED}
    lines = {name: _path(found, name) for name in ("running", "failed")}
    given: dict[str, Any] = {"lines": lines, "sums": sums, "now": {name: values[-1] for name, values in found.columns.items()}}
    given["counted"] = _old(found.at[-1])
    most = max(max(found.columns["running"]), max(found.columns["failed"]))
    return Markup(  # noqa: S704 - a template escapes what it shows
        render_template("charts/_card.html", width=WIDTH, height=HEIGHT, most=most, **given)
    )


def _old(at: int) -> datetime | None:
    """When it was, of a sample that does not tell what is now."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment if now() - moment > timedelta(seconds=2 * FINE) else None


def _path(found: Series, name: str) -> str:
    """A line of an SVG; both lines of the card have one scale."""
    points = zip(found.at, found.columns[name], strict=True)
    first, last = found.at[0], found.at[-1]
    most = max(1, *found.columns["running"], *found.columns["failed"])
    placed = [((at - first) / (last - first) * WIDTH, HEIGHT - 2 - value / most * (HEIGHT - 4)) for at, value in points]
    return "M" + "L".join(f"{x:.0f} {y:.1f}" for x, y in placed)


@page("/charts", endpoint="charts")
@requires(INSTANCE_READ)
def charts() -> str:
    span: Span = "week" if request.args.get("span") == "week" else "day"
    found = services.series(actor(), span)
    hours = [(datetime.fromtimestamp(at, UTC), row) for at, row in found.hours]
    data = {"step": found.step, "at": found.at, **found.columns}
    return render_template("charts/index.html", span=span, data=data, hours=hours)
