"""Service accounts of an organisation: made on the page of its members, looked after on a page of their own."""

from __future__ import annotations

from typing import Any

from flask import request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import MEMBER_MANAGE, MEMBER_READ
from clawportal.contracts.permissions import described
from clawportal.errors import Invalid
from clawportal.http.security import actor, portal, requires
from clawportal.services.tenancy import members, service_accounts, tenants
from clawportal.web import auth, pages, profile
from clawportal.web.members import members_page
from clawportal.web.pages import page
from clawportal.web.tenants import tenant_page
from clawportal.web.words import gettext as _


@page("/tenants/<tenant_id>/service-accounts", "POST")
@requires(MEMBER_MANAGE)
def service_account_create(tenant_id: str) -> Response:
    form = request.form
    name, role, words = form.get("service_name", "").strip(), form.get("role", ""), form.get("description", "")
    try:
        made = service_accounts.create(portal(), actor(), tenant_id, name, role, description=words)
    except Invalid as problem:
        told = {"service_name" if path == "name" else path: text for path, text in auth.told(problem.errors).items()}
        return members_page(tenant_id, 422, service_errors=told, service_values=form)
    said = _("The service account was made. Make a token for its program.")
    return pages.moved(said, url_for("web.service_account", tenant_id=tenant_id, account_id=made.id))


@page("/tenants/<tenant_id>/service-accounts/<account_id>", endpoint="service_account")
@requires(MEMBER_READ)
def service_account_show(tenant_id: str, account_id: str) -> Response:
    return _show(tenant_id, account_id)


def _show(tenant_id: str, account_id: str, status: int = 200, **context: Any) -> Response:
    who = actor()
    found = tenants.get(who, tenant_id, MEMBER_READ)
    account = service_accounts.get(who, tenant_id, account_id)
    mine = service_accounts.rights_of(portal(), who, tenant_id, account_id)
    given: dict[str, Any] = {"new_token": None, "typed": {}} | context
    return tenant_page(
        "service_account", found, "members", status=status, account=account, roles=members.roles(portal(), who, tenant_id),
        tokens=service_accounts.tokens(who, tenant_id, account_id),
        grants=[grant for grant in members.given(who, tenant_id) if grant.user_id == account_id],
        rights=described(mine), **given,
    )  # fmt: skip


@page("/tenants/<tenant_id>/service-accounts/<account_id>", "POST")
@requires(MEMBER_MANAGE)
def service_account_change(tenant_id: str, account_id: str) -> Response:
    form = request.form
    active = {"on": True, "off": False}.get(form.get("active", ""))
    wanted = service_accounts.Change(form.get("role") or None, form.get("description"), active)
    try:
        service_accounts.change(portal(), actor(), tenant_id, account_id, wanted)
    except Invalid as problem:
        return _show(tenant_id, account_id, 422, errors=auth.told(problem.errors), values=form)
    said = _("The service account was changed.")
    return pages.moved(said, url_for("web.service_account", tenant_id=tenant_id, account_id=account_id))


@page("/tenants/<tenant_id>/service-accounts/<account_id>/delete", "POST")
@requires(MEMBER_MANAGE)
def service_account_delete(tenant_id: str, account_id: str) -> Response:
    service_accounts.delete(portal(), actor(), tenant_id, account_id)
    return pages.moved(_("The service account was deleted. Its tokens are refused."), url_for("web.members", tenant_id=tenant_id))


@page("/tenants/<tenant_id>/service-accounts/<account_id>/tokens", "POST")
@requires(MEMBER_MANAGE)
def service_token_create(tenant_id: str, account_id: str) -> Response:
    """The new token is in this answer and never again."""
    try:
        days = profile.lifetime(request.form.get("expires_days", ""))
        made = service_accounts.create_token(
            portal(), actor(), tenant_id, account_id, request.form.get("name", ""), days, limits=profile.limits()
        )
    except Invalid as problem:
        return _show(tenant_id, account_id, 422, errors=profile.told_errors(problem), typed=profile.typed())
    return _show(tenant_id, account_id, new_token=made.text)


@page("/tenants/<tenant_id>/service-accounts/<account_id>/tokens/<token_id>/revoke", "POST")
@requires(MEMBER_MANAGE)
def service_token_revoke(tenant_id: str, account_id: str, token_id: str) -> Response:
    service_accounts.revoke_token(portal(), actor(), tenant_id, account_id, token_id)
    back = url_for("web.service_account", tenant_id=tenant_id, account_id=account_id)
    return pages.moved(_("The token was revoked."), back)
