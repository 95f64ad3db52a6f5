"""The page that duplicates an instance: what is copied and what is not, with the reason, before anything is made."""

from __future__ import annotations

import hashlib
import json
import re
import secrets as random
from typing import Any

from flask import Response, make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.core_permissions import INSTANCE_CREATE
from clawportal.errors import FieldError, Invalid, NotAdmitted, Problem, SettingForbidden
from clawportal.http import forms
from clawportal.http.security import actor, portal, requires
from clawportal.lifecycle import Phase
from clawportal.models import Instance
from clawportal.services.clusters import clusters
from clawportal.services.fleet import duplicates, instances
from clawportal.services.fleet.duplicates import Preview, Wish
from clawportal.services.tenancy import tenancy
from clawportal.web import admission_warnings, auth, gone, pages, rows
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _

_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{8,64}$")


@page("/instances/<instance_id>/duplicate", "GET", "POST")
@requires(INSTANCE_CREATE)
def instance_duplicate(instance_id: str) -> AnyResponse:
    source = gone.refuse(instances.get(actor(), instance_id))
    if request.method == "GET":
        return _page(source, Wish(duplicates.suggested_name(source), source.project_id))
    wish = _read()
    if request.args.get("part") == "live" and fragment():
        return make_response(render_template("instances/_duplicate.html", **_context(source, wish)))
    try:
        made = duplicates.create(portal(), actor(), instance_id, wish, key=_key(instance_id, wish), request_hash="form")
    except (Invalid, NotAdmitted, SettingForbidden) as problem:
        return _page(source, wish, problem)
    admission_warnings.tell(made)
    return pages.moved(_said(source, made, wish), url_for("web.instance", instance_id=made.id))


def _read() -> Wish:
    form = request.form
    files = form.get("files") == "true"
    return Wish(
        form.get("name", "").strip(), form.get("project") or None, form.get("cluster") or None, start=form.get("start") == "true",
        files=files, stop=files and form.get("stop") == "true", secrets=forms.read_secrets(form),
    )  # fmt: skip


def _said(source: Instance, made: Instance, wish: Wish) -> str:
    if wish.files:
        return _("%(name)s was created. The files of %(source)s are being copied.", name=made.name, source=source.name)
    return _("%(name)s was created as a duplicate of %(source)s.", name=made.name, source=source.name)


def _key(instance_id: str, wish: Wish) -> str:
    """Pressing twice makes one instance; the same form with other words in it makes another."""
    given = request.form.get("request_id", "")
    said = json.dumps([instance_id, wish.name, wish.project, wish.cluster, wish.start, wish.files, wish.stop])
    return f"form:{given}:{hashlib.sha256(said.encode()).hexdigest()[:32]}" if _REQUEST_ID.match(given) else ""


def _page(source: Instance, wish: Wish, problem: Problem | None = None) -> Response:
    answer = make_response(render_template("instances/duplicate.html", **_context(source, wish, problem)))
    answer.status_code = problem.status if problem else 200
    return answer


def _context(source: Instance, wish: Wish, problem: Problem | None = None) -> dict[str, Any]:
    found = duplicates.preview(portal(), actor(), source.id, wish)
    given = request.form.get("request_id", "")
    return {
        "i": rows.instance_row(actor(), source),
        "wish": wish,
        "found": found,
        "runs": source.phase not in (Phase.STOPPED, Phase.FAILED),
        "projects": [*rows.project_titles(tenancy.projects(actor(), INSTANCE_CREATE)).items()],
        "clusters": _clusters(),
        "can_files": not duplicates.no_files(actor(), source),
        "errors": _errors(found, problem),
        "problem": problem,
        "request_id": given if _REQUEST_ID.match(given) else random.token_urlsafe(16),
    }


def _errors(found: Preview, problem: Problem | None) -> dict[str, str]:
    """After a refusal what it said; before, only what no field of this page can mend."""
    if problem is not None:
        return auth.told(problem.errors)
    return {error.path: error.message for error in found.errors if not _mended_here(error)}


def _mended_here(error: FieldError) -> bool:
    return error.path in ("name", "project", "cluster") or error.path.startswith("secrets.")


def _clusters() -> list[tuple[str, str]]:
    """Those that take new instances in one of the projects to choose from; which fits to which is checked with the rest."""
    tenants = {choice.tenant_id for choice in tenancy.projects(actor(), INSTANCE_CREATE)}
    return [(cluster.id, cluster.title or cluster.name) for cluster in clusters.usable(tenants) if not cluster.cordoned]
