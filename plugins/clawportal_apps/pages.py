"""The way from the portal to a claw's page, and the button on the page of an instance."""

from __future__ import annotations

from urllib.parse import quote

from flask import redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from clawportal.sdk.data import get_or_404
from clawportal.sdk.fleet import Instance, Phase, Portal
from clawportal.sdk.hosts import bearer, origin_of, portal_url
from clawportal.sdk.pages import actor, page, portal, requires
from clawportal_apps import services
from clawportal_apps.permissions import APP_OPEN


@page("/instances/<instance_id>/apps/<port>")
@requires(APP_OPEN)
def instance_app(instance_id: str, port: str) -> Response | str:
    """On to the page of the claw. From elsewhere only after a click here: no other site opens a claw in somebody's name."""
    wanted = request.args.get("to", "/")
    if not _asked_here():
        found = get_or_404(Instance, instance_id, actor(), APP_OPEN)
        spec = services.port_of(portal(), found, port)
        return render_template("apps/open.html", i=found, spec=spec, to=wanted)
    opened = services.open_page(portal(), actor(), instance_id, port, bearer(), portal_url())
    return redirect(f"{opened.url}&to={quote(wanted, safe='')}", 303)


def _asked_here() -> bool:
    """By a page of the portal, or by whoever typed the address. Browsers without these headers say where they come from."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    return origin_of(request.referrer or "") == origin_of(request.host_url)


def open_button(of: Portal, instance: Instance) -> Markup | str:
    """Opens the claw's page; further ports are in a menu beside it."""
    ports = services.ports_of(of, instance)
    if not ports or instance.managed is False or instance.phase != Phase.RUNNING:
        return ""
    links = [(spec.title or spec.name, url_for("web.instance_app", instance_id=instance.id, port=spec.name)) for spec in ports]
    return Markup(render_template("apps/_open.html", i=instance, links=links))  # noqa: S704  # our own template, which escapes
