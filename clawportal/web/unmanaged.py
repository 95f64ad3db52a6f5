"""What runs in a cluster that no portal made: the list, the page that imports one, and the buttons to adopt and forget it."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.core_permissions import CLUSTER_MANAGE, INSTANCE_CREATE, INSTANCE_READ
from clawportal.errors import Conflict, Invalid, Unavailable, Unsupported
from clawportal.http.security import actor, portal, requires
from clawportal.services.clusters import clusters
from clawportal.services.fleet import unmanaged
from clawportal.services.tenancy import tenancy
from clawportal.web import admission_warnings, pages, rows
from clawportal.web.pages import page
from clawportal.web.words import gettext as _


@page("/clusters/<cluster_id>/foreign")
@requires(CLUSTER_MANAGE)
def cluster_foreign(cluster_id: str) -> str:
    """Asks the cluster; one that does not answer says so here."""
    row = clusters.get(actor(), cluster_id, CLUSTER_MANAGE)
    context: dict[str, Any] = {"cluster": row, "found": [], "problem": None, "titles": _titles()}
    try:
        context["found"] = unmanaged.listing(portal(), actor(), row.id)
    except (Conflict, Unavailable, Unsupported) as problem:
        context["problem"] = problem
    return render_template("clusters/unmanaged.html", **context)


@page("/clusters/<cluster_id>/foreign/<name>", "GET", "POST")
@requires(CLUSTER_MANAGE)
def cluster_import(cluster_id: str, name: str) -> AnyResponse:
    one = unmanaged.get(portal(), actor(), cluster_id, name)
    cluster = clusters.get(actor(), cluster_id, CLUSTER_MANAGE)
    if request.method == "GET":
        version = "" if one.version == unmanaged.UNKNOWN else one.version
        values = {"name": unmanaged.default_name(one.item.name), "adapter": one.adapter, "version": version, "project": ""}
        return _page(cluster, one, values)
    values = {key: request.form.get(key, "").strip() for key in ("name", "adapter", "version", "project")}
    try:
        given = unmanaged.Import(values["name"], values["adapter"], values["version"], values["project"] or None)
        row = unmanaged.import_one(portal(), actor(), cluster_id, one.item.id, given)
    except Invalid as problem:
        return _page(cluster, one, values, {error.path: error.message for error in problem.errors}, 422)
    admission_warnings.tell(row)
    text = _("%(name)s is imported. The portal only observes it.", name=row.name)
    return pages.moved(text, url_for("web.instance", instance_id=row.id))


def _page(
    cluster: Any, one: unmanaged.Found, values: dict[str, str], errors: dict[str, str] | None = None, status: int = 200
) -> Response:
    projects = [*rows.project_titles(tenancy.projects(actor(), INSTANCE_CREATE)).items()]
    answer = make_response(
        render_template(
            "clusters/import.html", cluster=cluster, one=one, values=values, errors=errors or {}, projects=projects,
            kinds=sorted(_titles().items(), key=lambda item: item[1]),
        )
    )  # fmt: skip
    answer.status_code = status
    return answer


def _titles() -> dict[str, str]:
    return {kind: adapter.title for kind, adapter in portal().registry.adapters.items()}


@page("/instances/<instance_id>/<any(adopt, forget):action>", "POST")
@requires(INSTANCE_READ)
def instance_takeover(instance_id: str, action: str) -> AnyResponse:
    if action == "forget":
        row = unmanaged.forget(portal(), actor(), instance_id)
        text = _("%(name)s is forgotten. Its container was not touched.", name=row.name)
        return pages.moved(text, url_for("web.instances"))
    row = unmanaged.adopt(portal(), actor(), instance_id)
    admission_warnings.tell(row)
    return pages.moved(_("%(name)s is managed by the portal now.", name=row.name), url_for("web.instance", instance_id=row.id))
