"""The way from the portal to a claw's page, and the button on the page of an instance."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from clawportal.sdk.data import Which, get_or_404, now
from clawportal.sdk.errors import Invalid
from clawportal.sdk.fleet import Instance, Phase, Portal
from clawportal.sdk.hosts import bearer, origin_of, portal_url
from clawportal.sdk.pages import actor, by_field, frame, moved, page, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal_apps import services, shares
from clawportal_apps.permissions import APP_OPEN, APP_SHARE
from clawportal_apps.settings import AppSettings


@page("/instances/<instance_id>/apps/<port>")
@requires(APP_OPEN)
def instance_app(instance_id: str, port: str) -> Response | str | tuple[str, int]:
    """On to the page of the claw. From elsewhere only after a click here: no other site opens a claw in somebody's name."""
    wanted = request.args.get("to", "/")
    if not _asked_here():
        found = get_or_404(Instance, instance_id, actor(), APP_OPEN)
        spec = services.port_of(portal(), found, port)
        return render_template("apps/open.html", i=found, spec=spec, to=wanted)
    try:
        opened = services.open_page(portal(), actor(), instance_id, port, bearer(), portal_url())
    except services.SwitchedOff as problem:
        return _switched_off(instance_id, problem)
    return redirect(f"{opened.url}&to={quote(wanted, safe='')}", 303)


def _switched_off(instance_id: str, problem: services.SwitchedOff) -> tuple[str, int]:
    """What to do, for those who may, and whom to ask for the others."""
    found = get_or_404(Instance, instance_id, actor(), APP_OPEN)
    return render_template("apps/off.html", **frame(found), setting=problem.setting, folded=problem.folded), problem.status


def _asked_here() -> bool:
    """By a page of the portal, or by whoever typed the address. Browsers without these headers say where they come from."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    return origin_of(request.referrer or "") == origin_of(request.host_url)


def has_page(of: Portal, instance: Instance) -> bool:
    """Whether a page of the claw itself is there just now."""
    if instance.managed is False or instance.phase != Phase.RUNNING:
        return False
    return any(spec.page and services.page_is_on(of, instance, spec) for spec in services.ports_of(of, instance))


def open_button(of: Portal, instance: Instance) -> Markup | str:
    """Opens the claw's page; further ports are in a menu beside it."""
    ports = services.ports_of(of, instance)
    if not ports or instance.managed is False or instance.phase != Phase.RUNNING:
        return ""
    links = [(spec.title or spec.name, url_for("web.instance_app", instance_id=instance.id, port=spec.name)) for spec in ports]
    return Markup(render_template("apps/_open.html", i=instance, links=links))  # noqa: S704  # our own template, which escapes


@page("/instances/<instance_id>/shared")
@requires(APP_SHARE)
def instance_shared(instance_id: str) -> str:
    return _shared_page(instance_id)


@page("/instances/<instance_id>/shared", "POST", endpoint="instance_shared_new")
@requires(APP_SHARE)
def instance_shared_new(instance_id: str) -> Response | str | tuple[str, int]:
    form = request.form
    try:
        hours = int(form.get("hours", "")) if form.get("hours", "").isascii() and form.get("hours", "").isdigit() else 0
        made = shares.create(portal(), actor(), instance_id, form.get("port", ""), hours, form.get("note", ""), portal_url())
    except Invalid as problem:
        return _shared_page(instance_id, errors=by_field(problem.errors)), 422
    return _shared_page(instance_id, url=made.url)


@page("/instances/<instance_id>/shared/<share_id>/revoke", "POST", endpoint="instance_shared_revoke")
@requires(APP_SHARE)
def instance_shared_revoke(instance_id: str, share_id: str) -> Response:
    shares.revoke(portal(), actor(), share_id)
    return moved(_("The link was taken back."), url_for("web.instance_shared", instance_id=instance_id))


def _shared_page(instance_id: str, **more: Any) -> str:
    found = get_or_404(Instance, instance_id, actor(), APP_SHARE)
    listed = shares.of_instance(actor(), instance_id, Which(100)).items
    longest = portal().section(AppSettings).share_hours
    context = {"errors": {}, "url": "", "values": request.form, "now": now(), "longest": longest} | more
    ports = services.ports_of(portal(), found)
    return render_template("apps/shared.html", **frame(found), links=listed, ports=ports, **context)
