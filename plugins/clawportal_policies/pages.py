"""Rules of an organisation and of the whole portal: the list, the form of each kind, what breaks them, and trying a change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import make_response, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from clawportal.sdk import _m
from clawportal.sdk.data import Which, require
from clawportal.sdk.errors import Invalid, NotFound
from clawportal.sdk.fleet import Tenant, clusters, instance_facts, projects_of, tenants
from clawportal.sdk.fleet import tenant as tenant_or_404
from clawportal.sdk.pages import (
    actor,
    adapter_cards,
    back,
    by_field,
    moved,
    page,
    portal,
    requires,
    tenant_abilities,
    translate,
)
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import Actor, Scope
from clawportal_policies import facts
from clawportal_policies import services as policies
from clawportal_policies.kinds import ACTIONS, EXAMPLES, KINDS, WEEKDAYS
from clawportal_policies.models import Policy
from clawportal_policies.permissions import POLICY_MANAGE, POLICY_READ
from clawportal_policies.services import Rule, Trial, Verdict

_CHOICES = 200
"""Instances, projects and organisations to choose from when trying."""


def _page(template: str, tenant: Tenant | None, status: int = 200, **context: Any) -> Response:
    """A page about the rules of a tenant, or of the portal."""
    given: dict[str, Any] = {
        "errors": {},
        "values": {},
        "kinds": KINDS,
        "all_actions": ACTIONS,
        "examples": EXAMPLES,
        "facts": instance_facts(portal()),
    } | context
    given["may_write"] = policies.may_manage(actor(), tenant.id if tenant else None)
    can = tenant_abilities(tenant) if tenant else frozenset()
    answer = make_response(render_template(f"policies/{template}.html", tenant=tenant, tab="policies", can=can, **given))
    answer.status_code = status
    return answer


def _tenant(tenant_id: str) -> Tenant:
    found = tenant_or_404(actor(), tenant_id)
    require(actor(), POLICY_READ, Scope(found.id))
    return found


# ---- lists


def portal_link(who: Actor) -> Markup | None:
    """The way to the rules of the whole portal."""
    return Markup(render_template("policies/_link.html")) if policies.may_manage(who, None) else None  # noqa: S704  # a template of ours


@page("/tenants/<tenant_id>/policies", endpoint="tenant_policies")
@requires(POLICY_READ)
def tenant_policies(tenant_id: str) -> Response:
    found = tenant_or_404(actor(), tenant_id)
    return _page("index", found, policies=[policies.rule_of(row) for row in policies.listing(actor(), tenant_id).items])


@page("/policies", endpoint="policies")
@requires(POLICY_READ)
def portal_policies() -> Response:
    found = policies.listing(actor(), portal_only=True)
    return _page("index", None, policies=[policies.rule_of(row) for row in found.items])


# ---- one rule


@page("/policies/<policy_id>")
@requires(POLICY_READ)
def policy(policy_id: str) -> Response:
    row = policies.get(actor(), policy_id)
    rule = policies.rule_of(row)
    found = policies.breaking(portal(), actor(), rule)
    return _page("show", _place(row), row=row, rule=rule, parameters=_shown(rule), breaking=found, mine=_may_change(row))


def _place(row: Policy) -> Tenant | None:
    return tenant_or_404(actor(), row.tenant_id) if row.tenant_id else None


def _may_change(row: Policy) -> bool:
    return policies.may_manage(actor(), row.tenant_id)


def _shown(rule: Rule) -> list[tuple[str, str]]:
    """The parameters in words: title and value."""
    if rule.kind not in KINDS:
        return [(name, str(value)) for name, value in rule.parameters.items()]
    properties = KINDS[rule.kind].model_json_schema()["properties"]
    texts = _texts(rule)
    return [(schema.get("title", name), texts[name]) for name, schema in properties.items() if texts.get(name)]


@page("/policies/<policy_id>/switch", "POST")
@requires(POLICY_MANAGE)
def policy_switch(policy_id: str) -> Response:
    row = policies.update(portal(), actor(), policy_id, {"enabled": request.form.get("enabled") == "true"})
    said = _("The rule is on.") if row.enabled else _("The rule is off.")
    return moved(said, back(url_for("web.policy", policy_id=policy_id)))


@page("/policies/<policy_id>/delete", "GET", "POST")
@requires(POLICY_MANAGE)
def policy_delete(policy_id: str) -> Response:
    row = policies.get(actor(), policy_id, POLICY_MANAGE)
    rule, tenant = policies.rule_of(row), _place(row)
    if request.method == "GET":
        return _page("delete", tenant, rule=rule)
    policies.remove(portal(), actor(), policy_id)
    return moved(_("The rule was deleted."), _list_url(tenant))


def _list_url(tenant: Tenant | None) -> str:
    return url_for("web.tenant_policies", tenant_id=tenant.id) if tenant else url_for("web.policies")


# ---- the form


@page("/tenants/<tenant_id>/policies/new", "GET", "POST")
@requires(POLICY_MANAGE)
def tenant_policy_new(tenant_id: str) -> Response:
    return _new(_tenant(tenant_id))


@page("/policies/new", "GET", "POST")
@requires(POLICY_MANAGE)
def policy_new() -> Response:
    return _new(None)


def _new(tenant: Tenant | None) -> Response:
    policies.require_writing(actor(), tenant.id if tenant else None)
    if request.method == "GET":
        return _form(tenant, _fresh())
    try:
        made = policies.create(portal(), actor(), tenant.id if tenant else None, _read())
    except Invalid as problem:
        return _form(tenant, _read(), status=422, errors=by_field(problem.errors))
    return moved(_("The rule was created."), url_for("web.policy", policy_id=made.id))


def _fresh() -> Rule | None:
    """What the form begins with; None where the kind has to be chosen first."""
    name = request.args.get("example", "")
    if name in EXAMPLES:
        example = EXAMPLES[name]
        title, remedy = translate(example["title"]), translate(example["remedy"])
        return Rule(name, example["kind"], example["parameters"], title=title, remedy=remedy, actions=tuple(example["actions"]))
    kind = request.args.get("kind", "")
    return (
        Rule("", kind, {"weekdays": list(WEEKDAYS[:5]), "from": "08:00", "to": "18:00"} if kind == "hours" else {})
        if kind
        else None
    )


@page("/policies/<policy_id>/edit", "GET", "POST")
@requires(POLICY_MANAGE)
def policy_edit(policy_id: str) -> Response:
    row = policies.get(actor(), policy_id, POLICY_MANAGE)
    if request.method == "GET":
        return _form(_place(row), policies.rule_of(row), row=row)
    wanted = replace(_read(), name=row.name, kind=row.kind)
    changes = {name: getattr(wanted, name) for name in ("title", "mode", "enabled", "parameters", "actions", "message", "remedy")}
    try:
        policies.update(portal(), actor(), policy_id, changes)
    except Invalid as problem:
        return _form(_place(row), wanted, row=row, status=422, errors=by_field(problem.errors))
    return moved(_("The rule was saved."), url_for("web.policy", policy_id=policy_id))


def _form(tenant: Tenant | None, rule: Rule | None, *, row: Policy | None = None, status: int = 200, **context: Any) -> Response:
    if rule is not None and rule.kind not in KINDS:
        raise NotFound(_m("There is no such kind of rule."))
    if rule is None:
        return _page("kinds", tenant)
    schema = KINDS[rule.kind].model_json_schema()
    given = {"verdicts": None, "breaking": None, "change": _change_values(), **_trial_choices(tenant)} | context
    return _page("form", tenant, status, rule=rule, row=row, schema=schema, texts=_texts(rule), weekdays=WEEKDAYS, **given)


def _texts(rule: Rule) -> dict[str, Any]:
    """The parameters as they are typed: lists and labels one entry a line."""
    return {name: _text(value) for name, value in rule.parameters.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}={text}" if text else str(key) for key, text in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)


def _read() -> Rule:
    """The rule that was typed. What cannot be read stays as it is, and the check says what is wrong with it."""
    form, kind = request.form, request.form.get("kind", "")
    texts = {name: form.get(name, "").strip() for name in ("name", "title", "message", "remedy")}
    return Rule(
        kind=kind, mode=form.get("mode", "enforce"), enabled=form.getlist("enabled")[-1:] != ["false"],
        actions=tuple(form.getlist("actions")), parameters=_parameters(kind), **texts,
    )  # fmt: skip


def _parameters(kind: str) -> dict[str, Any]:
    if kind not in KINDS:
        return {}
    found: dict[str, Any] = {}
    for name, schema in KINDS[kind].model_json_schema()["properties"].items():
        given = request.form.getlist(f"parameters.{name}")
        lines = [line.strip() for text in given for line in text.splitlines() if line.strip()]
        if schema.get("type") == "array":
            found[name] = lines
        elif schema.get("type") == "object":
            found[name] = _pairs(lines)
        else:
            found[name] = (given[-1] if given else "").replace("\r\n", "\n").strip()
    return found


def _pairs(lines: list[str]) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _equals, value in (line.partition("=") for line in lines)}


# ---- trying


@page("/tenants/<tenant_id>/policies/dry-run", "GET", "POST")
@requires(POLICY_READ)
def tenant_policy_try(tenant_id: str) -> Response:
    """All rules against a change; with the fields of a rule, also that one, in its form again."""
    found = _tenant(tenant_id)
    if "kind" in request.form:
        return _try_draft(found, found)
    return _try_stored(found)


@page("/policies/dry-run", "POST")
@requires(POLICY_MANAGE)
def policy_try() -> Response:
    """A rule of the portal that is not saved yet, against a change in one of the organisations."""
    return _try_draft(None, tenant_or_404(actor(), request.form.get("change.tenant", "")))


def _try_stored(tenant: Tenant) -> Response:
    given: dict[str, Any] = {"verdicts": None, "change": _change_values(), **_trial_choices(tenant)}
    if request.method == "GET" and "change.action" not in request.values:
        return _page("try", tenant, **given)
    try:
        verdicts = policies.dry_run(portal(), actor(), tenant.id, _trial())
    except Invalid as problem:
        return _page("try", tenant, 422, **given | {"errors": _change_errors(problem)})
    return _page("try", tenant, **given | {"verdicts": verdicts})


def _try_draft(place: Tenant | None, tenant: Tenant) -> Response:
    policies.require_writing(actor(), place.id if place else None)
    policy_id = request.form.get("policy_id", "")
    row = policies.get(actor(), policy_id, POLICY_MANAGE) if policy_id else None
    draft = replace(_read(), id=row.id if row else "", tenant_id=place.id if place else None)
    if row is not None:
        draft = replace(draft, name=row.name, kind=row.kind)
    verdicts: list[Verdict] | None = None
    try:
        draft = policies.check(replace(draft, name=draft.name or "not-saved"), facts.types(portal()))
        verdicts = policies.dry_run(portal(), actor(), tenant.id, _trial(), draft) if _describes_a_change() else None
        breaking = policies.breaking(portal(), actor(), draft)
    except Invalid as problem:
        errors = by_field(problem.errors) | _change_errors(problem)
        return _form(place, _read() if row is None else draft, row=row, status=422, errors=errors)
    shown = replace(draft, name=request.form.get("name", "").strip()) if row is None else draft
    return _form(place, shown, row=row, verdicts=verdicts, breaking=breaking)


def _describes_a_change() -> bool:
    return bool(request.form.get("change.instance") or request.form.get("change.adapter"))


def _change_errors(problem: Invalid) -> dict[str, str]:
    return {f"change.{path}": message for path, message in by_field(problem.errors).items()}


_PLAIN = ("instance", "adapter", "version", "provider", "model", "cpu", "memory", "storage", "cluster", "project")


def _change_values() -> dict[str, str]:
    names = (*_PLAIN, "action", "labels", "expose", "at", "tenant")
    return {name: request.values.get(f"change.{name}", "").strip() for name in names}


def _trial() -> Trial:
    given = _change_values()
    plain: dict[str, Any] = {name: given[name] or None for name in _PLAIN if name != "instance"}
    labels = _pairs(given["labels"].splitlines()) if given["labels"] else None
    spec = {"expose": given["expose"] == "on"} if given["expose"] else {}
    return Trial(given["action"] or "create", given["instance"], labels=labels, spec=spec, at=_moment(given["at"]), **plain)


def _moment(text: str) -> datetime | None:
    """As a field for date and time sends it; in UTC."""
    if not text:
        return None
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", text):
        raise Invalid.field("at", _m("must be a date and a time, such as 2026-11-23 09:30"))
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise Invalid.field("at", _m("There is no such date or time.")) from None


def _trial_choices(tenant: Tenant | None) -> dict[str, Any]:
    """What a change can be described with."""
    who = actor()
    cards, providers = adapter_cards(), list(portal().registry.providers)
    if tenant is None:
        return {"adapters": cards, "clusters": clusters(), "providers": providers, "projects": [], "instances": [],
                "tenants": tenants(who, which=Which(_CHOICES)).items}  # fmt: skip
    return {
        "adapters": cards, "clusters": clusters(), "providers": providers, "tenants": [],
        "projects": projects_of(who, tenant.id), "instances": policies.candidates(who, tenant.id, _CHOICES),
    }  # fmt: skip
