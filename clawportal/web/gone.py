"""What is left to say of a deleted instance: one page, to which all its former pages lead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, g, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import EVENT_READ
from clawportal.errors import NotFound, Problem
from clawportal.http import problems
from clawportal.http.security import actor, current_actor
from clawportal.models import Instance
from clawportal.services.events import event_log
from clawportal.services.fleet import instances
from clawportal.web import pages, rows

_EVENTS = 20
_ENDINGS = ("instance.delete_requested", "instance.forgotten")


@dataclass(frozen=True)
class Gone:
    """Of whom, and how it went."""

    id: str
    name: str
    adapter_title: str
    at: datetime | None
    by: str
    foreign: bool
    kept: bool
    """Whether its data was left where it was."""


def page(found: Instance) -> Response:
    """410 would be truer than 200, but browsers and proxies keep that for ever."""
    who = actor()
    events = event_log.feed(who, instance_id=found.id, limit=_EVENTS) if who.has(EVENT_READ) else []
    by = next((event.actor for event in events if event.kind in _ENDINGS), "")
    row = rows.instance_row(who, found)
    gone = Gone(found.id, found.name, row.adapter_title, found.destroyed_at, by, bool(found.foreign_id), found.keep_data)
    return make_response(render_template("instances/gone.html", gone=gone, events=rows.event_rows(events), can=row.can))


def leads_to(instance_id: str) -> Response:
    """To that page, from any other of this instance."""
    url = url_for("web.instance", instance_id=instance_id)
    if not pages.fragment():
        return redirect(url, 303)
    answer = make_response("", 200)
    answer.headers["HX-Redirect"] = url
    return answer


class LeadsToGone(HTTPException):
    """Raised where a page of a deleted instance was asked for."""

    code = 303

    def __init__(self, instance_id: str) -> None:
        super().__init__(response=leads_to(instance_id))


def refuse(found: Instance) -> Instance:
    """The instance itself, unless it was deleted."""
    if found.destroyed_at is not None:
        raise LeadsToGone(found.id)
    return found


def init(blueprint: Blueprint) -> None:
    blueprint.register_error_handler(NotFound, _not_found)


def _not_found(problem: Problem) -> Response:
    """What needs an instance that is there leads to the page that says that it is not, for those who could see it."""
    instance_id = (request.view_args or {}).get("instance_id")
    if instance_id and current_actor() is not None and not problems.wants_json() and _was_theirs(instance_id):
        g.problem = problem
        return leads_to(instance_id)
    return problems.answer(problem)


def _was_theirs(instance_id: str) -> bool:
    try:
        return instances.get(actor(), instance_id).destroyed_at is not None
    except Problem:
        return False
