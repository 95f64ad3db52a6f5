"""Home: what is wrong now, what is being done, what changed lately; for a newcomer the first step."""

from __future__ import annotations

from typing import Any

from flask import render_template, request

from clawportal.http.security import actor, requires
from clawportal.models.operations import OPEN_STATES
from clawportal.permissions import Actor, Permission
from clawportal.services import instances, ledger, operations
from clawportal.services.paging import Which
from clawportal.web import findings, rows
from clawportal.web.pages import bp, fragment

_PROBLEMS, _OPERATIONS, _EVENTS = 8, 6, 10


@bp.get("/")
@requires(Permission.INSTANCE_READ)
def home() -> str:
    who = actor()
    live = fragment() and request.args.get("part") == "now"
    counts = rows.tally(who)
    context = {"counts": counts, "adapters": rows.adapter_cards(), "checks": findings.wrong(who)}
    if counts.total:
        context |= _now(who)
    return render_template("home/_now.html" if live and counts.total else "home/index.html", **context)


def _now(who: Actor) -> dict[str, Any]:
    found = instances.lean_listing(who, instances.Filters(trouble=True), Which(_PROBLEMS), sort="-updated_at")
    doing = operations.listing(who, states=OPEN_STATES, which=Which(_OPERATIONS))
    events = ledger.feed(who, limit=_EVENTS) if who.has(Permission.EVENT_READ) else []
    return {
        "problems": rows.instance_rows(who, found.items),
        "problems_total": found.total,
        "operations": rows.operation_rows(who, doing.items),
        "events": rows.event_rows(events, instances.names_of(who, [event.instance_id for event in events if event.instance_id])),
    }
