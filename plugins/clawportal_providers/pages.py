"""Stored keys of an organisation: the list, the form, replacing and deleting, and testing what they open."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.sdk.data import Which
from clawportal.sdk.errors import Conflict, Invalid
from clawportal.sdk.fleet import Tenant, projects_of
from clawportal.sdk.fleet import tenant as tenant_or_404
from clawportal.sdk.pages import actor, by_field, fragment, moved, page, portal, requires, tenant_abilities
from clawportal.sdk.pages import gettext as _
from clawportal_providers import checking, outcomes, services, testing_models, using
from clawportal_providers.checking import Change, Wanted
from clawportal_providers.models import Credential
from clawportal_providers.permissions import PROVIDERS_MANAGE, PROVIDERS_READ
from clawportal_providers.testing_models import Asked


def _page(template: str, tenant: Tenant, status: int = 200, **context: Any) -> Response:
    given: dict[str, Any] = {
        "errors": {}, "providers": portal().registry.providers, "may_manage": services.may_manage(actor(), tenant.id),
    } | context  # fmt: skip
    can = tenant_abilities(tenant)
    answer = make_response(render_template(f"credentials/{template}.html", tenant=tenant, tab="model_keys", can=can, **given))
    answer.status_code = status
    return answer


def _tenant_of(row: Credential) -> Tenant:
    return tenant_or_404(actor(), row.tenant_id)


@page("/tenants/<tenant_id>/keys", endpoint="tenant_model_keys")
@requires(PROVIDERS_READ)
def tenant_model_keys(tenant_id: str) -> Response:
    tenant = tenant_or_404(actor(), tenant_id)
    rows = services.all_of(actor(), tenant.id, which=Which(checking.MOST)).items
    projects = {project.id: project for project in projects_of(actor(), tenant.id)}
    return _page("index", tenant, rows=rows, counts=using.counts(portal(), rows), projects=projects)


@page("/tenants/<tenant_id>/keys/new", "GET", "POST", endpoint="model_key_new")
@requires(PROVIDERS_MANAGE)
def model_key_new(tenant_id: str) -> Response:
    tenant = tenant_or_404(actor(), tenant_id)
    services.require_managing(actor(), tenant.id)
    if request.method == "GET":
        return _form(tenant, {"provider": request.args.get("provider", "")})
    wanted = _read()
    if request.form.get("test"):
        return _tested(tenant, None, wanted)
    try:
        made = services.create(portal(), actor(), tenant.id, wanted)
    except Invalid as problem:
        return _form(tenant, request.form, status=422, errors=by_field(problem.errors))
    return moved(_("The key was stored."), url_for("web.model_key", credential_id=made.id))


@page("/model-keys/<credential_id>", endpoint="model_key")
@requires(PROVIDERS_READ)
def model_key(credential_id: str) -> Response:
    return _show(services.get(actor(), credential_id))


def _show(row: Credential, status: int = 200, **context: Any) -> Response:
    used = using.users(portal(), actor(), row)
    shown = services.as_document(row, used.count)
    mine = services.may_manage(actor(), row.tenant_id, row.project_id)
    given = {"row": row, "shown": shown, "using": used, "mine": mine, "report": None, "models": None, "model": "", "search": ""}
    return _page("show", _tenant_of(row), status=status, **(given | context))


@page("/model-keys/<credential_id>/edit", "GET", "POST", endpoint="model_key_edit")
@requires(PROVIDERS_MANAGE)
def model_key_edit(credential_id: str) -> Response:
    row = services.get_managed(actor(), credential_id)
    tenant = _tenant_of(row)
    if request.method == "GET":
        values = {"name": row.name, "title": row.title, "provider": row.provider, "base_url": row.base_url}
        return _form(tenant, values, row=row)
    wanted = _read(row)
    if request.form.get("test"):
        return _tested(tenant, row, wanted)
    try:
        given = Change(wanted.provider, wanted.base_url, wanted.title, wanted.key)
        services.change(portal(), actor(), credential_id, given)
    except Invalid as problem:
        return _form(tenant, request.form, row=row, status=422, errors=by_field(problem.errors))
    except Conflict as problem:
        return _form(tenant, request.form, row=row, status=409, problem=problem)
    return moved(_("The key was saved."), url_for("web.model_key", credential_id=row.id))


@page("/model-keys/<credential_id>/rotate", "GET", "POST", endpoint="model_key_rotate")
@requires(PROVIDERS_MANAGE)
def model_key_rotate(credential_id: str) -> Response:
    row = services.get_managed(actor(), credential_id)
    errors = {}
    if request.method == "POST":
        try:
            used = services.rotate(portal(), actor(), credential_id, request.form.get("key", ""))
            said = _("The key was replaced. Claws that take it up: %(count)s.", count=used.count)
            return moved(said, url_for("web.model_key", credential_id=row.id))
        except Invalid as problem:
            errors = by_field(problem.errors)
    used = using.users(portal(), actor(), row)
    return _page("rotate", _tenant_of(row), status=422 if errors else 200, row=row, using=used, errors=errors)


@page("/model-keys/<credential_id>/delete", "GET", "POST", endpoint="model_key_delete")
@requires(PROVIDERS_MANAGE)
def model_key_delete(credential_id: str) -> Response:
    row = services.get_managed(actor(), credential_id)
    tenant = _tenant_of(row)
    if request.method == "GET":
        return _page("delete", tenant, row=row, using=using.users(portal(), actor(), row))
    services.remove(portal(), actor(), credential_id)
    return moved(_("The key was deleted."), url_for("web.tenant_model_keys", tenant_id=tenant.id))


@page("/model-keys/<credential_id>/test", "POST", endpoint="model_key_test")
@requires(PROVIDERS_MANAGE)
def model_key_test(credential_id: str) -> Response:
    """The models that it opens, or, with a model, the whole test."""
    row = services.get_managed(actor(), credential_id)
    model, search = request.form.get("model", "").strip(), request.form.get("model_search", "").strip()
    asked = Asked("", model=model, credential_id=row.id)
    try:
        if request.form.get("list"):
            found = testing_models.models(portal(), actor(), row.tenant_id, asked, search)
            return _show(row, model=model, **outcomes.listed(found, search))
        return _show(row, report=testing_models.run(portal(), actor(), row.tenant_id, asked), model=model, search=search)
    except Invalid as problem:
        return _show(row, 422, errors=by_field(problem.errors), model=model, search=search)
    except Conflict as problem:
        return _show(row, 409, problem=problem, model=model, search=search)


def _read(row: Credential | None = None) -> Wanted:
    form = request.form
    key = form.get("key", "").strip()
    return Wanted(
        row.name if row else form.get("name", "").strip(), form.get("provider", ""), form.get("base_url", ""),
        form.get("title", ""), form.get("project") or None, key or None,
    )  # fmt: skip


def _tested(tenant: Tenant, row: Credential | None, wanted: Wanted) -> Response:
    """Tries what is typed, and stores nothing. As a part of the page, the form keeps the key that was typed."""
    asked = Asked(wanted.provider, wanted.base_url, request.form.get("model", ""), wanted.key or "", row.id if row else "")
    if fragment():
        return make_response(outcomes.shown(lambda: _found(tenant, asked), "f-model"))
    try:
        return _form(tenant, request.form, row=row, **_found(tenant, asked))
    except Invalid as problem:
        return _form(tenant, request.form, row=row, status=422, errors=by_field(problem.errors))
    except Conflict as problem:
        return _form(tenant, request.form, row=row, status=409, problem=problem)


def _found(tenant: Tenant, asked: Asked) -> dict[str, Any]:
    if request.form["test"] == "list":
        search = request.form.get("model_search", "").strip()
        return outcomes.listed(testing_models.models(portal(), actor(), tenant.id, asked, search), search)
    return {"report": testing_models.run(portal(), actor(), tenant.id, asked)}


def _form(tenant: Tenant, values: Any, *, row: Credential | None = None, status: int = 200, **context: Any) -> Response:
    offered = [one for one in portal().registry.providers.values() if one.key != "none" and not one.served]
    given = {"values": values, "row": row, "offered": offered, "projects": projects_of(actor(), tenant.id), "report": None}
    given |= {"models": None}
    return _page("form", tenant, status=status, **(given | context))
