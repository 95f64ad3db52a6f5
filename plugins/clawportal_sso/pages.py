"""Sign-in providers, for those who administer the portal: set one up, try it, and say what its groups give."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.sdk.errors import Invalid
from clawportal.sdk.pages import actor, by_field, external, fragment, moved, page, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import PORTAL_ADMIN, PORTAL_ROLES, ROLE_WORDS
from clawportal_sso import group_roles, organisations
from clawportal_sso import providers as service
from clawportal_sso.addresses import callback_of
from clawportal_sso.providers import Known
from clawportal_sso.rights import require
from clawportal_sso.wanted import Wanted

_TEXTS = ("slug", "title", "issuer", "client_id", "scopes", "username_claim", "email_claim", "name_claim", "groups_claim", "role")
_SWITCHES = ("create_users", "link_by_email", "second_factor", "enabled")
_GROUP_FIELDS = {"role": "group_role", "tenant": "group_tenant", "project": "group_project"}
"""The service's names of fields as the second form of the page spells them."""


@page("/providers")
@requires(PORTAL_ADMIN)
def providers() -> Response:
    settings = portal().settings
    return make_response(
        render_template(
            "single_sign_on/index.html", providers=service.listing(actor()), password_sign_in=settings.password_sign_in
        )
    )


@page("/providers/new", "GET", "POST")
@requires(PORTAL_ADMIN)
def provider_new() -> Response:
    require(actor())
    if request.method == "GET":
        return _form(Wanted(slug="", title=""), None)
    try:
        made = service.create(portal(), actor(), _sent())
    except Invalid as problem:
        return _form(_typed(), None, status=422, errors=by_field(problem.errors))
    return _moved(_("%(title)s is set up. Say below what its groups give.", title=made.title), made.id)


@page("/providers/<provider_id>", "GET", "POST")
@requires(PORTAL_ADMIN)
def provider(provider_id: str) -> Response:
    known = service.get(actor(), provider_id)
    if request.method == "GET":
        return _form(known, known)
    try:
        service.change(portal(), actor(), provider_id, _sent())
    except Invalid as problem:
        return _form(_typed(), known, status=422, errors=by_field(problem.errors))
    return _moved(_("The changes are saved."), provider_id)


def _moved(text: str, provider_id: str) -> Response:
    answer: Response = moved(text, url_for("web.provider", provider_id=provider_id))
    return answer


def _typed() -> Wanted:
    """What the form said, as it is shown again: nothing is looked up."""
    form = request.form
    plain: dict[str, Any] = {name: form.get(name, "") for name in _TEXTS}
    # an unticked box is sent as "false" before the place where "true" would stand
    plain |= {name: form.getlist(name)[-1:] == ["true"] for name in _SWITCHES}
    return Wanted(
        **plain,
        secret="" if form.get("no_secret") == "true" else form.get("secret", "") or None,
        email_domains=tuple(form.get("email_domains", "").replace(",", " ").split()),
        tenant_id=form.get("tenant", "").strip() or None,
    )


def _sent() -> Wanted:
    return organisations.with_tenant(actor(), _typed())


def _form(
    values: Wanted | Known, known: Known | None, *, status: int = 200, errors: dict[str, str] | None = None,
    group_errors: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    slug = known.slug if known else values.slug or "…"
    answer = make_response(
        render_template(
            "single_sign_on/form.html", values=values, known=known, errors=errors or {}, group_errors=group_errors or {},
            tenant=organisations.tenant_name(values.tenant_id), tenants=organisations.tenant_names(actor()),
            roles=[name for name in ROLE_WORDS if name not in PORTAL_ROLES], every_role=list(ROLE_WORDS),
            groups=group_roles.groups(actor(), known.id) if known else (), callback=callback_of(slug).replace("%E2%80%A6", "…"),
            signed_out=external(url_for("web.login")), typed=request.form if group_errors else {},
        )
    )  # fmt: skip
    answer.status_code = status
    return answer


@page("/providers/check", "POST")
@requires(PORTAL_ADMIN)
def provider_check() -> Response:
    """The part of the page that says what was found; a page of its own without scripts."""
    wanted, provider_id = _typed(), request.form.get("provider_id") or None
    found = service.examine(portal(), actor(), wanted, callback_of(wanted.slug or "check"), provider_id)
    template = "single_sign_on/_findings.html" if fragment() else "single_sign_on/findings.html"
    return make_response(render_template(template, findings=found))


@page("/providers/<provider_id>/remove", "POST")
@requires(PORTAL_ADMIN)
def provider_remove(provider_id: str) -> Response:
    service.remove(portal(), actor(), provider_id)
    answer: Response = moved(_("The provider was removed."), url_for("web.providers"))
    return answer


# ---- what groups give


@page("/providers/<provider_id>/groups", "POST")
@requires(PORTAL_ADMIN)
def provider_group_add(provider_id: str) -> Response:
    form: Any = request.form
    try:
        group_roles.map_named(
            portal(), actor(), provider_id, form.get("group", ""), form.get("group_role", "").strip(),
            tenant=form.get("group_tenant", ""), project=form.get("group_project", ""),
        )  # fmt: skip
    except Invalid as problem:
        known = service.get(actor(), provider_id)
        told = {_GROUP_FIELDS.get(path, path): words for path, words in by_field(problem.errors).items()}
        return _form(known, known, status=422, group_errors=told)
    return _moved(_("The group is mapped. It counts from each person's next sign-in on."), provider_id)


@page("/providers/<provider_id>/groups/<group_id>/remove", "POST")
@requires(PORTAL_ADMIN)
def provider_group_remove(provider_id: str, group_id: str) -> Response:
    group_roles.unmap(portal(), actor(), provider_id, group_id)
    return _moved(_("The group gives nothing any more."), provider_id)
