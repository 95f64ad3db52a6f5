"""Who belongs to an organisation, what everybody may do there and why, and with whom an instance is shared."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import (
    INSTANCE_CREATE,
    INSTANCE_READ,
    INSTANCE_SHARE,
    INSTANCE_UPDATE,
    MEMBER_MANAGE,
    MEMBER_READ,
    ROLE_MANAGE,
)
from clawportal.contracts.permissions import ROLE_WORDS, SELF, Scope, described
from clawportal.errors import Invalid, NotFound
from clawportal.http.i18n import title_of
from clawportal.http.paging import paging
from clawportal.http.security import actor, begin_session, current_actor, portal, public, requires
from clawportal.http.site import external
from clawportal.messages import _m
from clawportal.paging import whole
from clawportal.services.fleet import instances as service
from clawportal.services.fleet import moves
from clawportal.services.identity import identity
from clawportal.services.tenancy import members, service_accounts, tenancy, tenants
from clawportal.web import admission_warnings, auth, gone, pages, rows
from clawportal.web.pages import page
from clawportal.web.tenants import project_page, tenant_page
from clawportal.web.words import gettext as _

# ---- members


@page("/tenants/<tenant_id>/members", endpoint="members")
@requires(MEMBER_READ)
def members_index(tenant_id: str) -> Response:
    return members_page(tenant_id)


def members_page(tenant_id: str, status: int = 200, **context: Any) -> Response:
    who, page, text = actor(), paging(), request.args.get("q", "").strip()[:200]
    found = tenants.get(who, tenant_id, MEMBER_READ)
    listed = whole(page, lambda which: members.listing(who, tenant_id, text=text, which=which))
    return tenant_page(
        "members", found, "members", status=status, members=listed.items, q=text, roles=members.roles(portal(), who, tenant_id),
        page=rows.paged(listed, page), invitations=members.invitations(who, tenant_id),
        service_accounts=service_accounts.listing(who, tenant_id), **context,
    )  # fmt: skip


@page("/tenants/<tenant_id>/members", "POST")
@requires(MEMBER_MANAGE)
def member_create(tenant_id: str) -> Response:
    """The new password is in this answer and never again."""
    form = request.form
    name, role = form.get("name", "").strip(), form.get("role", "")
    try:
        made = members.create(portal(), actor(), tenant_id, name, role, display_name=form.get("display_name", ""))
    except Invalid as problem:
        return members_page(tenant_id, 422, errors=auth.told(problem.errors), values=form)
    return members_page(tenant_id, new_member={"name": made.user.name, "password": made.password})


@page("/tenants/<tenant_id>/members/<user_id>/role", "POST")
@requires(MEMBER_MANAGE)
def member_role(tenant_id: str, user_id: str) -> Response:
    changed = members.change_role(portal(), actor(), tenant_id, user_id, request.form.get("role", ""))
    said = _("%(name)s has the role %(role)s now.", name=changed.name, role=changed.role)
    return pages.moved(said, pages.back(url_for("web.members", tenant_id=tenant_id)))


@page("/tenants/<tenant_id>/members/<user_id>/remove", "POST")
@requires(SELF)
def member_remove(tenant_id: str, user_id: str) -> Response:
    leaving = user_id == actor().id
    members.remove(portal(), actor(), tenant_id, user_id)
    if leaving:
        return pages.moved(_("You left the organisation."), url_for("web.profile"))
    return pages.moved(_("The member was removed."), url_for("web.members", tenant_id=tenant_id))


@page("/tenants/<tenant_id>/invitations", "POST")
@requires(MEMBER_MANAGE)
def invitation_create(tenant_id: str) -> Response:
    """The link is in this answer and never again."""
    try:
        made = members.invite(portal(), actor(), tenant_id, request.form.get("role", ""), note=request.form.get("note", ""))
    except Invalid as problem:
        return members_page(tenant_id, 422, errors=auth.told(problem.errors), values=request.form)
    return members_page(tenant_id, new_link=external(url_for("web.invitation", text=made.text)))


@page("/tenants/<tenant_id>/invitations/<invitation_id>/withdraw", "POST")
@requires(MEMBER_MANAGE)
def invitation_withdraw(tenant_id: str, invitation_id: str) -> Response:
    members.withdraw(portal(), actor(), tenant_id, invitation_id)
    return pages.moved(_("The invitation was withdrawn."), url_for("web.members", tenant_id=tenant_id))


# ---- the other end of an invitation


@page("/invitations/<text>", "GET", "POST")
@public("who is invited may have no account yet; the link is the secret")
def invitation(text: str) -> Response:
    offer = members.look_at(portal(), text)
    if request.method == "GET":
        return _invitation(offer, text)
    if current_actor() is not None:
        tenant = members.accept(portal(), actor(), text)
        return pages.moved(_("Welcome to %(name)s.", name=title_of(tenant.title or tenant.name)), url_for("web.home"))
    form = request.form
    errors = auth.password_errors(form.get("password", ""), form.get("password_again", ""))
    if errors:
        return _invitation(offer, text, errors)
    try:
        user = members.register(portal(), text, form.get("username", "").strip(), form.get("password", ""))
    except Invalid as problem:
        told = {"username" if path == "name" else path: message for path, message in auth.told(problem.errors).items()}
        return _invitation(offer, text, told)
    begin_session(user)
    return pages.moved(_("Welcome to %(name)s.", name=offer.tenant), url_for("web.home"))


def _invitation(offer: members.Offer, text: str, errors: dict[str, str] | None = None) -> Response:
    answer = make_response(
        render_template(
            "tenants/invitation.html", offer=offer, text=text, errors=errors or {}, values=request.form,
            role_words=ROLE_WORDS.get(offer.role, ""), min_password=identity.MIN_PASSWORD,
        )
    )  # fmt: skip
    answer.status_code = 422 if errors else 200
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


# ---- who can do what, and why


@page("/tenants/<tenant_id>/rights")
@requires(MEMBER_READ)
def rights(tenant_id: str) -> Response:
    return _rights(tenant_id)


def _rights(tenant_id: str, status: int = 200, **context: Any) -> Response:
    who, wanted = actor(), request.args.get("permission", "")
    found = tenants.get(who, tenant_id, MEMBER_READ)
    listed = members.rights(portal(), who, tenant_id)
    if wanted:
        if portal().permissions.find(wanted) is None:
            raise Invalid.field("permission", _m("is not a right that exists"))
        listed = [right for right in listed if wanted in right.permissions]
    return tenant_page(
        "rights", found, "rights", status=status, rights=listed, wanted=wanted, roles=members.roles(portal(), who, tenant_id),
        choices=described(portal().permissions.givable), role_words=ROLE_WORDS,
        descriptions=dict(described(portal().permissions)), **context,
    )  # fmt: skip


@page("/tenants/<tenant_id>/roles", "POST")
@requires(ROLE_MANAGE)
def role_create(tenant_id: str) -> Response:
    form = request.form
    try:
        chosen, words = form.getlist("permissions"), form.get("description", "")
        members.create_role(portal(), actor(), tenant_id, form.get("name", "").strip(), chosen, words)
    except Invalid as problem:
        return _rights(tenant_id, 422, errors=auth.told(problem.errors), values=form, chosen=form.getlist("permissions"))
    return pages.moved(_("The role was saved."), url_for("web.rights", tenant_id=tenant_id))


@page("/tenants/<tenant_id>/roles/<role_id>", "GET", "POST")
@requires(ROLE_MANAGE)
def role(tenant_id: str, role_id: str) -> Response:
    found = tenants.get(actor(), tenant_id, ROLE_MANAGE)
    known = next((role for role in members.roles(portal(), actor(), tenant_id) if role.id == role_id), None)
    if known is None:
        raise NotFound(_m("There is no such role in this organisation."))
    errors: dict[str, str] = {}
    chosen, words = [str(permission) for permission in known.permissions], known.description
    if request.method == "POST":
        chosen, words = request.form.getlist("permissions"), request.form.get("description", "")
        try:
            members.change_permissions(portal(), actor(), tenant_id, role_id, chosen, words)
            return pages.moved(_("The role was saved."), url_for("web.rights", tenant_id=tenant_id))
        except Invalid as problem:
            errors = auth.told(problem.errors)
    choices = described(portal().permissions.givable)
    return tenant_page(
        "role", found, "rights", status=422 if errors else 200, role=known, choices=choices, chosen=chosen, errors=errors,
        values={"description": words},
    )  # fmt: skip


@page("/tenants/<tenant_id>/roles/<role_id>/delete", "POST")
@requires(ROLE_MANAGE)
def role_delete(tenant_id: str, role_id: str) -> Response:
    members.delete_role(portal(), actor(), tenant_id, role_id)
    return pages.moved(_("The role was deleted."), url_for("web.rights", tenant_id=tenant_id))


# ---- single projects and instances


@page("/projects/<project_id>/grants", "POST")
@requires(MEMBER_MANAGE)
def project_grant(project_id: str) -> Response:
    form = request.form
    try:
        members.give(portal(), actor(), form.get("member", "").strip(), form.get("role", ""), project_id=project_id)
    except Invalid as problem:
        return project_page(tenants.get_project(actor(), project_id), 422, errors=auth.told(problem.errors), values=form)
    return pages.moved(_("The role was given."), url_for("web.project", project_id=project_id))


@page("/grants/<grant_id>/end", "POST")
@requires(SELF)
def grant_end(grant_id: str) -> Response:
    members.take(portal(), actor(), grant_id)
    return pages.moved(_("The role was taken away."), pages.back(url_for("web.home")))


@page("/instances/<instance_id>/place")
@requires(INSTANCE_READ)
def instance_place(instance_id: str) -> Response:
    return _place(instance_id)


def _place(instance_id: str, status: int = 200, **context: Any) -> Response:
    """In which project an instance is, and with whom it is shared."""
    who = actor()
    found = gone.refuse(service.get(who, instance_id))
    scope = Scope(found.tenant_id, found.project_id, found.id)
    may_share = who.allows(INSTANCE_SHARE, scope) or who.allows(MEMBER_MANAGE, scope)
    shared_roles = []
    if may_share:
        named = [
            (name, words) for name, words in ROLE_WORDS.items() if name in ("viewer", "developer", "operator", "tenant-admin")
        ]
        shared_roles = [(name, words) for name, words in named if _givable(name, scope)]
    targets = [
        choice for choice in tenancy.projects(who, INSTANCE_CREATE)
        if choice.tenant_id == found.tenant_id and choice.id != found.project_id
    ]  # fmt: skip
    given: dict[str, Any] = {"errors": {}, "values": {}} | context
    answer = make_response(
        render_template(
            "instances/place.html", i=rows.instance_row(who, found), shared=members.shares(who, instance_id),
            may_share=may_share, roles=shared_roles, project=tenants.project_title(found.project_id),
            targets=targets if who.allows(INSTANCE_UPDATE, scope) else [],
            people=members.names(who, found.tenant_id) if may_share else [], **given,
        )
    )  # fmt: skip
    answer.status_code = status
    return answer


def _givable(role: str, scope: Scope) -> bool:
    held = members.permissions_of(portal(), scope.tenant_id or "", role) or frozenset()
    return all(actor().allows(permission, scope) for permission in portal().permissions.enumerate(held) if permission != SELF)


@page("/instances/<instance_id>/shares", "POST")
@requires(INSTANCE_READ)
def instance_share(instance_id: str) -> Response:
    form = request.form
    try:
        members.give(portal(), actor(), form.get("member", "").strip(), form.get("role", ""), instance_id=instance_id)
    except Invalid as problem:
        return _place(instance_id, 422, errors=auth.told(problem.errors), values=form)
    return pages.moved(_("The instance is shared."), url_for("web.instance_place", instance_id=instance_id))


@page("/instances/<instance_id>/move", "POST")
@requires(INSTANCE_UPDATE)
def instance_move(instance_id: str) -> Response:
    try:
        admission_warnings.tell(moves.move_instance(portal(), actor(), instance_id, request.form.get("project", "")))
    except Invalid as problem:
        return _place(instance_id, 422, errors=auth.told(problem.errors), values=request.form)
    return pages.moved(_("The instance was moved."), url_for("web.instance_place", instance_id=instance_id))
