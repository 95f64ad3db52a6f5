"""Home: what is wrong now, what is being done, what changed lately; for a newcomer the first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from flask import render_template, request

from clawportal.contracts.core_permissions import EVENT_READ, INSTANCE_READ
from clawportal.contracts.permissions import Actor
from clawportal.http.security import actor, requires
from clawportal.models import EventRow
from clawportal.models.operations import OPEN_STATES
from clawportal.paging import Which
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.fleet import instances, operations
from clawportal.web import health_checks, menu, rows
from clawportal.web.pages import fragment, page

_PROBLEMS, _OPERATIONS, _EVENTS = 8, 6, 10
_LOOKED_AT = 100
"""Events among which the lines of home are found."""


@page("/")
@requires(INSTANCE_READ)
def home() -> str:
    who = actor()
    live = fragment() and request.args.get("part") == "now"
    counts = rows.tally(who)
    context = {
        "counts": counts,
        "adapters": rows.adapter_cards(),
        "checks": health_checks.wrong(who),
        "cards": [] if live else menu.cards("home"),
        "live": live,
    }
    context |= _now(who) if counts.total else {"silent": clusters.silent(who)}
    return render_template("home/_now.html" if live and counts.total else "home/index.html", **context)


def _now(who: Actor) -> dict[str, Any]:
    found = instances.lean_listing(who, instances.Filters(trouble=True), Which(_PROBLEMS), sort="-updated_at")
    doing = operations.listing(who, states=OPEN_STATES, which=Which(_OPERATIONS))
    told = event_log.feed(who, limit=_LOOKED_AT) if who.has(EVENT_READ) else []
    events, more = _one_an_hour(told)
    return {
        "problems": rows.instance_rows(who, found.items),
        "problems_total": found.total,
        "silent": clusters.silent(who),
        "operations": rows.operation_rows(who, doing.items),
        "events": rows.event_rows(events, instances.names_of(who, [event.instance_id for event in events if event.instance_id])),
        "more": more,
    }


def _one_an_hour(told: Sequence[EventRow]) -> tuple[list[EventRow], dict[int, int]]:
    """The newest line of each claw and hour, and for how many more it stands: one that keeps ending leaves room for others."""
    shown: dict[object, EventRow] = {}
    more: Counter[int] = Counter()
    for event in told:
        key = (event.instance_id, event.at.replace(minute=0, second=0, microsecond=0)) if event.instance_id else event.seq
        if key in shown:
            more[shown[key].seq] += 1
        else:
            shown[key] = event
    return list(shown.values())[:_EVENTS], dict(more)
