"""Policies: the rules of a tenant and of the whole portal, and the one place where every change of an instance meets them.

`admit` is called inside the transaction of a change, beside the quotas: one statement reads the rules, and a change that one of
them refuses leaves nothing behind. What exists already is never touched by a new rule; `breaking` lists it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, or_, select

from clawportal.sdk import Message, _m, _n, clipped, joined
from clawportal.sdk.adapters import InstanceSpec
from clawportal.sdk.data import Order, Slice, Which, db, field_errors, get_or_404, now, require, slice_of, transaction, visible
from clawportal.sdk.errors import Conflict, FieldError, Forbidden, Invalid, NotAdmitted, NotFound
from clawportal.sdk.events import record
from clawportal.sdk.features import InstanceChange
from clawportal.sdk.fleet import (
    NOTHING,
    Cluster,
    Instance,
    Layer,
    Portal,
    Project,
    Tenant,
    default_version,
    effective,
    layer_of,
    secret_fields,
)
from clawportal.sdk.permissions import INSTANCE_READ, TENANT_READ, Actor, Permission, Scope
from clawportal_policies import facts as told_facts
from clawportal_policies.expressions import BATCH_SECONDS, EVALUATOR, SECONDS
from clawportal_policies.kinds import ACTIONS, KINDS, Expression, Facts, Hit, Kind, applies, variables
from clawportal_policies.models import Policy
from clawportal_policies.permissions import POLICY_MANAGE, POLICY_READ

log = logging.getLogger(__name__)

MODES = ("enforce", "warn")
MOST = 100
"""Rules of one tenant, and of the portal: each change looks at all of them."""
LOOKED_AT, LOOKED_AT_BY_EXPRESSION, LISTED = 2000, 500, 50
"""How many instances are held against a rule to see what breaks it, and how many of those are named."""
PASSES, REFUSES, WARNS, NOT_ASKED = "passes", "refuses", "warns", "not-asked"
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class Rule:
    """A policy as it is evaluated: stored, or not saved yet."""

    name: str
    kind: str
    parameters: Mapping[str, Any]
    title: str = ""
    enabled: bool = True
    mode: str = "enforce"
    actions: tuple[str, ...] = ()
    message: str = ""
    remedy: str = ""
    id: str = ""
    tenant_id: str | None = None

    @property
    def called(self) -> str:
        return self.title or self.name


_TEXTS = {"title": 200, "message": 500, "remedy": 500}


def rule_of(row: Policy) -> Rule:
    given = {item.name: getattr(row, item.name) for item in fields(Rule)}
    return Rule(**(given | {"actions": tuple(row.actions or ())}))


_REFUSED = _n("The rule “%(rule)s” refuses this: %(reason)s")
_WARNED = _n("The rule “%(rule)s” warns: %(reason)s")


@dataclass(frozen=True)
class Verdict:
    """What one rule says about one change."""

    rule: Rule
    outcome: str
    reason: str = ""
    """What was found, in the rule's own terms."""
    path: str = ""

    @property
    def sentence(self) -> str:
        """What is told to whoever asked for the change: the words of whoever wrote the rule, if there are any."""
        values = {"rule": self.rule.called, "reason": self.rule.message or self.reason}
        said = Message(_REFUSED if self.outcome == REFUSES else _WARNED, values)
        return joined((said, self.rule.remedy)) if self.rule.remedy else said

    def as_document(self) -> dict[str, Any]:
        rule = self.rule
        return {
            "id": rule.id, "name": rule.name, "title": rule.called, "scope": "tenant" if rule.tenant_id else "portal",
            "kind": rule.kind, "mode": rule.mode, "outcome": self.outcome, "reason": self.reason, "path": self.path,
            "message": rule.message, "remedy": rule.remedy,
        }  # fmt: skip


# ---- judging


def judge(
    rules: Sequence[Rule], many: Sequence[Facts], seconds: float = SECONDS, known: Mapping[str, str] | None = None
) -> list[list[Verdict]]:
    """What each rule says about each change. All expressions go to the helper together. `known`: types of facts of features."""
    texts = {index: text for index, rule in enumerate(rules) if (text := _expression(rule)) is not None}
    asked = [
        facts for facts in many if any(applies(rules[index].kind, list(rules[index].actions), facts.action) for index in texts)
    ]
    results = EVALUATOR.evaluate(list(texts.values()), [variables(facts) for facts in asked], seconds, known) if asked else []
    found = {id(facts): dict(zip(texts, row, strict=True)) for facts, row in zip(asked, results, strict=True)}
    return [[_verdict(rule, facts, found.get(id(facts), {}).get(index)) for index, rule in enumerate(rules)] for facts in many]


def _expression(rule: Rule) -> str | None:
    return str(rule.parameters.get("expression", "")) if rule.kind == "expression" else None


def _told(portal: Portal, rules: Iterable[Rule], ids: Collection[str]) -> dict[str, told_facts.Told]:
    return told_facts.of(portal, [text for rule in rules if (text := _expression(rule)) is not None], ids)


def _verdict(rule: Rule, facts: Facts, result: Any) -> Verdict:
    if rule.kind in KINDS and not applies(rule.kind, list(rule.actions), facts.action):
        return Verdict(rule, NOT_ASKED)
    hit = _expression_hit(result) if rule.kind == "expression" else _hit(rule, facts)
    if hit is None:
        return Verdict(rule, PASSES)
    return Verdict(rule, REFUSES if rule.mode == "enforce" else WARNS, hit.reason, hit.path)


def _expression_hit(result: Any) -> Hit | None:
    if result is None or result.value is None:
        return Hit(
            _m("Its expression cannot be evaluated: %(result)s", result=result.error if result else _m("nothing answered"))
        )
    return None if result.value else Hit(_m("Its condition is not met."))


def _hit(rule: Rule, facts: Facts) -> Hit | None:
    try:
        return KINDS[rule.kind].model_validate(dict(rule.parameters)).hit(facts)
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:  # such as one that a later release wrote
        return Hit(
            _m("The rule cannot be evaluated: %(__name__)s. Ask an administrator to correct it.", __name__=type(error).__name__)
        )


# ---- the transaction of a change


def admit(portal: Portal, actor: Actor, change: InstanceChange) -> tuple[Verdict, ...]:
    """Refuse with 409 what a rule does not allow; otherwise what rules in warning mode say, which is recorded as well."""
    instance = change.instance
    with db.session.no_autoflush:
        rules = [rule for rule in _binding(instance.tenant_id) if _asked(rule, change.action)]
        if not rules:
            return ()
        facts = _facts(portal, actor, change.action, instance, rules, project_id=change.project_id)
    verdicts = judge(rules, [facts], known=told_facts.types(portal))[0]
    refusing = [verdict for verdict in verdicts if verdict.outcome == REFUSES]
    if refusing:
        raise refusal(refusing)
    warning = tuple(verdict for verdict in verdicts if verdict.outcome == WARNS)
    if warning:
        _record_warnings(portal, actor, instance, warning)
    return warning


def _record_warnings(portal: Portal, actor: Actor, instance: Instance, warning: tuple[Verdict, ...]) -> None:
    message = joined((instance.name, joined(verdict.sentence for verdict in warning)), ": ")
    data = {"policies": [verdict.as_document() for verdict in warning]}
    record(
        portal, "instance.policy_warned", actor=actor, instance=instance, level="warning", reason=_n("PolicyWarning"),
        message=clipped(message, 2000), data=data,
    )  # fmt: skip


def _asked(rule: Rule, action: str) -> bool:
    return rule.kind not in KINDS or applies(rule.kind, list(rule.actions), action)


def _binding(tenant_id: str, *where: ColumnElement[bool]) -> list[Rule]:
    """The rules that hold in a tenant, in one statement; those of the portal first."""
    query = select(Policy).where(or_(Policy.tenant_id == tenant_id, Policy.tenant_id.is_(None)), Policy.enabled, *where)
    return [rule_of(row) for row in db.session.scalars(query.order_by(Policy.tenant_id.is_not(None), Policy.name))]


class PolicyRefused(NotAdmitted):
    """`extra["policies"]` names every rule that was hit, with its words and remedy."""

    title, code = _m("A rule does not allow this"), "policy"


def refusal(verdicts: Sequence[Verdict]) -> PolicyRefused:
    errors = [FieldError(verdict.path, verdict.sentence, "policy") for verdict in verdicts]
    problem = PolicyRefused(joined(error.message for error in errors), errors=errors)
    problem.extra = {"policies": [verdict.as_document() for verdict in verdicts]}
    return problem


def preview(portal: Portal, actor: Actor, change: InstanceChange) -> list[FieldError]:
    """What rules would say to a change that is not stored; for forms that are checked while one types."""
    rules = [rule for rule in _binding(change.instance.tenant_id) if _asked(rule, change.action)]
    if not rules:
        return []
    facts = _facts(portal, actor, change.action, change.instance, rules)
    verdicts = judge(rules, [facts], known=told_facts.types(portal))[0]
    return list(refusal(found).errors) if (found := [verdict for verdict in verdicts if verdict.outcome == REFUSES]) else []


# ---- facts


def _facts(
    portal: Portal, actor: Actor, action: str, instance: Instance, rules: Iterable[Rule], *, project_id: str = ""
) -> Facts:
    tenant, cluster = db.session.get(Tenant, instance.tenant_id), db.session.get(Cluster, instance.cluster_id)
    project = db.session.get(Project, project_id or instance.project_id)
    known = instance.id or ""
    facts = _described(
        portal, actor, action, now(), instance,
        _words(tenant), _words(project), (cluster.name, cluster.runtime) if cluster else ("", ""), layer_of(instance.tenant_id),
    )  # fmt: skip
    return replace(facts, told=_told(portal, rules, [known])[known])


def _words(row: Tenant | Project | None) -> dict[str, str]:
    return {"id": row.id, "name": row.name, "title": row.title or row.name} if row else {"id": "", "name": "", "title": ""}


def _described(
    portal: Portal, actor: Actor, action: str, now: datetime, instance: Any, tenant: Mapping[str, str],
    project: Mapping[str, str], cluster: tuple[str, str], layer: Layer,
) -> Facts:  # fmt: skip
    """`instance`: a row, or anything with its name, adapter, version, labels and spec."""
    adapter = portal.registry.adapters.get(instance.adapter)
    said = effective(portal.registry.providers, layer, adapter, instance.version, instance.spec or {}, instance.labels)
    spec = _effective(adapter, instance.version, said.spec)
    model = spec.get("model") or {}
    spec["model"] = {**model, "provider": model.get("provider") or portal.registry.providers.usual}
    resources = spec.get("resources") or {}
    return Facts(
        action=action, now=now, name=instance.name or "", adapter=instance.adapter, version=instance.version,
        uses_model=(adapter is None or "model" in adapter.capabilities) and not getattr(instance, "foreign_id", ""),
        served=portal.registry.providers.served,
        cluster=cluster[0], runtime=cluster[1],
        labels=said.labels, spec=spec, cpu=resources.get("cpu") or "",
        memory=resources.get("memory") or (adapter.suggested_memory if adapter else ""),
        storage=resources.get("storage") or "",
        actor={"id": actor.id, "name": actor.name, "kind": actor.kind}, tenant=tenant, project=project,
    )  # fmt: skip


def _effective(adapter: Any, version: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec as it holds: a setting that nobody wrote has its default."""
    if adapter is None:
        return dict(spec)
    try:
        model = adapter.settings_model(version)
        settings = model.model_validate(spec.get("settings") or {}).model_dump(mode="json")
    except Exception as error:  # a validator of a plugin may raise anything
        log.debug("settings cannot be judged: %r", error)
        return dict(spec)
    hidden = secret_fields(model)
    return {**spec, "settings": {name: value for name, value in settings.items() if name not in hidden}}


# ---- reading


_ORDER = Order(
    (Policy.tenant_id.is_not(None), Policy.name.expression, Policy.id.expression), (bool, str, str),
    lambda row: (row.tenant_id is not None, row.name, row.id),
)  # fmt: skip
"""Those of the portal first."""
_MANY = Which(200)


def listing(actor: Actor, tenant_id: str | None = None, *, portal_only: bool = False, which: Which = _MANY) -> Slice[Policy]:
    """Those that bind a tenant, those of the portal alone, or all that one may read."""
    where = [visible(Policy, actor)]
    if tenant_id is not None:
        tenant = get_or_404(Tenant, tenant_id, actor, TENANT_READ)
        require(actor, POLICY_READ, Scope(tenant.id))
        where.append(or_(Policy.tenant_id == tenant_id, Policy.tenant_id.is_(None)))
    if portal_only:
        where.append(Policy.tenant_id.is_(None))
    total = db.session.scalar(select(func.count()).select_from(Policy).where(*where)) or 0
    return slice_of(
        select(Policy).where(*where), _ORDER, which, about=("policies", tenant_id, portal_only), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    )  # fmt: skip


def get(actor: Actor, policy_id: str, permission: Permission = POLICY_READ, *, lock: bool = False) -> Policy:
    """404 for a stranger; 403 for who may read it but not do this."""
    row = get_or_404(Policy, policy_id, actor, POLICY_READ, lock=lock)
    if not row.reached_by(actor, permission):
        if row.tenant_id is None and actor.has(permission):
            raise Forbidden(
                _m("This rule holds in the whole portal. Only its administrators change it, outside of an organisation.")
            )
        require(actor, permission, row.scope())
    return row


def may_manage(actor: Actor, tenant_id: str | None) -> bool:
    return actor.allows(POLICY_MANAGE, Scope(tenant_id))


# ---- writing


def create(portal: Portal, actor: Actor, tenant_id: str | None, wanted: Rule) -> Policy:
    """A new rule of a tenant, or, with None, of the whole portal."""
    require_writing(actor, tenant_id)
    wanted = check(wanted, told_facts.types(portal))
    with transaction():
        if tenant_id is not None:
            tenant = get_or_404(Tenant, tenant_id, actor, TENANT_READ, lock=True)
            if tenant.deleting_at is not None:
                raise Conflict(_m("%(title)s is being deleted.", title=tenant.title or tenant.name))
        same = Policy.tenant_id == tenant_id if tenant_id else Policy.tenant_id.is_(None)
        names = set(db.session.scalars(select(Policy.name).where(same)))
        if wanted.name in names:
            raise Invalid.field(
                "name", _m("There is already a rule named %(name)s. Choose another name.", name=wanted.name), "taken"
            )
        if len(names) >= MOST:
            raise Conflict(
                _m("There are %(MOST)s rules already, and every change looks at all of them. Delete one first.", MOST=MOST)
            )
        row = Policy(tenant_id=tenant_id, created_by=actor.name, **_columns(wanted))
        db.session.add(row)
        db.session.flush()
        _tell(portal, actor, row, "created", _m("The rule %(name)s was created.", name=wanted.called))
    return row


def require_writing(actor: Actor, tenant_id: str | None) -> None:
    if tenant_id is not None:
        get_or_404(Tenant, tenant_id, actor, TENANT_READ)
        require(actor, POLICY_MANAGE, Scope(tenant_id))
    elif not may_manage(actor, None):
        raise Forbidden(
            _m(
                "You lack the right “%(description)s” for the whole portal. Name an organisation.",
                description=POLICY_MANAGE.description,
            )
        )


def _columns(rule: Rule) -> dict[str, Any]:
    given = {item.name: getattr(rule, item.name) for item in fields(Rule) if item.name not in ("id", "tenant_id")}
    return given | {"actions": list(rule.actions), "parameters": dict(rule.parameters)}


def _tell(portal: Portal, actor: Actor, row: Policy, verb: str, message: str) -> None:
    data = {"policy_id": row.id, "name": row.name, "enabled": row.enabled, "mode": row.mode}
    record(portal, f"policy.{verb}", actor=actor, tenant_id=row.tenant_id, message=message, data=data)


def update(portal: Portal, actor: Actor, policy_id: str, changes: Mapping[str, Any]) -> Policy:
    """Change what is named; the name and to whom it belongs never change."""
    before = rule_of(get(actor, policy_id, POLICY_MANAGE))
    wanted = check(replace(before, **changes), told_facts.types(portal))  # outside of the transaction: it may ask the helper
    with transaction():
        row = get(actor, policy_id, POLICY_MANAGE, lock=True)
        for name, value in _columns(wanted).items():
            if name in changes and name != "name":
                setattr(row, name, value)
        row.updated_at = now()
        said = _n("The rule %(name)s was changed.")
        if set(changes) == {"enabled"}:
            said = _n("The rule %(name)s was switched on.") if row.enabled else _n("The rule %(name)s was switched off.")
        _tell(portal, actor, row, "changed", Message(said, {"name": row.title or row.name}))
    return row


def remove(portal: Portal, actor: Actor, policy_id: str) -> None:
    with transaction():
        row = get(actor, policy_id, POLICY_MANAGE, lock=True)
        db.session.delete(row)
        db.session.flush()
        _tell(portal, actor, row, "deleted", _m("The rule %(name)s was deleted.", name=row.title or row.name))


def check(wanted: Rule, known: Mapping[str, str] | None = None) -> Rule:
    """The rule as it is stored. Invalid names every field that is wrong, in an expression with the position.

    `known`: types of the facts that features tell.
    """
    errors = _plain_errors(wanted)
    parameters: dict[str, Any] = dict(wanted.parameters)
    if wanted.kind in KINDS:
        try:
            found = KINDS[wanted.kind].model_validate(parameters)
            parameters = found.model_dump(mode="json", by_alias=True)
            errors += _expression_errors(found, known)
        except ValidationError as error:
            errors += field_errors(error, "parameters")
    if errors:
        raise Invalid(joined((joined((error.path, error.message), ": ") for error in errors[:3]), "; "), errors=errors)
    texts = {name: getattr(wanted, name).strip() for name in _TEXTS}
    return replace(wanted, parameters=parameters, actions=tuple(name for name in ACTIONS if name in wanted.actions), **texts)


def _plain_errors(wanted: Rule) -> list[FieldError]:
    errors = []
    if not _NAME.fullmatch(wanted.name):
        errors.append(FieldError("name", _m("must have 1 to 63 small letters, digits or dashes, such as no-exposed-claws")))
    errors += [
        FieldError(name, _m("may have %(most)s characters at most", most=most))
        for name, most in _TEXTS.items()
        if len(getattr(wanted, name).strip()) > most
    ]
    if wanted.kind not in KINDS:
        errors.append(FieldError("kind", _m("must be one of %(join)s", join=[*KINDS]), "unknown"))
    if wanted.mode not in MODES:
        errors.append(FieldError("mode", _m("must be one of %(join)s", join=[*MODES]), "unknown"))
    if unknown := [action for action in wanted.actions if action not in ACTIONS]:
        errors.append(FieldError("actions", _m("%(join)s: known are %(join2)s", join=[*unknown], join2=[*ACTIONS]), "unknown"))
    return errors


def _expression_errors(found: Kind, known: Mapping[str, str] | None) -> list[FieldError]:
    if not isinstance(found, Expression):
        return []
    flaw = EVALUATOR.check(found.expression, known)
    return [FieldError("parameters.expression", str(flaw))] if flaw else []


# ---- what breaks a rule now


class Breaks(NamedTuple):
    """An instance that would not be allowed any more, and why."""

    instance_id: str
    name: str
    project: str
    reason: str


@dataclass(frozen=True)
class Breaking:
    """Those that break a rule as they are. Nothing happens to them until somebody changes or starts them."""

    items: Sequence[Breaks] = ()
    broken: int = 0
    looked_at: int = 0
    complete: bool = True
    """False: there are more instances than are looked at."""
    asked: bool = True
    """False: the rule is about moments and not about what instances are like."""


_COLUMNS = (
    Instance.id, Instance.name, Instance.tenant_id, Instance.project_id, Instance.cluster_id, Instance.adapter, Instance.version,
    Instance.labels, Instance.spec,
)  # fmt: skip


def breaking(portal: Portal, actor: Actor, rule: Rule) -> Breaking:
    """At most LOOKED_AT instances that the actor sees, newest first, in five statements whatever the number."""
    state = [action for action in ("start", "update", "create") if _asked(rule, action)]
    if rule.kind == "hours" or not state:
        return Breaking(asked=False)
    most = LOOKED_AT_BY_EXPRESSION if rule.kind == "expression" else LOOKED_AT
    where = [visible(Instance, actor), Instance.destroyed_at.is_(None)]
    if rule.tenant_id is not None:
        where.append(Instance.tenant_id == rule.tenant_id)
    rows = db.session.execute(select(*_COLUMNS).where(*where).order_by(Instance.id.desc()).limit(most + 1)).all()
    many, told = _facts_of(portal, actor, state[0], rows[:most]), _told(portal, [rule], [row.id for row in rows[:most]])
    many = [replace(facts, told=told[row.id]) for row, facts in zip(rows, many, strict=False)]
    verdicts = [row[0] for row in judge([rule], many, BATCH_SECONDS, told_facts.types(portal))]
    found = [
        Breaks(row.id, row.name, facts.project["title"], verdict.reason)
        for row, facts, verdict in zip(rows, many, verdicts, strict=False)
        if verdict.outcome in (REFUSES, WARNS)
    ]
    return Breaking(found[:LISTED], len(found), len(many), len(rows) <= most)


def _facts_of(portal: Portal, actor: Actor, action: str, rows: Sequence[Any]) -> list[Facts]:
    tenants, projects = _named(Tenant, [row.tenant_id for row in rows]), _named(Project, [row.project_id for row in rows])
    query = select(Cluster.id, Cluster.name, Cluster.runtime).where(Cluster.id.in_({row.cluster_id for row in rows}))
    places = {found.id: (found.name, found.runtime) for found in db.session.execute(query)} if rows else {}
    at, nothing = now(), _words(None)
    layer_by_tenant = _layers({row.tenant_id for row in rows})
    return [
        _described(
            portal, actor, action, at, row, tenants.get(row.tenant_id, nothing), projects.get(row.project_id, nothing),
            places.get(row.cluster_id, ("", "")), layer_by_tenant.get(row.tenant_id, NOTHING),
        )
        for row in rows
    ]  # fmt: skip


def _layers(tenant_ids: set[str]) -> dict[str, Layer]:
    """What each tenant says of its claws, in one statement."""
    query = select(Tenant.id, Tenant.layer).where(Tenant.id.in_(tenant_ids))
    rows = db.session.execute(query) if tenant_ids else ()
    return {row.id: Layer.model_validate(row.layer) for row in rows if row.layer}


def _named(model: type[Tenant] | type[Project], ids: Iterable[str]) -> dict[str, dict[str, str]]:
    wanted = set(ids)
    query = select(model.id, model.name, model.title).where(model.id.in_(wanted))
    rows = db.session.execute(query) if wanted else ()
    return {row.id: {"id": row.id, "name": row.name, "title": row.title or row.name} for row in rows}


# ---- trying


@dataclass(frozen=True)
class Trial:
    """A change that nobody makes: an instance that exists, or a new one, with what shall be different. None: as it is."""

    action: str = "create"
    instance: str = ""
    """Id of the instance."""
    name: str | None = None
    adapter: str | None = None
    version: str | None = None
    provider: str | None = None
    model: str | None = None
    cpu: str | None = None
    memory: str | None = None
    storage: str | None = None
    labels: Mapping[str, str] | None = None
    cluster: str | None = None
    project: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Further parts of the spec, merged into it."""
    at: datetime | None = None


@dataclass(frozen=True)
class _Imagined:
    name: str
    adapter: str
    version: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]


def dry_run(portal: Portal, actor: Actor, tenant_id: str, trial: Trial, draft: Rule | None = None) -> list[Verdict]:
    """What every rule of a tenant says to a change, those that are switched off too. Nothing is stored.

    `draft`: a rule that is not saved yet, told first; with the id of a stored one it takes its place.
    """
    tenant = get_or_404(Tenant, tenant_id, actor, TENANT_READ)
    require(actor, POLICY_READ, Scope(tenant.id))
    if draft is not None:
        require(actor, POLICY_MANAGE, Scope(tenant.id))
        draft = check(replace(draft, name=draft.name or "not-saved"), told_facts.types(portal))
    if trial.action not in ACTIONS:
        raise Invalid.field("action", _m("must be one of %(join)s", join=[*ACTIONS]))
    facts = _imagined(portal, actor, tenant, trial)
    query = select(Policy).where(or_(Policy.tenant_id == tenant.id, Policy.tenant_id.is_(None)))
    stored = [rule_of(row) for row in db.session.scalars(query.order_by(Policy.tenant_id.is_not(None), Policy.name))]
    rules = [*([draft] if draft else ()), *(rule for rule in stored if not draft or rule.id != draft.id)]
    facts = replace(facts, told=_told(portal, rules, [trial.instance])[trial.instance])
    return judge(rules, [facts], known=told_facts.types(portal))[0]


def _imagined(portal: Portal, actor: Actor, tenant: Tenant, trial: Trial) -> Facts:
    row = _existing(actor, tenant, trial.instance) if trial.instance else None
    if row is None and not trial.adapter:
        raise Invalid.field("adapter", _m("Choose an instance, or a kind of claw."), "missing")
    kind = trial.adapter or (row.adapter if row else "")
    adapter = portal.registry.adapters.get(kind)
    version = trial.version or (row.version if row and row.adapter == kind else "")
    if not version:
        version = default_version(adapter) if adapter else ""
    spec = json.loads(json.dumps(row.spec)) if row else InstanceSpec.model_validate({}).model_dump(mode="json")
    spec = _merged(spec, trial.spec)
    for part, name, value in (
        ("model", "provider", trial.provider), ("model", "name", trial.model),
        ("resources", "cpu", trial.cpu), ("resources", "memory", trial.memory), ("resources", "storage", trial.storage),
    ):  # fmt: skip
        if value is not None:
            spec[part] = {**(spec.get(part) or {}), name: value}
    labels = dict(trial.labels) if trial.labels is not None else dict(row.labels or {}) if row else {}
    name = trial.name or (row.name if row else "new-claw")
    project, cluster = _project(actor, tenant, trial, row), _cluster(tenant, trial, row)
    thing = _Imagined(name, kind, version, labels, spec)
    place = (cluster.name, cluster.runtime) if cluster else ("", "")
    layer = layer_of(tenant.id)
    return _described(portal, actor, trial.action, trial.at or now(), thing, _words(tenant), _words(project), place, layer)


def _existing(actor: Actor, tenant: Tenant, instance_id: str) -> Instance:
    row = get_or_404(Instance, instance_id, actor, INSTANCE_READ)
    if row.tenant_id != tenant.id or row.destroyed_at is not None:
        raise NotFound(_m("There is no instance with this id in this organisation."))
    return row


def _merged(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        found[key] = _merged(found.get(key), value) if isinstance(value, Mapping) else value
    return found


def _project(actor: Actor, tenant: Tenant, trial: Trial, row: Instance | None) -> Project | None:
    if trial.project is None and row is not None:
        return db.session.get(Project, row.project_id)
    query = select(Project).where(Project.tenant_id == tenant.id, visible(Project, actor)).order_by(Project.name)
    if not trial.project:
        found = list(db.session.scalars(query))
        return next((project for project in found if project.name == "default"), found[0] if found else None)
    project = db.session.scalars(query.where(or_(Project.id == trial.project, Project.name == trial.project))).first()
    if project is None:
        raise Invalid.field("project", _m("There is no project %(project)s here.", project=repr(trial.project)), "unknown")
    return project


def _cluster(tenant: Tenant, trial: Trial, row: Instance | None) -> Cluster | None:
    if trial.cluster:
        query = select(Cluster).where(or_(Cluster.id == trial.cluster, Cluster.name == trial.cluster))
        cluster = db.session.scalars(query).first()
        if cluster is None:
            raise Invalid.field("cluster", _m("There is no cluster %(cluster)s.", cluster=repr(trial.cluster)), "unknown")
        return cluster
    wanted = row.cluster_id if row else tenant.default_cluster_id
    return (
        db.session.get(Cluster, wanted) if wanted else db.session.scalars(select(Cluster).order_by(Cluster.name).limit(1)).first()
    )


def candidates(actor: Actor, tenant_id: str, limit: int) -> list[tuple[str, str]]:
    """Ids and names of the newest instances of a tenant that one sees, to choose from."""
    where = (visible(Instance, actor), Instance.tenant_id == tenant_id, Instance.destroyed_at.is_(None))
    query = select(Instance.id, Instance.name).where(*where).order_by(Instance.id.desc()).limit(limit)
    return sorted(((row.id, row.name) for row in db.session.execute(query)), key=lambda item: item[1])


# ---- what a form should not offer


def choice_marks(
    portal: Portal, tenant_id: str, adapters: Iterable[str], versions: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, str]]:
    """Choices that a rule refuses in every case, with the words for it: `adapter`, `version` and `provider`."""
    rules = [
        rule for rule in _binding(tenant_id, Policy.mode == "enforce", Policy.kind.in_(("adapters", "versions", "models")))
        if _asked(rule, "create")
    ]  # fmt: skip
    blank = Facts("create", now())
    found: dict[str, dict[str, str]] = {"adapter": {}, "version": {}, "provider": {}}
    for rule in rules:
        for kind in adapters if rule.kind == "adapters" else ():
            if _hit(rule, replace(blank, adapter=kind)):
                found["adapter"].setdefault(kind, _mark(rule))
        for kind, offered in versions.items() if rule.kind == "versions" else ():
            for version in offered:
                if _hit(rule, replace(blank, adapter=kind, version=version)):
                    found["version"].setdefault(f"{kind} {version}", _mark(rule))
        if rule.kind == "models" and rule.parameters.get("providers"):
            for provider in portal.registry.providers:
                hit = _hit(rule, replace(blank, spec={"model": {"provider": provider}}))
                if hit and hit.path.endswith("provider"):
                    found["provider"].setdefault(provider, _mark(rule))
    return found


def _mark(rule: Rule) -> str:
    return _m("Not allowed by the rule %(title)s", title=rule.called)


def as_document(row: Policy) -> dict[str, Any]:
    return asdict(rule_of(row)) | {"title": row.title or row.name, "created_by": row.created_by, "created_at": row.created_at,
                                   "updated_at": row.updated_at}  # fmt: skip
