"""The files of a claw as a page: folders, downloads, and uploads by a script that asks before it replaces anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import render_template, request
from flask_babel import lazy_gettext as _l

from clawportal.contracts.core_permissions import INSTANCE_FILES_READ
from clawportal.errors import Problem, Retry
from clawportal.http.security import actor, portal, requires
from clawportal.services.fleet import instances as service
from clawportal.services.fleet import plans
from clawportal.services.live import file_access, files
from clawportal.web.instances import frame
from clawportal.web.pages import fragment, page

_ABOUT = {
    "work": _l("What the claw works on: its people may look and put things here."),
    "state": _l("Its configuration and memory. Only who may open a console gets at the content."),
    "home": _l("The claw's own. Only who may open a console gets at the content."),
}


@dataclass(frozen=True)
class Crumb:
    name: str
    path: str


@page("/instances/<instance_id>/files")
@requires(INSTANCE_FILES_READ)
def instance_files(instance_id: str) -> str:
    found = service.get(actor(), instance_id, INSTANCE_FILES_READ)
    path = request.args.get("path", "")
    place = file_access.spot(path)
    context: dict[str, Any] = {"folder": None, "problem": "", "about": _ABOUT, "limit": file_access.limit(portal())}
    context["pods"] = plans.cluster_of(found).runtime == "kubernetes"
    context["crumbs"] = _crumbs(place.path if place else "")
    try:
        context["folder"] = files.listing(portal(), actor(), instance_id, path)
    except (Problem, Retry) as error:
        if isinstance(error, Problem) and error.status in (403, 404):
            raise
        context["problem"] = str(error)
    if fragment():
        return render_template("instances/_files.html", i=frame(found)["i"], **context)
    return render_template("instances/files.html", **frame(found), **context)


def _crumbs(path: str) -> list[Crumb]:
    parts = path.split("/") if path else []
    return [Crumb(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]
