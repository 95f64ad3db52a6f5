"""Organisations and their projects: what they have and use, their defaults, and how to delete them without surprise."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import (
    CATALOG_READ,
    MEMBER_MANAGE,
    MEMBER_READ,
    PROJECT_MANAGE,
    QUOTA_MANAGE,
    QUOTA_PROJECT,
    QUOTA_READ,
    ROLE_MANAGE,
    TENANT_CREATE,
    TENANT_DELETE,
    TENANT_READ,
    TENANT_UPDATE,
)
from clawportal.contracts.permissions import SELF, Scope
from clawportal.errors import Forbidden, Invalid
from clawportal.http import inside
from clawportal.http.i18n import title_of
from clawportal.http.paging import paging
from clawportal.http.security import actor, portal, requires
from clawportal.messages import _m
from clawportal.models import Project, Tenant
from clawportal.paging import whole
from clawportal.services.clusters import clusters
from clawportal.services.fleet import quotas, removals
from clawportal.services.tenancy import members, tenants
from clawportal.web import auth, pages, rows
from clawportal.web.pages import page
from clawportal.web.words import gettext as _

_CAN = {
    "update": TENANT_UPDATE, "delete": TENANT_DELETE, "projects": PROJECT_MANAGE,
    "members": MEMBER_READ, "manage": MEMBER_MANAGE, "roles": ROLE_MANAGE,
    "quota": QUOTA_READ, "set_quota": QUOTA_MANAGE, "project_quota": QUOTA_PROJECT,
}  # fmt: skip


def abilities(scope: Scope) -> frozenset[str]:
    """What this actor may do there, in the words of the templates."""
    who = actor()
    return frozenset(name for name, permission in _CAN.items() if who.allows(permission, scope))


def tenant_abilities(tenant: Tenant) -> frozenset[str]:
    """What this actor may do in an organisation, for the head of its pages."""
    return abilities(Scope(tenant.id))


def tenant_page(template: str, tenant: Tenant, tab: str, *, status: int = 200, **context: Any) -> Response:
    """One tab of a tenant."""
    given: dict[str, Any] = {"errors": {}, "values": {}} | context
    can = abilities(Scope(tenant.id))
    answer = make_response(render_template(f"tenants/{template}.html", tenant=tenant, tab=tab, can=can, **given))
    answer.status_code = status
    return answer


# ---- the list


@page("/tenants", endpoint="tenants")
@requires(TENANT_READ)
def tenants_index() -> Response:
    return _index()


def _index(status: int = 200, **context: Any) -> Response:
    page, text = paging(), request.args.get("q", "").strip()[:200]
    found = whole(page, lambda which: tenants.listing(actor(), text=text, which=which))
    given: dict[str, Any] = {"errors": {}, "values": {}} | context
    may_create = actor().allows(TENANT_CREATE, Scope())
    answer = make_response(
        render_template(
            "tenants/index.html", tenants=found.items, page=rows.paged(found, page), q=text,
            may_create=may_create, **given,
        )
    )  # fmt: skip
    answer.status_code = status
    return answer


@page("/tenants", "POST")
@requires(TENANT_CREATE)
def tenant_create() -> Response:
    try:
        made = tenants.create(portal(), actor(), request.form.get("name", "").strip(), request.form.get("title", ""))
    except Invalid as problem:
        return _index(422, errors=auth.told(problem.errors), values=request.form)
    return pages.moved(_("The organisation was created. Add its first member."), url_for("web.members", tenant_id=made.id))


@page("/tenants/<tenant_id>/enter", "POST")
@requires(TENANT_READ)
def tenant_enter(tenant_id: str) -> Response:
    if actor().kind != "user":
        raise Forbidden(_m("Only a browser is inside an organisation. A token says by ids what it means."))
    tenant = tenants.note_visit(portal(), actor(), tenant_id)
    inside.choose(tenant.id)
    return pages.moved(_("You work inside %(name)s now.", name=title_of(tenant.title or tenant.name)), url_for("web.home"))


@page("/tenants/leave", "POST")
@requires(SELF)
def tenant_leave() -> Response:
    inside.choose(None)
    return pages.moved(_("You see everything again that you have rights to."), url_for("web.home"))


# ---- one tenant


@page("/tenants/<tenant_id>")
@requires(TENANT_READ)
def tenant(tenant_id: str) -> Response:
    return _overview(tenants.get(actor(), tenant_id))


def _overview(found: Tenant, status: int = 200, **context: Any) -> Response:
    report = quotas.report(portal(), actor(), found.id) if "quota" in abilities(Scope(found.id)) else None
    shares = {share.project_id: share for share in report.shares} if report else {}
    projects = tenants.projects_of(actor(), found.id)
    return tenant_page("show", found, "overview", status=status, report=report, shares=shares, projects=projects, **context)


@page("/tenants/<tenant_id>/projects", "POST")
@requires(PROJECT_MANAGE)
def project_create(tenant_id: str) -> Response:
    try:
        name, title = request.form.get("name", "").strip(), request.form.get("title", "")
        made = tenants.create_project(portal(), actor(), tenant_id, name, title)
    except Invalid as problem:
        found = tenants.get(actor(), tenant_id)
        return _overview(found, 422, errors=auth.told(problem.errors), values=request.form)
    return pages.moved(_("The project was created."), url_for("web.project", project_id=made.id))


@page("/tenants/<tenant_id>/settings", "GET", "POST")
@requires(TENANT_UPDATE)
def tenant_settings(tenant_id: str) -> Response:
    found = tenants.get(actor(), tenant_id, TENANT_UPDATE)
    if request.method == "GET":
        return _settings(found)
    form = request.form
    chosen = {kind: form.getlist(f"versions.{kind}") for kind in form.getlist("adapters")}
    cluster, limited = form.get("default_cluster", ""), form.get("limited") == "true"
    unset = frozenset(({"default_cluster"} if not cluster else set()) | (set() if limited else {"allowed_adapters"}))
    totp = form.get("require_totp") == "true"
    change = tenants.TenantChange(form.get("title", ""), chosen if limited else None, cluster or None, totp, unset)
    try:
        tenants.update(portal(), actor(), tenant_id, change)
    except Invalid as problem:
        return _settings(found, 422, errors=auth.told(problem.errors))
    return pages.moved(_("The settings were saved."), url_for("web.tenant_settings", tenant_id=tenant_id))


def _settings(found: Tenant, status: int = 200, **context: Any) -> Response:
    report = quotas.report(portal(), actor(), found.id, biggest=0)
    given = {"limits": report.limits, "without_totp": tenants.without_totp(found.id)} | context
    return tenant_page(
        "settings", found, "settings", status=status, adapters=rows.adapter_cards(), clusters=clusters.allowed(found.id), **given
    )


@page("/tenants/<tenant_id>/quota", "POST")
@requires(QUOTA_MANAGE)
def tenant_quota(tenant_id: str) -> Response:
    try:
        quotas.set_tenant(portal(), actor(), tenant_id, _limits())
    except Invalid as problem:
        found = tenants.get(actor(), tenant_id)
        return _settings(found, 422, errors=auth.told(problem.errors), limits=request.form)
    return pages.moved(_("The quota was saved."), url_for("web.tenant", tenant_id=tenant_id))


def _limits() -> quotas.Limits:
    text = request.form.get("instances", "").strip()
    if text and not (text.isdigit() and len(text) < 10):
        raise Invalid.field(
            "instances",
            _m(
                "must be a whole number from 0 to %(MOST_INSTANCES)s, or empty for no limit",
                MOST_INSTANCES=f"{quotas.MOST_INSTANCES:,}",
            ),
        )
    sizes = (request.form.get(name, "") for name in quotas.SIZES)
    return quotas.Limits(int(text) if text else None, *sizes)


@page("/tenants/<tenant_id>/delete", "GET", "POST")
@requires(TENANT_DELETE)
def tenant_delete(tenant_id: str) -> Response:
    losses = removals.tenant_losses(actor(), tenant_id)
    if request.method == "GET":
        return _delete_page(losses, url_for("web.tenant", tenant_id=tenant_id), tenant=True)
    try:
        gone = removals.delete_tenant(
            portal(), actor(), tenant_id, confirm=request.form.get("confirm", ""),
            with_instances=request.form.get("instances") == "delete", keep_data=request.form.get("keep_data") == "true",
        )  # fmt: skip
    except Invalid as problem:
        return _delete_page(losses, url_for("web.tenant", tenant_id=tenant_id), problem, tenant=True)
    if actor().inside == tenant_id:
        inside.choose(None)
    return pages.moved(_gone_or_going(gone), url_for("web.tenants"))


def _gone_or_going(gone: bool) -> str:
    return _("It was deleted.") if gone else _("It is being deleted. The rest follows by itself after its last instance.")


def _delete_page(losses: removals.Losses, back: str, problem: Invalid | None = None, *, tenant: bool) -> Response:
    errors = auth.told(problem.errors) if problem else {}
    answer = make_response(
        render_template("tenants/delete.html", losses=losses, back=back, errors=errors, values=request.form, is_tenant=tenant)
    )
    answer.status_code = 422 if problem else 200
    return answer


# ---- one project


@page("/projects/<project_id>")
@requires(CATALOG_READ)
def project(project_id: str) -> Response:
    return project_page(tenants.get_project(actor(), project_id))


def project_page(found: Project, status: int = 200, **context: Any) -> Response:
    can = abilities(Scope(found.tenant_id, found.id))
    who = actor()
    given: dict[str, Any] = {"errors": {}, "values": {}} | context
    if who.allows(QUOTA_READ, Scope(found.tenant_id, found.id)):
        limits, used = quotas.of_project(portal(), who, found.id)
        given = {"limits": limits, "bars": quotas.bars(limits, used)} | given
    if who.allows(MEMBER_READ, Scope(found.tenant_id)):
        shared = [grant for grant in members.given(who, found.tenant_id) if grant.project_id == found.id]
        roles = [role for role in members.roles(portal(), who, found.tenant_id) if role.givable and role.name != "guest"]
        given = {"shared": shared, "roles": roles, "people": members.names(who, found.tenant_id)} | given
    answer = make_response(
        render_template("tenants/project.html", project=found, can=can, tenant_title=tenants.title_of(found.tenant_id), **given)
    )
    answer.status_code = status
    return answer


@page("/projects/<project_id>", "POST")
@requires(PROJECT_MANAGE)
def project_rename(project_id: str) -> Response:
    try:
        tenants.rename_project(portal(), actor(), project_id, request.form.get("title", ""))
    except Invalid as problem:
        return project_page(tenants.get_project(actor(), project_id), 422, errors=auth.told(problem.errors), values=request.form)
    return pages.moved(_("The settings were saved."), url_for("web.project", project_id=project_id))


@page("/projects/<project_id>/quota", "POST")
@requires(QUOTA_PROJECT)
def project_quota(project_id: str) -> Response:
    try:
        quotas.set_project(portal(), actor(), project_id, _limits())
    except Invalid as problem:
        found = tenants.get_project(actor(), project_id)
        return project_page(found, 422, errors=auth.told(problem.errors), limits=request.form)
    return pages.moved(_("The quota was saved."), url_for("web.project", project_id=project_id))


@page("/projects/<project_id>/delete", "GET", "POST")
@requires(PROJECT_MANAGE)
def project_delete(project_id: str) -> Response:
    found = tenants.get_project(actor(), project_id, PROJECT_MANAGE)
    losses, tenant_id, choice = removals.project_losses(actor(), project_id), found.tenant_id, request.form.get("instances", "")
    if request.method == "GET":
        return _delete_page(losses, url_for("web.project", project_id=project_id), tenant=False)
    try:
        gone = removals.delete_project(
            portal(), actor(), project_id, confirm=request.form.get("confirm", ""), with_instances=choice == "delete",
            keep_data=request.form.get("keep_data") == "true", move_to=choice.removeprefix("move:") if ":" in choice else "",
        )  # fmt: skip
    except Invalid as problem:
        return _delete_page(losses, url_for("web.project", project_id=project_id), problem, tenant=False)
    return pages.moved(_gone_or_going(gone), url_for("web.tenant", tenant_id=tenant_id))
