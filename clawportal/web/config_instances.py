"""Pages of instances that are made of a template: the form that asks for its variables, and the tab with its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE, INSTANCE_CREATE, INSTANCE_UPDATE
from clawportal.contracts.permissions import Scope
from clawportal.errors import FieldError, Invalid, NotAdmitted, SettingForbidden
from clawportal.http.security import actor, portal, requires
from clawportal.models import ConfigTemplate, ConfigVersion, Instance
from clawportal.services.clusters import clusters
from clawportal.services.configuration import templates, variables
from clawportal.services.fleet import instances, pinned
from clawportal.services.fleet.template_choices import Choice, Held
from clawportal.services.rights import access
from clawportal.services.tenancy import tenancy
from clawportal.web import admission_warnings, pages
from clawportal.web.instances import frame
from clawportal.web.pages import page
from clawportal.web.words import gettext as _

# ---- a new one


@page("/configs/<config_id>/instances/new", "GET", "POST")
@requires(INSTANCE_CREATE)
def config_instance(config_id: str) -> Response:
    row = templates.get(actor(), config_id)
    version = templates.version(row, _chosen())
    if request.method == "GET":
        return _form(row, version, {"variables": {}})
    given = _given(version)
    values: dict[str, Any] = {name: request.form.get(name, "").strip() for name in ("name", "project", "cluster")}
    values["variables"] = given
    wanted = instances.NewInstance(
        name=values["name"], project=values["project"] or None, cluster=values["cluster"] or None,
        template=Choice(row.id, version.number, given),
    )  # fmt: skip
    try:
        made = instances.create(portal(), actor(), wanted)
    except (Invalid, NotAdmitted, SettingForbidden) as problem:
        return _form(row, version, values, problem.errors, problem.status)
    admission_warnings.tell(made)
    return pages.moved(_("%(name)s was created and comes up now.", name=made.name), url_for("web.instance", instance_id=made.id))


def _chosen() -> int | None:
    text = request.values.get("version", "")
    return templates.number_of(text) if text else None


def _given(version: ConfigVersion) -> dict[str, Any]:
    """What was entered, with its types. Fields that the form held back are absent; an empty one takes the value away."""
    known = templates.content(version).variables
    typed = [(one, request.form[f"variables.{one.name}"]) for one in known if f"variables.{one.name}" in request.form]
    return {one.name: variables.from_text(one, text) for one, text in typed if text.strip() or not one.secret}


def _form(
    row: ConfigTemplate, version: ConfigVersion, values: Mapping[str, Any], errors: Iterable[FieldError] = (), status: int = 200
) -> Response:
    choices = [one for one in tenancy.projects(actor(), INSTANCE_CREATE)
               if one.tenant_id == row.tenant_id and row.project_id in (None, one.id)]  # fmt: skip
    known, said, other = templates.content(version).variables, *_by_field(errors, version)
    context = {
        "row": row, "version": version, "variables": known, "values": values, "errors": said, "other": other,
        "projects": [(one.id, one.title or one.name) for one in choices],
        "clusters": [one for one in clusters.usable({row.tenant_id}) if not one.cordoned],
        "may_all": actor().allows(CONFIGS_WRITE, access.scope_of(row)),
    }  # fmt: skip
    return make_response(render_template("configs/instance.html", **context), status)


def _by_field(errors: Iterable[FieldError], version: ConfigVersion) -> tuple[dict[str, str], dict[str, str]]:
    """Errors at fields of the form, and all others."""
    fields = {f"variables.{one.name}" for one in templates.content(version).variables} | {"name", "project", "cluster", "version"}
    found = {error.path.removeprefix("template."): error.message for error in errors}
    return {path: words for path, words in found.items() if path in fields}, {
        path: words for path, words in found.items() if path not in fields
    }


# ---- the tab of one


@page("/instances/<instance_id>/template", "GET", "POST")
@requires(CONFIGS_READ)
def instance_template(instance_id: str) -> Response:
    """POST shows what moving would do and, with `move`, moves."""
    instance = instances.get(actor(), instance_id)
    held = pinned.of_instance(actor(), instance)
    if held is None or request.method == "GET":
        return _tab(instance, held)
    instance = instances.get(actor(), instance_id, INSTANCE_UPDATE)
    version = templates.version(held.template, _chosen())
    given = _different(held, _given(version))
    try:
        if request.form.get("move"):
            return _moved(instance, version, given)
        move = pinned.preview(portal(), actor(), instance.id, version.number, given)
    except (Invalid, NotAdmitted, SettingForbidden) as problem:
        return _tab(instance, held, version, given, errors=problem.errors, status=problem.status)
    return _tab(instance, held, version, given, errors=move.errors, move=move)


def _different(held: Held, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is other than before; what is empty takes the value away, so that the default holds."""
    known = templates.content(held.version)
    before = {one.name: one.default for one in known.variables} | dict(held.variables)
    emptied = {name: None if value in ("", []) else value for name, value in given.items()}
    return {name: value for name, value in emptied.items() if value != before.get(name)}


def _moved(instance: Instance, version: ConfigVersion, given: Mapping[str, Any]) -> Response:
    text = request.form.get("generation", "")
    generation = int(text) if text.isdecimal() and len(text) < 15 else None
    done = pinned.move(portal(), actor(), instance.id, version.number, given, generation=generation)
    admission_warnings.tell(done)
    words = _("%(name)s is at version %(number)s.", name=done.name, number=version.number)
    return pages.moved(words, url_for("web.instance_template", instance_id=done.id))


def _tab(
    instance: Instance, held: Held | None, version: ConfigVersion | None = None, given: Mapping[str, Any] | None = None, *,
    errors: Iterable[FieldError] = (), move: pinned.Move | None = None, status: int = 200, name: str = "",
    make_errors: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    context: dict[str, Any] = {"held": held, "move": move, "errors": {}, "other": {}, "name": name or instance.name}
    if held is not None:
        version = version or templates.version(held.template)
        said, other = _by_field(errors, version)
        content = templates.content(version)
        context |= {
            "number": version.number, "variables": content.variables, "errors": said, "other": other,
            "values": dict(held.variables) | {key: value for key, value in (given or {}).items() if key not in content.secrets},
            "stored": content.secrets & templates.content(held.version).secrets,
            "may_all": actor().allows(CONFIGS_WRITE, access.scope_of(held.template)),
        }  # fmt: skip
    context |= {
        "may_update": actor().allows(INSTANCE_UPDATE, instance.scope()), "make_errors": make_errors or {},
        "may_make": not instance.foreign_id and actor().allows(CONFIGS_WRITE, Scope(instance.tenant_id)),
    }  # fmt: skip
    return make_response(render_template("instances/template.html", **frame(instance), **context), status)


@page("/instances/<instance_id>/template/make", "POST")
@requires(CONFIGS_WRITE)
def instance_template_make(instance_id: str) -> Response:
    instance, name = instances.get(actor(), instance_id), request.form.get("name", "").strip()
    try:
        made = pinned.make_template(portal(), actor(), instance.id, name)
    except Invalid as problem:
        told = {error.path: error.message for error in problem.errors}
        wrong = told if "name" in told else {"name": problem.detail}
        return _tab(instance, pinned.of_instance(actor(), instance), name=name, make_errors=wrong, status=problem.status)
    return pages.moved(
        _("The configuration template %(name)s was created.", name=made.name), url_for("web.config", config_id=made.id)
    )
