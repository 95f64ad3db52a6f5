"""Pages of configuration templates: the list, one with its versions, the editor, what differs, and an instance made of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE
from clawportal.contracts.permissions import Scope
from clawportal.errors import FieldError, Invalid, Problem
from clawportal.http.paging import paging
from clawportal.http.security import actor, portal, requires
from clawportal.messages import _m
from clawportal.models import ConfigTemplate, ConfigVersion
from clawportal.paging import Which, whole
from clawportal.services.configuration import rendering, template_checks, template_files, templates
from clawportal.services.configuration.template_checks import Verdict
from clawportal.services.configuration.templates import Filters, NewTemplate, TemplateChange
from clawportal.services.configuration.variables import Variable
from clawportal.services.fleet import pinned
from clawportal.services.rights import access
from clawportal.services.tenancy import tenancy
from clawportal.web import label_fields, pages, rows
from clawportal.web.pages import page
from clawportal.web.words import gettext as _

BLANK = 2
"""Empty rows for variables, beside those that are there."""
_VARIABLE = ("name", "type", "title", "default", "choices", "pattern", "minimum", "maximum", "description")
_FLAGS = ("required", "seen_by", "set_by")
_TYPES = ("string", "number", "boolean", "choice", "list", "secret")


# ---- reading


@page("/configs")
@requires(CONFIGS_READ)
def configs() -> str:
    given = {name: request.args.get(name, "").strip()[:200] for name in ("q", "adapter")}
    at = paging()
    found = whole(at, lambda which: templates.listing(actor(), Filters(text=given["q"], adapter=given["adapter"]), which))
    return render_template(
        "configs/index.html", configs=found.items, page=rows.paged(found, at), filters=given, adapters=rows.adapter_cards(),
        may_write=bool(_targets()),
    )  # fmt: skip


@page("/configs/<config_id>")
@requires(CONFIGS_READ)
def config(config_id: str) -> str:
    row = templates.get(actor(), config_id)
    newest = templates.version(row)
    return render_template(
        "configs/show.html", **_head(row), version=newest, variables=templates.content(newest).variables,
        text=template_files.as_yaml(newest.body), use=pinned.use_of(actor(), row.id),
    )  # fmt: skip


def _head(row: ConfigTemplate) -> dict[str, Any]:
    """What all pages of one template show above themselves."""
    adapter = portal().registry.adapters.get(row.adapter)
    return {
        "row": row, "adapter_title": adapter.title if adapter else row.adapter,
        "may_write": actor().allows(CONFIGS_WRITE, access.scope_of(row)), "may_create": bool(_places(row)),
        "export_url": f"{request.script_root}/api/v1/configs/{row.id}/export",
    }  # fmt: skip


def _places(row: ConfigTemplate) -> list[tenancy.ProjectChoice]:
    """Projects in which somebody may make an instance of it."""
    from clawportal.contracts.core_permissions import INSTANCE_CREATE

    found = tenancy.projects(actor(), INSTANCE_CREATE)
    return [one for one in found if one.tenant_id == row.tenant_id and row.project_id in (None, one.id)]


@page("/configs/<config_id>/versions")
@requires(CONFIGS_READ)
def config_versions(config_id: str) -> str:
    """With `before` and `after`, also what differs between these two."""
    row, at = templates.get(actor(), config_id), paging()
    found = whole(at, lambda which: templates.versions(actor(), config_id, which))
    before, after = (_number(name) for name in ("before", "after"))
    diff = templates.diff(actor(), config_id, before, after) if before and after else None
    return render_template(
        "configs/versions.html", **_head(row), versions=found.items, page=rows.paged(found, at), diff=diff,
        before=before or max(row.latest - 1, 1), after=after or row.latest,
    )  # fmt: skip


def _number(name: str) -> int | None:
    text = request.args.get(name, "")
    return templates.number_of(text) if text else None


# ---- buttons


@page("/configs/<config_id>/versions/<number>/restore", "POST")
@requires(CONFIGS_WRITE)
def config_restore(config_id: str, number: str) -> Response:
    row = templates.get(actor(), config_id)
    done = templates.restore(portal(), actor(), row.id, templates.number_of(number))
    return pages.moved(_("Version %(number)s was saved.", number=done.latest), url_for("web.config", config_id=row.id))


@page("/configs/<config_id>/duplicate", "POST")
@requires(CONFIGS_WRITE)
def config_duplicate(config_id: str) -> Response:
    row = templates.get(actor(), config_id)
    name = _free_name(row)
    made = templates.duplicate(portal(), actor(), row.id, name)
    return pages.moved(
        _("The configuration template %(name)s was created.", name=name), url_for("web.config_edit", config_id=made.id)
    )


def _free_name(row: ConfigTemplate) -> str:
    """The name of the first with a number behind it that nobody has."""
    stem = row.name[:55].rstrip("-")
    names = {one.name for one in templates.listing(actor(), Filters(tenant=row.tenant_id, text=stem), Which(200)).items}
    return next(name for number in range(2, 300) if (name := f"{stem}-{number}") not in names)


@page("/configs/<config_id>/delete", "GET", "POST")
@requires(CONFIGS_WRITE)
def config_delete(config_id: str) -> Response:
    row = templates.get(actor(), config_id, CONFIGS_WRITE)
    if request.method == "GET":
        return make_response(render_template("configs/delete.html", row=row, use=pinned.use_of(actor(), row.id)))
    pinned.delete_template(portal(), actor(), row.id)
    return pages.moved(_("The configuration template %(name)s was deleted.", name=row.name), url_for("web.configs"))


# ---- the editor


@page("/configs/new", "GET", "POST")
@requires(CONFIGS_WRITE)
def config_new() -> Response:
    kind = request.values.get("adapter", "")
    if kind not in portal().registry.adapters:
        return make_response(render_template("configs/kinds.html", adapters=rows.adapter_cards()))
    if request.method == "GET":
        return _editor(None, {"adapter": kind, "body": "spec: {}\n"}, [])
    return _saved(None, kind)


@page("/configs/<config_id>/edit", "GET", "POST")
@requires(CONFIGS_WRITE)
def config_edit(config_id: str) -> Response:
    row = templates.get(actor(), config_id, CONFIGS_WRITE)
    if request.method == "POST":
        return _saved(row, row.adapter)
    newest = templates.version(row)
    values = {name: getattr(row, name) for name in ("adapter", "name", "description", "adapter_versions", "revision")}
    return _editor(row, {**values, "body": template_files.as_yaml(newest.body)}, _as_rows(newest), pairs=list(row.labels.items()))


def _saved(row: ConfigTemplate | None, kind: str) -> Response:
    """Saves or, with `check`, says what is wrong and stores nothing."""
    typed = _typed_rows()
    values = {name: request.form.get(name, "") for name in ("name", "description", "adapter_versions", "message", "target",
                                                            "body", "revision")}  # fmt: skip
    labels = label_fields.read(request.form) or ([], "")
    shown: dict[str, Any] = {"values": {**values, "adapter": kind}, "typed": typed, "pairs": labels[0]}
    try:
        if labels[1]:
            raise Invalid.field("labels", labels[1])
        asked = {
            "name": values["name"].strip(), "description": values["description"], "adapter_versions": values["adapter_versions"],
            "labels": dict(labels[0]), "body": _body(values["body"]), "variables": [_document(one) for one in typed],
            "message": values["message"],
        }  # fmt: skip
        if request.form.get("check"):
            return _checked(row, kind, asked, shown)
        done = _store(row, kind, asked, values)
    except Problem as problem:
        if not isinstance(problem, Invalid) and not problem.errors and problem.status not in (409, 412):
            raise
        errors = problem.errors or (FieldError("", problem.detail),)
        return _editor(row, shown["values"], typed, pairs=labels[0], errors=errors, status=problem.status)
    return pages.moved(_("%(name)s is at version %(number)s.", name=done.name, number=done.latest),
                       url_for("web.config", config_id=done.id))  # fmt: skip


def _store(row: ConfigTemplate | None, kind: str, asked: dict[str, Any], values: Mapping[str, str]) -> ConfigTemplate:
    if row is None:
        what, _colon, place = values["target"].partition(":")
        asked = asked | {"project" if what == "project" else "tenant": place or None}
        return templates.create(portal(), actor(), NewTemplate(adapter=kind, **asked))
    revision = int(values["revision"]) if values["revision"].isdecimal() and len(values["revision"]) < 10 else None
    return templates.update(portal(), actor(), row.id, TemplateChange(**asked), revision=revision)


def _checked(row: ConfigTemplate | None, kind: str, asked: dict[str, Any], shown: dict[str, Any]) -> Response:
    content, errors = rendering.content_of(asked["body"], asked["variables"])
    claw = portal().registry.adapter(kind)
    errors += template_checks.range_errors(claw, asked["adapter_versions"])
    if errors or content is None:
        return _editor(row, shown["values"], shown["typed"], pairs=shown["pairs"], errors=errors, status=422)
    version = template_checks.usual_version(claw, asked["adapter_versions"])
    verdict = template_checks.validate(portal(), content, _where(row), kind, version, {})
    needed = [error for error in verdict.errors if error.code == "missing" and error.path.startswith("variables.")]
    errors = [error for error in verdict.errors if error not in needed]
    if needed and not errors:  # what each claw brings along is no flaw of the template
        errors = template_checks.lasting(claw, asked["adapter_versions"], content)
    names = [error.path.removeprefix("variables.") for error in needed]
    return _editor(row, shown["values"], shown["typed"], pairs=shown["pairs"], errors=errors, verdict=verdict, needed=names)


def _where(row: ConfigTemplate | None) -> tuple[str, str | None]:
    if row is not None:
        return row.tenant_id, row.project_id
    targets = tenancy.projects(actor(), CONFIGS_WRITE)
    wanted = request.form.get("target", "").partition(":")[2]
    chosen = next((one for one in targets if wanted in (one.id, one.tenant_id)), None)
    if chosen is None:
        raise Invalid.field("target", _m("Say in which organisation or project it shall be."), "missing")
    return chosen.tenant_id, chosen.id if chosen.id == wanted else None


def _body(text: str) -> Any:
    try:
        return template_files.parsed(text) or {}
    except Invalid as problem:
        raise Invalid.field("body", problem.errors[0].message) from problem


def _editor(
    row: ConfigTemplate | None, values: Mapping[str, Any], typed: Sequence[Mapping[str, str]], *,
    pairs: label_fields.Pairs | None = None, errors: Sequence[FieldError] = (), verdict: Verdict | None = None, status: int = 200,
    needed: Sequence[str] = (),
) -> Response:  # fmt: skip
    blank = [dict.fromkeys((*_VARIABLE, *_FLAGS), "") for _ignored in range(BLANK)]
    said = {error.path: error.message for error in errors}
    context = {
        "row": row, "values": values, "variables": [*typed, *blank], "pairs": pairs or [], "errors": said, "verdict": verdict,
        "marks": [{"line": _line_of(str(values["body"]), path), "path": path, "message": text} for path, text in said.items()],
        "wrong_rows": {int(number) for path in said if (number := path.removeprefix("variables.").partition(".")[0]).isdigit()},
        "needed": needed, "rendered": template_files.as_yaml(_shown(verdict)) if verdict and not verdict.rendered.errors else "",
        "types": _TYPES, "targets": _targets(), "adapter": portal().registry.adapters.get(values["adapter"]),
    }  # fmt: skip
    return make_response(render_template("configs/editor.html", **context), status)


def _shown(verdict: Verdict) -> dict[str, Any]:
    found = verdict.rendered
    return {"spec": found.spec, "labels": found.labels, "secrets": sorted(found.secrets)}


def _targets() -> list[tuple[str, str]]:
    """Where somebody may make templates: an organisation as a whole, or one of its projects."""
    choices = tenancy.projects(actor(), CONFIGS_WRITE)
    whole = {one.tenant_id: one.tenant_title for one in choices if actor().allows(CONFIGS_WRITE, Scope(one.tenant_id))}
    found = [(f"tenant:{tenant_id}", title) for tenant_id, title in whole.items()]
    return found + [(f"project:{one.id}", f"{one.tenant_title} / {one.title or one.name}") for one in choices]


# ---- variables as rows of the form


def _as_rows(version: ConfigVersion) -> list[dict[str, str]]:
    return [_as_row(variable) for variable in templates.content(version).variables]


def _as_row(variable: Variable) -> dict[str, str]:
    default = variable.default
    number = {name: "" if getattr(variable, name) is None else f"{getattr(variable, name):g}" for name in ("minimum", "maximum")}
    return {
        "name": variable.name, "type": variable.type, "title": variable.title, "description": variable.description,
        "pattern": variable.pattern, "choices": ", ".join(variable.choices),
        "default": "" if default is None else default if isinstance(default, str) else json.dumps(default, ensure_ascii=False),
        "required": "true" if variable.required else "", "seen_by": variable.seen_by, "set_by": variable.set_by, **number,
    }  # fmt: skip


def _typed_rows() -> list[dict[str, str]]:
    """As they were typed; rows without a name say nothing."""
    columns = {name: request.form.getlist(f"variables.{name}") for name in (*_VARIABLE, *_FLAGS)}
    number = min(len(column) for column in columns.values())
    every = [{name: columns[name][place] for name in columns} for place in range(min(number, 110))]
    return [one for one in every if one["name"].strip()]


def _document(one: Mapping[str, str]) -> dict[str, Any]:
    kind, default = one["type"] or "string", one["default"].strip()
    document: dict[str, Any] = {name: one[name].strip() for name in ("name", "title", "description", "pattern")}
    document |= {"type": kind, "required": one["required"] == "true"}
    document |= {name: one[name] for name in ("seen_by", "set_by") if one[name]}
    document["choices"] = [text.strip() for text in one["choices"].split(",") if text.strip()]
    document |= {name: one[name].strip() for name in ("minimum", "maximum") if one[name].strip()}
    return document | ({"default": _default(kind, default)} if default else {})


def _default(kind: str, text: str) -> Any:
    if kind not in ("number", "boolean", "list"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return [part.strip() for part in text.split(",")] if kind == "list" else text


def _line_of(text: str, path: str) -> int:
    """Where a path of the body stands in its text: the deepest part that is found, below the one before."""
    lines, at, found = text.splitlines(), 0, 0
    for part in path.removeprefix("body.").split(".") if path.startswith("body.") else ():
        place = next(
            (n for n in range(at, len(lines)) if lines[n].strip().startswith((f"{part}:", f'"{part}":', f"'{part}':"))), None
        )
        if place is None:
            break
        at, found = place + 1, place + 1
    return found
