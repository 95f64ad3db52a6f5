"""The list of operations, one operation live, cancel and retry."""

from __future__ import annotations

from flask import render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import OPERATION_CONTROL, OPERATION_READ
from clawportal.contracts.permissions import Actor
from clawportal.errors import Invalid
from clawportal.http import site
from clawportal.http.paging import paging
from clawportal.http.security import actor, portal, requires
from clawportal.messages import _m
from clawportal.models.operations import CANCELLED, FAILED, OPEN_STATES, SUCCEEDED
from clawportal.paging import whole
from clawportal.services.fleet import operations as service
from clawportal.web import pages, rows
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _

STATES: dict[str, tuple[str, ...]] = {
    "": (), "running": OPEN_STATES, "failed": (FAILED,), "succeeded": (SUCCEEDED,), "cancelled": (CANCELLED,),
}  # fmt: skip
"""The tabs of the list, by what stands in the address."""


@page("/operations")
@requires(OPERATION_READ)
def operations() -> str:
    who, page, state = actor(), paging(), request.args.get("state", "")
    if state not in STATES:
        raise Invalid.field("state", _m("must be one of %(join)s", join=[*filter(None, STATES)]))
    found = whole(page, lambda which: service.listing(who, states=STATES[state], which=which))
    return render_template(
        "operations/_rows.html" if fragment() else "operations/index.html",
        operations=rows.operation_rows(who, found.items),
        page=rows.paged(found, page),
        filters={"state": state},
    )


@page("/operations/<operation_id>")
@requires(OPERATION_READ)
def operation(operation_id: str) -> str:
    found = service.get(actor(), operation_id)
    return render_template(
        "operations/_show.html" if fragment() else "operations/show.html",
        o=rows.operation_row(actor(), found),
        steps=rows.operation_steps(found),
    )


@page("/operations/<operation_id>/cancel", "POST")
@requires(OPERATION_CONTROL)
def operation_cancel(operation_id: str) -> Response:
    row = service.cancel(portal(), actor(), operation_id)
    said = _("%(name)s: cancel was asked for.", name=row.subject)
    return pages.changed(said, url=url_for("web.operation", operation_id=row.id), operations=[row.id])


@page("/operations/<operation_id>/retry", "POST")
@requires(OPERATION_CONTROL)
def operation_retry(operation_id: str) -> Response:
    row = service.retry(portal(), actor(), operation_id)
    said, url = _("%(name)s is tried again.", name=row.subject), url_for("web.operation", operation_id=row.id)
    old = url_for("web.operation", operation_id=operation_id)
    if fragment() and site.path_in(request.headers.get("HX-Current-URL", "")) == old:
        return pages.moved(said, url)  # the page shows the old one, which will not move again
    return pages.changed(said, url=url, operations=[operation_id, row.id])


def in_progress(who: Actor) -> int:
    return service.open_count(who) if who.has(OPERATION_READ) else 0
