"""Creating and editing an instance: one form, made from the adapter's schema and checked while somebody types."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import secrets as random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flask import Response, make_response, render_template, request, url_for
from pydantic import BaseModel
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts import layers as layering
from clawportal.contracts.adapters import Adapter, dialects_of
from clawportal.contracts.core_permissions import EVENT_READ, INSTANCE_CREATE, INSTANCE_UPDATE
from clawportal.contracts.extensions import ModelKey
from clawportal.contracts.permissions import Actor, Scope
from clawportal.contracts.providers import ModelProvider
from clawportal.contracts.specs import InstanceSpec
from clawportal.errors import Conflict, FieldError, Invalid, NotAdmitted, PreconditionFailed, Problem, SettingForbidden
from clawportal.http import forms
from clawportal.http.security import actor, portal, requires
from clawportal.lifecycle import Desired
from clawportal.messages import _m
from clawportal.models import Cluster, Instance
from clawportal.paging import Which
from clawportal.services.clusters import clusters
from clawportal.services.configuration import catalog, console_settings, layers, model_keys, secrets
from clawportal.services.events import event_log
from clawportal.services.fleet import admission, instances, plans
from clawportal.services.rights import access
from clawportal.services.tenancy import tenancy
from clawportal.web import admission_warnings, edit_conflict, label_fields, pages, rows
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _

_PATHS = {"project": "project_id"}
_PARTS = ("settings", "project")
"""What is asked for anew when the kind of claw is changed, or the project: another organisation allows other things."""
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{8,64}$")
_SUGGESTED = re.compile(r"^[a-z0-9-]+-\d+$")


@dataclass
class Draft:
    """The form at one moment: what it shows, what it means, what is wrong with it."""

    mode: str
    adapter: Adapter
    version: str
    values: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] | None = None
    """None where the form had none: they stay as they are."""
    errors: dict[str, str] = field(default_factory=dict)
    instance: Instance | None = None
    generation: int | None = None


@dataclass(frozen=True)
class ProjectOption:
    id: str
    name: str


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


# ---- create


@page("/instances/new", "GET", "POST")
@requires(INSTANCE_CREATE)
def instance_new() -> AnyResponse:
    if request.method == "GET":
        return _page(_fresh(actor(), request.args.get("adapter", "")))
    draft = _read_new(actor())
    if request.args.get("part") in _PARTS:
        return _settings_part(draft)
    if request.form.get("validate"):
        _note_errors(draft, instances.check_new(portal(), actor(), _wanted(draft)))
        return _errors_part(draft)
    return _create(draft)


def _fresh(who: Actor, kind: str) -> Draft:
    cards = [card for card in rows.adapter_cards() if kind or _may_be(who, card.kind)] or rows.adapter_cards()
    if not cards:
        raise Conflict(_m("No kind of claw is loaded. Look at CLAWPORTAL_PLUGINS: it narrows the list of plugins."))
    adapter = portal().registry.adapter(kind or cards[0].kind)
    values = {
        "name": suggested_name(who, adapter.kind),
        "version": "",
        "project_id": "",
        "cluster": "",
        "spec": {"model": {"provider": _provider()}},
    }
    return Draft("create", adapter, catalog.default_version(adapter), values)


def _may_be(who: Actor, kind: str) -> bool:
    """Whether the organisation in which a claw would be made first of all allows this kind."""
    try:
        kinds = tenancy.allowed(tenancy.project_for_create(who, None).tenant_id)
    except Problem:
        return True
    return kinds is None or kind in kinds


def _provider() -> str:
    """The one that needs nothing more, while it can be used; otherwise the first that is offered."""
    known = portal().registry.providers
    service = catalog.model_service(portal(), known.usual) if known.usual else None
    if service is not None and not service.closed:
        return known.usual
    return next((one.id for one in known.values() if not one.served), "")


def suggested_name(who: Actor, kind: str) -> str:
    """The first free name of the form kind-1, kind-2 ..."""
    taken = {row.name for row in instances.listing(who, instances.Filters(text=f"{kind}-"), Which(1000)).items}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{kind}-{number}") not in taken)


def _read_new(who: Actor) -> Draft:
    form = request.form
    adapter = portal().registry.adapter(form.get("adapter", ""))
    versions = [entry.version for entry in adapter.versions()]
    asked, part = form.get("version", ""), request.args.get("part") in _PARTS
    version = asked if asked in versions else catalog.default_version(adapter)
    name = form.get("name", "").strip()
    if part and (not name or _SUGGESTED.match(name)):
        name = suggested_name(who, adapter.kind)
    draft = Draft("create", adapter, version, {"name": name, "version": version, "project_id": form.get("project_id", "")})
    draft.values["cluster"] = form.get("cluster", "")
    if asked and asked not in versions and not part:
        draft.version = asked  # told as an error, not silently replaced
    _read_spec(draft, version, {})
    return draft


def _read_spec(draft: Draft, version: str, stored: Mapping[str, Any]) -> None:
    """The spec out of the form. What the form did not have keeps its stored value."""
    form = request.form
    whole = forms.read(form, "spec", _schema(InstanceSpec))
    settings = forms.read(form, "spec.settings", _schema(draft.adapter.settings_model(version)))
    draft.spec = {key: value for key, value in stored.items() if not forms.sent(form, f"spec.{key}")} | whole.document
    if forms.sent(form, "spec.settings") or not stored:
        draft.spec["settings"] = settings.document
    draft.values["spec"] = whole.typed | {"settings": settings.typed}
    draft.secrets = forms.read_secrets(form)
    _follow_key(draft)
    draft.errors = whole.errors | settings.errors
    _read_labels(draft)


def _follow_key(draft: Draft) -> None:
    """With a stored key come its provider and address: the form has them in other fields, which then say nothing."""
    model = draft.spec.get("model")
    if isinstance(model, dict) and model.get("credential"):
        draft.spec["model"] = {**model, "provider": "", "base_url": ""}
        draft.secrets.pop(catalog.MODEL_KEY, None)


def _read_labels(draft: Draft) -> None:
    found = label_fields.read(request.form)
    if found is None:
        return
    draft.values["labels"], wrong = found
    draft.labels = dict(found[0])
    if wrong:
        draft.errors["labels"] = wrong


def _wanted(draft: Draft) -> instances.NewInstance:
    return instances.NewInstance(
        name=draft.values["name"],
        adapter=draft.adapter.kind,
        version=draft.version,
        project=draft.values["project_id"] or None,
        cluster=draft.values["cluster"] or None,
        labels=draft.labels or {},
        spec=draft.spec,
        secrets=draft.secrets,
    )


def _create(draft: Draft) -> AnyResponse:
    wanted = _wanted(draft)
    if draft.errors:
        _note_errors(draft, instances.check_new(portal(), actor(), wanted))
        return _refused(draft)
    try:
        made = instances.create(portal(), actor(), wanted, key=_key(draft), request_hash="form")
    except (Invalid, NotAdmitted, SettingForbidden) as problem:
        _note_errors(draft, problem.errors)
        return _refused(draft, problem)
    admission_warnings.tell(made)
    return pages.moved(_("%(name)s was created and comes up now.", name=made.name), url_for("web.instance", instance_id=made.id))


def _key(draft: Draft) -> str:
    """Pressing twice makes one instance; the same form with other words in it makes another."""
    given = request.form.get("request_id", "")
    if not _REQUEST_ID.match(given):
        return ""
    said = json.dumps(
        [
            draft.values["name"],
            draft.adapter.kind,
            draft.version,
            draft.values["project_id"],
            draft.values["cluster"],
            draft.spec,
            draft.labels,
        ],
        sort_keys=True,
    )
    return f"form:{given}:{hashlib.sha256(said.encode()).hexdigest()[:32]}"


# ---- edit


@page("/instances/<instance_id>/edit", "GET", "POST")
@requires(INSTANCE_UPDATE)
def instance_edit(instance_id: str) -> AnyResponse:
    instance = instances.get(actor(), instance_id, INSTANCE_UPDATE)
    if instance.desired == Desired.DELETED:
        raise Conflict(_m("%(name)s is being deleted.", name=instance.name))
    if instance.foreign_id:
        raise Conflict(instances.KEEPS)
    adapter = plans.adapter_of(portal(), instance)
    if request.method == "GET":
        return _page(_stored(instance, adapter))
    draft = _read_edit(instance, adapter)
    if request.args.get("part") == "settings":
        return _settings_part(draft)
    if request.form.get("validate"):
        _note_errors(draft, instances.check_change_by(portal(), actor(), instance, _change(draft)))
        return _errors_part(draft)
    return _save(draft, instance)


def _stored(instance: Instance, adapter: Adapter) -> Draft:
    spec = forms.shown(instance.spec, _schema(InstanceSpec))
    spec["settings"] = forms.shown(instance.spec.get("settings", {}), _schema(adapter.settings_model(instance.version)))
    values: dict[str, Any] = {"name": instance.name, "version": instance.version, "project_id": instance.project_id, "spec": spec}
    values["labels"] = sorted((instance.labels or {}).items())
    return Draft("edit", adapter, instance.version, values, instance=instance, generation=instance.generation)


def _read_edit(instance: Instance, adapter: Adapter) -> Draft:
    asked = request.form.get("version", "") or instance.version
    known = asked if asked in [entry.version for entry in adapter.versions()] else instance.version
    values = {"name": instance.name, "version": asked, "project_id": instance.project_id}
    draft = Draft("edit", adapter, asked, values, instance=instance, generation=edit_conflict.read_generation(digits=9))
    _read_spec(draft, known, instance.spec)
    return draft


def _change(draft: Draft) -> instances.InstanceChange:
    return instances.InstanceChange(version=draft.version, labels=draft.labels, spec=draft.spec, secrets=draft.secrets)


def _save(draft: Draft, instance: Instance) -> AnyResponse:
    instance_id = instance.id
    if draft.errors:
        _note_errors(draft, instances.check_change_by(portal(), actor(), instance, _change(draft)))
        return _refused(draft)
    try:
        admission_warnings.tell(instances.update(portal(), actor(), instance_id, _change(draft), generation=draft.generation))
    except (Invalid, NotAdmitted, SettingForbidden) as problem:
        _note_errors(draft, problem.errors)
        return _refused(draft, problem)
    except PreconditionFailed as problem:
        now = instances.get(actor(), instance_id)
        return _refused(draft, problem, _what_happened(draft, now))
    said = _("The configuration of %(name)s was saved.", name=draft.values["name"])
    return pages.moved(said, url_for("web.instance", instance_id=instance_id))


def _what_happened(draft: Draft, now: Instance) -> edit_conflict.Stale:
    events = event_log.feed(actor(), instance_id=now.id, limit=50) if actor().has(EVENT_READ) else []
    last = next((event for event in events if event.kind.endswith("_requested")), None)
    stored = dict(edit_conflict.flat(now.spec))
    changes = [
        edit_conflict.Difference(f"spec.{path}", edit_conflict.shown(stored[path]))
        for path, typed in edit_conflict.flat(draft.spec)
        if path in stored and stored[path] != typed
    ]
    if draft.labels is not None and draft.labels != (now.labels or {}):
        stored_labels = ", ".join(f"{name}={value}" for name, value in sorted((now.labels or {}).items()))
        changes.insert(0, edit_conflict.Difference("labels", stored_labels))
    if draft.version != now.version:
        changes.insert(0, edit_conflict.Difference("version", now.version))
    return edit_conflict.Stale(last.actor if last else "", last.at if last else None, now.generation, changes)


# ---- answers


def _note_errors(draft: Draft, errors: list[FieldError] | tuple[FieldError, ...]) -> None:
    """What the service found, beside what could not even be read; the latter says more about its field."""
    for error in label_fields.note(draft.errors, errors):
        draft.errors.setdefault(_PATHS.get(error.path, error.path), error.message)


def _context(draft: Draft) -> dict[str, Any]:
    who, instance = actor(), draft.instance
    card = rows.adapter_card(draft.adapter)
    known = [entry.version for entry in draft.adapter.versions()]
    version = draft.version if draft.version in known else catalog.default_version(draft.adapter)
    tenant_id = _tenant_id(who, draft)
    allowed = tenancy.allowed(tenant_id) if draft.mode == "create" else None
    shared = _shared(tenant_id, draft.adapter.kind)
    card = _allowed_versions(card, allowed)
    return {
        "mode": draft.mode,
        "adapter": card,
        "adapters": [one for one in rows.adapter_cards() if allowed is None or one.kind in allowed or one.kind == card.kind],
        "version": version,
        "settings_schema": _held(who, draft, version, _free(_schema(draft.adapter.settings_model(version)), shared)),
        "shared": shared,
        "spec_schema": _schema(InstanceSpec),
        "values": draft.values,
        "errors": draft.errors,
        "stored_secrets": [info.name for info in secrets.listing(instance.id)] if instance else [],
        "projects": _projects(who) if draft.mode == "create" else [],
        "marks": _marks(who, draft),
        "clusters": _clusters(who) if draft.mode == "create" else [],
        "i": rows.instance_row(who, instance) if instance else None,
        "generation": draft.generation,
        "request_id": _request_id(),
        "providers": _offered(draft.adapter),
        "model_keys": _model_keys(who, draft),
    }


def _offered(adapter: Adapter) -> list[ModelProvider]:
    """Those that this kind of claw can talk to."""
    return [one for one in portal().registry.providers.values() if one.dialect in dialects_of(adapter)]


def _model_keys(who: Actor, draft: Draft) -> list[ModelKey]:
    """Stored keys that the instance may use; none where no project is found."""
    scope = _scope(who, draft)
    where = (scope.tenant_id, scope.project_id) if scope else None
    return model_keys.offered(portal(), (where[0], where[1])) if where and where[0] else []


def _tenant_id(who: Actor, draft: Draft) -> str:
    """Where the instance is or will be; empty where no project is found: saving says what is wrong with it."""
    try:
        return (draft.instance or tenancy.project_for_create(who, draft.values["project_id"] or None)).tenant_id
    except Problem:
        return ""


def _allowed_versions(card: rows.AdapterCard, allowed: Mapping[str, list[str]] | None) -> rows.AdapterCard:
    """Only those that the organisation allows can be chosen."""
    named = (allowed or {}).get(card.kind)
    return replace(card, versions=[entry for entry in card.versions if entry.version in named]) if named else card


def _shared(tenant_id: str, kind: str) -> dict[str, dict[str, Any]]:
    """What the organisation says about such a claw: strength -> path -> value."""
    found: dict[str, dict[str, Any]] = {layering.DEFAULT: {}, layering.ENFORCED: {}}
    for strength, path, value in layering.said_by(layers.of(tenant_id), kind):
        found[strength][path] = value
    return found


def _free(schema: dict[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that are left to the claw: what is enforced is shown, and not asked for."""
    properties = {
        name: prop for name, prop in schema.get("properties", {}).items() if f"settings.{name}" not in shared[layering.ENFORCED]
    }
    return {**schema, "properties": properties}


def _held(who: Actor, draft: Draft, version: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Settings that need a right which this person lacks say so; while their value is safe they cannot be entered at all."""
    scope = _scope(who, draft)
    if scope is None or console_settings.may(who, scope):
        return schema
    settings, properties = (draft.values.get("spec") or {}).get("settings") or {}, dict(schema["properties"])
    for name, safe in console_settings.marked(draft.adapter.settings_model(version)).items():
        if name in properties:
            held = console_settings.is_safe(settings.get(name, properties[name].get("default")), safe)
            properties[name] = {**properties[name], "readOnly": held, "x-why": console_settings.NEEDS_CONSOLE}
    return {**schema, "properties": properties}


def _scope(who: Actor, draft: Draft) -> Scope | None:
    """Where the instance is or will be; None where no project is found."""
    if draft.instance is not None:
        return access.scope_of(draft.instance)
    try:
        return access.scope_of(tenancy.project_for_create(who, draft.values["project_id"] or None))
    except Problem:
        return None


def _marks(who: Actor, draft: Draft) -> dict[str, dict[str, str]]:
    """Choices that are refused in every case, each with why; in the project that is chosen, or that would be taken."""
    tenant_id = _tenant_id(who, draft)
    kinds = [card.kind for card in rows.adapter_cards()]
    versions = {draft.adapter.kind: [entry.version for entry in draft.adapter.versions()]}
    return admission.marks(portal(), tenant_id, kinds, versions)


def _request_id() -> str:
    """Stays the same while one form is corrected, so that pressing twice still makes one instance."""
    given = request.form.get("request_id", "")
    return given if _REQUEST_ID.match(given) else random.token_urlsafe(16)


def _projects(who: Actor) -> list[ProjectOption]:
    return [ProjectOption(*pair) for pair in rows.project_titles(tenancy.projects(who, INSTANCE_CREATE)).items()]


def _clusters(who: Actor) -> list[Cluster]:
    """Those that take new instances in one of the projects to choose from; which fits to which is checked with the rest."""
    tenants = {choice.tenant_id for choice in tenancy.projects(who, INSTANCE_CREATE)}
    return [cluster for cluster in clusters.usable(tenants) if not cluster.cordoned]


def _page(draft: Draft, **more: Any) -> Response:
    return make_response(render_template("instances/form.html", **(_context(draft) | {"tried": False} | more)))


def _settings_part(draft: Draft) -> Response:
    draft.errors = {}
    template = "instances/_project.html" if request.args.get("part") == "project" else "instances/_settings.html"
    return make_response(render_template(template, **_context(draft)))


def _errors_part(draft: Draft, **more: Any) -> Response:
    tried = bool(request.form.get("tried"))
    context: dict[str, Any] = {"errors": draft.errors, "tried": tried, "problem": None, "i": draft.instance} | more
    return make_response(render_template("instances/_form_errors.html", **context))


def _refused(draft: Draft, problem: Problem | None = None, meanwhile: edit_conflict.Stale | None = None) -> Response:
    """Nothing was stored: the same form again, or, with scripts, only what is wrong with it."""
    more: dict[str, Any] = {"tried": True, "problem": problem, "stale": meanwhile}
    answer = _errors_part(draft, **more) if fragment() else _page(draft, **more)
    answer.status_code = problem.status if problem else 422
    if fragment():
        answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#form-errors", "outerHTML"
    return answer
