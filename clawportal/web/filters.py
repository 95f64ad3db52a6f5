"""Saved filters of the list: saving what is shown now, and the page on which they are renamed, shared, chosen and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.core_permissions import FILTER_SHARE, INSTANCE_READ
from clawportal.contracts.permissions import Scope
from clawportal.errors import Conflict, Invalid, Problem
from clawportal.http.paging import paging
from clawportal.http.security import actor, requires
from clawportal.paging import whole
from clawportal.services.fleet import saved_filters
from clawportal.services.fleet.saved_filters import PARTS, Change, Saved
from clawportal.web import auth, pages, rows
from clawportal.web.instances import saved_filters_page
from clawportal.web.pages import page
from clawportal.web.words import gettext as _


@page("/instances/filters")
@requires(INSTANCE_READ)
def filters() -> Response:
    return _all()


@page("/instances/filters/new", "GET", "POST")
@requires(INSTANCE_READ)
def filter_new() -> AnyResponse:
    """What would be saved stands in the address."""
    query = {part: request.values.get(part, "").strip() for part in PARTS if request.values.get(part, "").strip()}
    if request.method == "GET":
        return _new(query, {})
    form = request.form
    try:
        made = saved_filters.save(
            actor(), form.get("name", ""), query, tenant=form.get("tenant") or None, default=form.get("default") == "true"
        )
    except (Invalid, Conflict) as problem:
        return _new(query, form, problem)
    return pages.moved(_("The filter %(name)s was saved.", name=made.name), saved_filters_page(made), level="toast")


@page("/instances/filters/<filter_id>", "POST")
@requires(INSTANCE_READ)
def filter_change(filter_id: str) -> AnyResponse:
    """One button of the page: rename, share, keep for oneself, begin with it, not any more, delete."""
    form, here = request.form, url_for("web.filters")
    saved_filters.get(actor(), filter_id)
    try:
        said = _act(filter_id, form.get("action", ""), form)
    except (Invalid, Conflict) as problem:
        return _all(filter_id, problem)
    return pages.moved(said, here, level="toast")


def _act(filter_id: str, action: str, form: Mapping[str, str]) -> str:
    who = actor()
    if action == "rename":
        return _(
            "The filter is named %(name)s now.", name=saved_filters.change(who, filter_id, Change(form.get("name", ""))).name
        )
    if action == "share":
        shared = saved_filters.change(who, filter_id, Change(shared=True, tenant=form.get("tenant", "")))
        return _("%(name)s is shared with the organisation.", name=shared.name)
    if action == "keep":
        return _("%(name)s is yours alone now.", name=saved_filters.change(who, filter_id, Change(shared=False)).name)
    if action == "default":
        return _("The list begins with %(name)s now.", name=saved_filters.set_default(who, filter_id).name)
    if action == "plain":
        saved_filters.unset_default(who, filter_id)
        return _("The list begins with everything now.")
    if action == "delete":
        saved_filters.remove(who, filter_id)
        return _("The filter was deleted.")
    raise Invalid.field("action", _("must be rename, share, keep, default, plain or delete"))


def _all(refused: str = "", problem: Problem | None = None) -> Response:
    asked = paging()
    found = whole(asked, lambda which: saved_filters.page_of(actor(), which))
    told = [(one, saved_filters_page(one), _words(one.query), _may_change(one)) for one in found.items]
    answer = make_response(
        render_template(
            "instances/filters.html", found=told, page=rows.paged(found, asked), tenants=_tenants(), refused=refused,
            errors=_errors(problem), typed=request.form.get("name", ""),
        )
    )  # fmt: skip
    answer.status_code = problem.status if problem else 200
    return answer


def _new(query: Mapping[str, str], values: Mapping[str, str], problem: Problem | None = None) -> Response:
    answer = make_response(
        render_template(
            "instances/filter_new.html",
            query=query,
            words=_words(query),
            values=values,
            tenants=_tenants(),
            errors=_errors(problem),
        )
    )
    answer.status_code = problem.status if problem else 200
    return answer


def _errors(problem: Problem | None) -> dict[str, str]:
    if problem is None:
        return {}
    return auth.told(problem.errors) if problem.errors else {"name": problem.detail}


def _may_change(one: Saved) -> bool:
    return one.tenant_id is None or actor().allows(FILTER_SHARE, Scope(one.tenant_id))


def _tenants() -> list[tuple[str, str]]:
    """Organisations with which who asks may share."""
    found = {choice.tenant_id: choice.tenant_title for choice in rows.projects(actor())}
    return [(tenant_id, title) for tenant_id, title in found.items() if actor().allows(FILTER_SHARE, Scope(tenant_id))]


def _words(query: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a filter says: a word for each part, and its value."""
    titles: dict[str, Any] = {
        "q": _("Name"), "state": _("State"), "adapter": _("Kind of claw"), "project": _("Project"), "labels": _("Labels"),
        "sort": _("Order"),
    }  # fmt: skip
    states = {
        "attention": _("Need attention"), "running": _("Running"), "progressing": _("In progress"), "stopped": _("Stopped"),
        "failed": _("Failed"),
    }  # fmt: skip
    known = rows.project_titles(rows.projects(actor()))
    shown = {"state": states, "project": known}
    return [(titles[part], shown.get(part, {}).get(query[part], query[part])) for part in PARTS if query.get(part)]
