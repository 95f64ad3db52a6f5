"""Policies: rules of an organisation or of the whole portal, what breaks them, and trying a change against them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Page, Paged, Portal, op, paged, schema_of
from clawportal.sdk.fleet import instance_facts
from clawportal.sdk.permissions import Actor
from clawportal_policies import services as policies
from clawportal_policies.kinds import ACTIONS, EXAMPLES, KINDS
from clawportal_policies.permissions import POLICY_MANAGE, POLICY_READ
from clawportal_policies.services import Rule, Trial

TAGS = ("Policies",)
_ACTION = Literal["create", "update", "version", "start", "restart", "move", "stop", "delete"]
_KIND = Literal[
    "adapters", "versions", "models", "runtimes", "clusters", "size", "labels", "settings", "hours", "expression"
]  # fmt: skip
_MODE = Literal["enforce", "warn"]


# ---- what is answered


class PolicyDocument(Answer):
    id: str
    tenant_id: str | None = Field(description="Null: it binds every organisation.")
    name: str = Field(description="Never changes.")
    title: str
    enabled: bool
    mode: _MODE = Field(description="`enforce` refuses, `warn` lets through and says so.")
    kind: str
    parameters: dict[str, Any] = Field(description="See `GET /policy-kinds`.")
    actions: list[str] = Field(description="What it looks at; empty: what its kind looks at by itself.")
    message: str = Field(description="Told instead of what the rule found; empty: the latter is told.")
    remedy: str
    created_by: str
    created_at: datetime
    updated_at: datetime


class KindDocument(Answer):
    kind: str
    title: str
    description: str
    actions: list[str] = Field(description="What it looks at where a rule names nothing.")
    parameters: dict[str, Any] = Field(description="JSON Schema.")


class ExampleDocument(Answer):
    name: str
    title: str
    kind: str
    parameters: dict[str, Any]
    actions: list[str]
    remedy: str


class FactDocument(Answer):
    name: str = Field(description="Expressions write `facts.NAME`.")
    type: Literal["bool", "int", "double", "string", "strings"]
    description: str


class KindsAnswer(Answer):
    items: list[KindDocument]
    actions: dict[str, str] = Field(description="What rules can look at, in words.")
    examples: list[ExampleDocument]
    facts: list[FactDocument] = Field(description="What features tell expressions beside what an instance is like.")


class VerdictDocument(Answer):
    """What one rule says to a change."""

    id: str = Field(description="Empty for a rule that is not saved.")
    name: str
    title: str
    scope: Literal["tenant", "portal"]
    kind: str
    mode: _MODE
    enabled: bool
    outcome: Literal["passes", "refuses", "warns", "not-asked"]
    reason: str
    path: str = Field(description="The field that it is about, as in the form of an instance.")
    message: str
    remedy: str


class TrialAnswer(Answer):
    allowed: bool = Field(description="Whether the change would go through: no rule that is switched on refuses it.")
    items: list[VerdictDocument]


class BreaksDocument(Answer):
    id: str
    name: str
    project: str
    reason: str


class BreakingAnswer(Answer):
    items: list[BreaksDocument] = Field(description=f"At most {policies.LISTED}.")
    broken: int = Field(description="How many in all of those looked at.")
    looked_at: int
    complete: bool = Field(description="False: there are more instances than are looked at.")
    asked: bool = Field(description="False: the rule is about moments, not about what instances are like.")


# ---- what is asked


class PolicyQuery(Paged):
    tenant: str = Field("", max_length=100, description="Id of an organisation: those that bind it, the portal's included.")


class RuleFields(Strict):
    title: str = Field("", max_length=500)
    enabled: bool = True
    mode: _MODE = "enforce"
    kind: _KIND
    parameters: dict[str, Any] = Field(max_length=20)
    actions: list[_ACTION] = Field(default_factory=list, max_length=8)
    message: str = Field("", max_length=1000, description="What whoever is refused shall read.")
    remedy: str = Field("", max_length=1000, description="What they can do about it.")


class NewPolicy(RuleFields):
    tenant: str | None = Field(max_length=100, description="Id of the organisation; null: it binds every organisation.")
    name: str = Field(max_length=200, description="1 to 63 small letters, digits or dashes; never changes.")


class PolicyPatch(Strict):
    """What is absent stays."""

    title: str | None = Field(None, max_length=500)
    enabled: bool | None = None
    mode: _MODE | None = None
    parameters: dict[str, Any] | None = Field(None, max_length=20)
    actions: list[_ACTION] | None = Field(None, max_length=8)
    message: str | None = Field(None, max_length=1000)
    remedy: str | None = Field(None, max_length=1000)


class TrialBody(Strict):
    """A change that nobody makes: an instance that exists, or a new one, with what shall be different."""

    tenant: str = Field(max_length=100, description="Id of the organisation whose rules are asked.")
    action: _ACTION = "create"
    instance: str = Field("", max_length=100, description="Id of an instance; empty: a new one.")
    name: str | None = Field(None, max_length=100)
    adapter: str | None = Field(None, max_length=100)
    version: str | None = Field(None, max_length=100)
    provider: str | None = Field(None, max_length=100)
    model: str | None = Field(None, max_length=200)
    cpu: str | None = Field(None, max_length=40)
    memory: str | None = Field(None, max_length=40)
    storage: str | None = Field(None, max_length=40)
    labels: dict[str, str] | None = Field(None, max_length=64)
    cluster: str | None = Field(None, max_length=100)
    project: str | None = Field(None, max_length=100)
    spec: dict[str, Any] = Field(default_factory=dict, description="Further parts of the spec, merged into it.")
    at: datetime | None = Field(None, description="When; absent: now.")
    rule: RuleFields | None = Field(None, description="A rule that is not saved yet.")
    replaces: str = Field("", max_length=100, description="Id of the stored rule in whose place `rule` is tried.")


# ---- operations


@op("GET", "/policy-kinds", permission=POLICY_READ, tags=TAGS, summary="Kinds of rule", returns=KindsAnswer)
def list_policy_kinds(portal: Portal) -> dict[str, Any]:
    """With the JSON Schema of their parameters, and examples to start from."""
    kinds = [
        {
            "kind": name,
            "title": kind.title,
            "description": kind.description,
            "actions": kind.actions,
            "parameters": schema_of(kind),
        }
        for name, kind in KINDS.items()
    ]
    examples = [{"name": name, **example} for name, example in EXAMPLES.items()]
    facts = [{"name": fact.name, "type": fact.type, "description": fact.description} for fact in instance_facts(portal)]
    return {"items": kinds, "actions": ACTIONS, "examples": examples, "facts": facts}


@op("GET", "/policies", permission=POLICY_READ, tags=TAGS, summary="Rules", returns=Page[PolicyDocument],
    problems=(404,))  # fmt: skip
def list_policies(actor: Actor, query: PolicyQuery) -> Any:
    page = policies.listing(actor, query.tenant or None, which=query.which)
    items = [policies.as_document(row) for row in page.items]
    return paged(page, query, items)


@op("POST", "/policies", permission=POLICY_MANAGE, tags=TAGS, summary="Create a rule", status=201,
    returns=PolicyDocument, problems=(404, 409),
    example={"tenant": "01h2xcejqtf2nbrexx3vqjhp41", "name": "no-exposed-claws", "kind": "settings",
             "parameters": {"forbidden": ["expose"]}})  # fmt: skip
def create_policy(actor: Actor, portal: Portal, body: NewPolicy) -> Any:
    """It holds from the next change on; what exists is not touched. See `/breaking`."""
    made = policies.create(portal, actor, body.tenant, _rule(body, name=body.name))
    return policies.as_document(made), 201, {"Location": f"/api/v1/policies/{made.id}"}


@op("POST", "/policies/dry-run", permission=POLICY_READ, tags=TAGS, summary="Try a change against the rules",
    returns=TrialAnswer, problems=(404,),
    example={"tenant": "01h2xcejqtf2nbrexx3vqjhp41", "adapter": "nanobot", "memory": "4Gi"})  # fmt: skip
def try_policies(actor: Actor, portal: Portal, body: TrialBody) -> dict[str, Any]:
    """Every rule with what it says, those that are switched off too, and a rule that is not saved yet. Nothing is stored."""
    given = body.model_dump(exclude={"tenant", "rule", "replaces"})
    draft = _rule(body.rule, name="not-saved", id=body.replaces, tenant_id=body.tenant) if body.rule else None
    verdicts = policies.dry_run(portal, actor, body.tenant, Trial(**given), draft)
    items = [verdict.as_document() | {"enabled": verdict.rule.enabled} for verdict in verdicts]
    return {"allowed": not any(item["enabled"] and item["outcome"] == policies.REFUSES for item in items), "items": items}


def _rule(body: RuleFields, **more: Any) -> Rule:
    given = body.model_dump(include=set(RuleFields.model_fields))
    return Rule(**given | {"actions": tuple(body.actions)} | more)


@op("GET", "/policies/{policy_id}", permission=POLICY_READ, tags=TAGS, summary="One rule", returns=PolicyDocument,
    problems=(404,))  # fmt: skip
def get_policy(actor: Actor, policy_id: str) -> dict[str, Any]:
    return policies.as_document(policies.get(actor, policy_id))


@op("PATCH", "/policies/{policy_id}", permission=POLICY_MANAGE, tags=TAGS, summary="Change a rule",
    returns=PolicyDocument, problems=(404,), example={"enabled": False})  # fmt: skip
def change_policy(actor: Actor, portal: Portal, policy_id: str, body: PolicyPatch) -> dict[str, Any]:
    changes: dict[str, Any] = {name: value for name in body.model_fields_set if (value := getattr(body, name)) is not None}
    if "actions" in changes:
        changes["actions"] = tuple(changes["actions"])
    return policies.as_document(policies.update(portal, actor, policy_id, changes))


@op("DELETE", "/policies/{policy_id}", permission=POLICY_MANAGE, tags=TAGS, summary="Delete a rule", status=204,
    problems=(404,))  # fmt: skip
def delete_policy(actor: Actor, portal: Portal, policy_id: str) -> None:
    policies.remove(portal, actor, policy_id)


@op("GET", "/policies/{policy_id}/breaking", permission=POLICY_READ, tags=TAGS, returns=BreakingAnswer,
    summary="What breaks a rule now", problems=(404,))  # fmt: skip
def get_breaking(actor: Actor, portal: Portal, policy_id: str) -> dict[str, Any]:
    """Nothing happens to these instances until somebody changes or starts them. Only a bounded number is looked at."""
    found = policies.breaking(portal, actor, policies.rule_of(policies.get(actor, policy_id)))
    items = [{"id": item.instance_id, "name": item.name, "project": item.project, "reason": item.reason} for item in found.items]
    return {**found.__dict__, "items": items}
