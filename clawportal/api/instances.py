"""Instances: list, create, read, change, delete, and what people press."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from flask import request
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import select

from clawportal import redact
from clawportal.api._layer import BIGGEST, JSON, MERGE_PATCH, Answer, Page, Paged, Query, agreed_generation, op, paged
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.core_permissions import (
    INSTANCE_CONSOLE,
    INSTANCE_CREATE,
    INSTANCE_DELETE,
    INSTANCE_KILL,
    INSTANCE_OPERATE,
    INSTANCE_READ,
    INSTANCE_UPDATE,
)
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Forbidden, Invalid, PreconditionFailed
from clawportal.http import security
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.messages import _m
from clawportal.models import Cluster, Instance, InstanceNote, Project, Tenant
from clawportal.services.configuration import catalog, secrets
from clawportal.services.fleet import admission, instances, plans, saved_filters
from clawportal.services.fleet.labels import selector
from clawportal.services.fleet.template_choices import Choice
from clawportal.services.live import tickets

TAGS = ("Instances",)


# ---- what is answered


class Named(Answer):
    id: str
    name: str


class UsageDocument(Answer):
    """Resources of the whole process tree now."""

    cpu_percent: float | None = Field(description="Of one core, over the last interval; null right after a start.")
    memory_bytes: int
    processes: int
    at: datetime


class InstanceItem(Answer):
    """An instance as lists show it."""

    id: str
    name: str
    adapter: str = Field(description="Kind of claw.")
    version: str
    labels: dict[str, str]
    tenant: Named
    project: Named
    cluster: Named
    desired: Desired = Field(description="What is wanted.")
    generation: int = Field(description="Grows with each change of what is wanted; the ETag.")
    observed_generation: int = Field(description="The generation that has been brought about, or was refused.")
    applied_generation: int = Field(
        description="The generation whose configuration runs, or ran last; behind `observed_generation` when that was refused."
    )
    phase: Phase
    sync: Sync = Field(description="Does what runs match what is wanted?")
    health: HealthState = Field(description="Is it well?")
    reason: str = Field(description="One word for programs.")
    message: str = Field(description="One sentence for people.")
    next_action: str = Field(description="What happens or has to be done next.")
    phase_since: datetime
    phase_deadline: datetime | None = Field(description="When the phase counts as failed; null for one that may last.")
    restart_count: int = Field(description="How often it was started again after it had ended by itself.")
    created_at: datetime
    created_by: str
    updated_at: datetime
    managed: bool = Field(description="False: it was imported and is only observed; the portal does nothing to it.")
    foreign_id: str = Field(description="By which its cluster knows what somebody else made; empty for what the portal made.")
    usage: UsageDocument | None
    noted: bool = Field(description="Whether there is a note on it.")


class NamedPortDocument(Answer):
    name: str
    number: int
    title: str


class EndpointDocument(Answer):
    name: str
    title: str
    url: str


class SecretDocument(Answer):
    """That a secret is set; never what it is."""

    name: str
    set: bool
    generated: bool = Field(description="Made up by the portal.")
    updated_at: datetime


class WarningDocument(Answer):
    """What a rule in warning mode said to a change that went through."""

    id: str
    name: str
    title: str
    sentence: str


class ForeignFacts(Answer):
    """What was found when it was imported; never the values of secrets."""

    name: str
    image: str
    details: dict[str, Any]


class InstanceDocument(InstanceItem):
    """An instance with everything but the values of its secrets."""

    foreign: ForeignFacts | None = Field(description="Of an instance that somebody else made.")

    conditions: list[dict[str, Any]]
    endpoints: list[EndpointDocument] = Field(description="Where the running claw listens on a machine that others share.")
    ports: list[NamedPortDocument] = Field(description="Ports that `claw connect` can reach, the first one first.")
    spec: dict[str, Any]
    secrets: list[SecretDocument]
    warnings: list[WarningDocument] = Field(description="Of rules, to this change; empty in answers to other questions.")
    notes: list[str] = Field(description="What was put right of what was sent with this change, such as an address or a key.")


class FieldErrorDocument(Answer):
    path: str
    message: str
    code: str


class CheckAnswer(Answer):
    ok: bool
    errors: list[FieldErrorDocument]


class BulkItem(Answer):
    id: str
    name: str
    ok: bool
    error: str
    warning: str = Field(description="What rules in warning mode said to it.")


class BulkAnswer(Answer):
    """What became of each, in the order asked."""

    items: list[BulkItem]
    succeeded: int
    failed: int


class FileDocument(Answer):
    path: str
    root: str = Field(description="`home`, `state` or `work` of the instance.")
    mode: str = Field(description="Octal, such as `0600`.")
    policy: str = Field(description="`always`: the portal owns it. `seed_once`: the claw owns it once it exists.")
    content: str


class ProcessDocument(Answer):
    name: str
    argv: list[str]
    env: dict[str, str] = Field(description=f"Values of secrets are shown as `{redact.MASK}`.")
    secret_env: dict[str, str] = Field(description="Which variable gets which secret.")
    cwd: str


class ConfigDocument(Answer):
    """The configuration as it was rendered for the claw last."""

    rendered: bool = Field(description="False while the instance has not been planned yet; the rest is empty then.")
    generation: int
    digest: str
    files: list[FileDocument]
    processes: list[ProcessDocument]
    ports: dict[str, int]
    artifacts: list[str] = Field(description="Installed software that it uses.")
    memory_bytes: int | None
    cpu_cores: float | None
    stop_grace: float | None


# ---- what is asked


class InstanceQuery(Paged):
    sort: str = Field(
        "-created_at",
        max_length=40,
        description=f"One of {', '.join(f'`{name}`' for name in instances.SORTS)}; a dash before it turns the order round.",
    )
    phase: list[Phase] = Field(default_factory=list, description="Only in these phases; repeatable.")
    type: list[str] = Field(default_factory=list, max_length=50, description="Only of these kinds of claw; repeatable.")
    project: str = Field("", max_length=100, description="Only in the project with this id or name.")
    q: str = Field("", max_length=200, description="Part of the name, or the id.")
    name: str = Field("", max_length=100, description="Exactly this name, or this id.")
    labels: str = Field(
        "", max_length=1000,
        description="Only with these labels: `team=research`, `team!=research`, `team`, `!team`, `team in (research, support)`, "
        "`team notin (research)`; all that stand between commas must hold.",
    )  # fmt: skip
    trouble: bool = Field(False, description="Only what needs attention: failed, unhealthy, degraded or out of sync.")
    filter: str = Field(
        "", max_length=100,
        description="Begin with the saved filter of this name or id; what else is said here takes the place of its parts.",
    )  # fmt: skip


class TemplateBody(Strict):
    """A configuration template to make an instance of, which is held to the version from then on."""

    config: str = Field(max_length=100, description="Name or id.")
    version: int | None = Field(None, ge=1, le=BIGGEST, description="Number of a version; absent: the newest.")
    variables: dict[str, Any] = Field(default_factory=dict, max_length=100, description="Their values; see `variables` of it.")


class CreateBody(Strict):
    """A new instance."""

    name: str = Field(max_length=200, description="1 to 63 small letters, digits or dashes; unique in its tenant.")
    template: TemplateBody | None = Field(None, description="What it is made of; the rest is laid over what that comes to.")
    adapter: str = Field(
        "", max_length=100, validate_default=True, description="Kind of claw; see `/adapters`. Not needed with a template."
    )
    version: str | None = Field(None, max_length=100, description="Without it, the default of the adapter.")
    project: str | None = Field(None, max_length=100, description="Id or name; without it, the default project.")
    cluster: str | None = Field(None, max_length=100, description="Id or name; without it, the first.")
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    spec: dict[str, Any] = Field(default_factory=dict, description="See `spec_schema` of the adapter.")
    secrets: dict[str, str] = Field(default_factory=dict, max_length=64, description="Kept encrypted and never shown again.")
    start: bool = Field(True, description="False: it is created stopped.")

    @field_validator("adapter")
    @classmethod
    def _some_kind(cls, value: str, info: ValidationInfo) -> str:
        if not value and not info.data.get("template"):
            raise PydanticCustomError("missing", "is needed")
        return value


class CheckBody(CreateBody):
    """A create or, with `instance`, a change, to be looked at only."""

    name: str = Field("", max_length=200)
    instance: str = Field("", max_length=100, description="Id of the instance that would be changed.")


_GENERATION = Field(None, ge=0, le=BIGGEST, description="The generation that was read, where If-Match cannot be sent.")


class PutBody(Strict):
    """A whole new configuration."""

    version: str = Field(max_length=100)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    spec: dict[str, Any]
    secrets: dict[str, str | None] = Field(
        default_factory=dict, max_length=64, description="Only those named change; null or an empty text removes."
    )
    generation: int | None = _GENERATION


class PatchBody(Strict):
    """JSON Merge Patch (RFC 7396): what is absent stays, null removes."""

    version: str | None = Field(None, max_length=100)
    labels: dict[str, str | None] | None = Field(None, max_length=64)
    spec: dict[str, Any] | None = None
    secrets: dict[str, str | None] = Field(default_factory=dict, max_length=64)
    generation: int | None = _GENERATION


class BulkBody(Strict):
    action: Literal["start", "stop", "restart", "kill", "delete", "label"]
    ids: list[str] = Field(min_length=1, max_length=500)
    labels: dict[str, str | None] = Field(
        default_factory=dict, max_length=64, description="With the action `label`: what to set; null removes."
    )


class DeleteQuery(Query):
    keep_data: bool = Field(False, description="Leave the folder of the instance where it is.")
    force: bool = Field(False, description="End the claw at once instead of asking it.")


EXAMPLE = {
    "name": "help-desk",
    "adapter": "nanobot",
    "labels": {"team": "support"},
    "spec": {
        "model": {"provider": "openai-compatible", "base_url": "http://llm.example.internal/v1", "name": "qwen3"},
        "persona": "You are Kim from the help desk.",
    },
    "secrets": {"model_api_key": "sk-..."},
}


# ---- list, create, read


@op("GET", "/instances", permission=INSTANCE_READ, tags=TAGS, summary="Instances", returns=Page[InstanceItem])
def list_instances(actor: Actor, portal: Portal, query: InstanceQuery) -> Any:
    filters, sort = _filters(actor, query)
    page = instances.lean_listing(actor, filters, query.which, sort=sort)
    return paged(page, query, [_item(portal, row) for row in page.items])


def _filters(actor: Actor, query: InstanceQuery) -> tuple[instances.Filters, str]:
    """What is asked for, over the parts of a saved filter."""
    saved = saved_filters.find(actor, query.filter).query if query.filter else {}
    base = saved_filters.filters_of(saved)
    if query.phase or query.trouble:
        base = replace(base, phases=tuple(query.phase), trouble=query.trouble, calm=False)
    found = replace(
        base, adapters=tuple(query.type) or base.adapters, project=query.project or base.project, text=query.q or base.text,
        name=query.name, labels=selector(query.labels) or base.labels,
    )  # fmt: skip
    sort = query.sort if "sort" in query.model_fields_set else saved.get("sort", query.sort)
    return found, sort


@op("POST", "/instances", permission=INSTANCE_CREATE, tags=TAGS, summary="Create an instance", status=201,
    returns=InstanceDocument, etag=True, problems=(409,), example=EXAMPLE)  # fmt: skip
def create_instance(actor: Actor, portal: Portal, body: CreateBody, idempotency_key: str) -> Any:
    """Stores what is wanted and answers at once; `phase` tells how far it is. With an Idempotency-Key, a repeated request
    gets the instance of the first one; the key is kept for a day."""
    wanted = _wanted(body)
    made = _create_once(actor, portal, wanted, idempotency_key, _hash(portal, body))
    return _document(portal, made), 201, _etag(made) | {"Location": f"/api/v1/instances/{made.id}"}


def _wanted(body: CreateBody) -> instances.NewInstance:
    given = body.model_dump(exclude={"instance", "template"})
    template = Choice(**body.template.model_dump()) if body.template else None
    return instances.NewInstance(**given, template=template)


def _create_once(actor: Actor, portal: Portal, wanted: instances.NewInstance, key: str, request_hash: str) -> Instance:
    try:
        return instances.create(portal, actor, wanted, key=key, request_hash=request_hash)
    except (Conflict, Invalid):
        if not key:
            raise
        # the same request at the same time may have won meanwhile; now its key can be seen
        return instances.create(portal, actor, wanted, key=key, request_hash=request_hash)


def _hash(portal: Portal, body: CreateBody) -> str:
    # with a key, because a secret may stand in the body and a plain hash of it could be guessed
    return hmac.new(portal.keyring.session_key.encode(), body.model_dump_json().encode(), hashlib.sha256).hexdigest()


@op("GET", "/instances/{instance_id}", permission=INSTANCE_READ, tags=TAGS, summary="One instance",
    returns=InstanceDocument, etag=True, problems=(404,))  # fmt: skip
def get_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    return answer_of(portal, instances.get(actor, instance_id))


@op("GET", "/instances/{instance_id}/config", permission=INSTANCE_READ, tags=TAGS, returns=ConfigDocument,
    summary="The configuration as rendered, secrets masked", problems=(404,))  # fmt: skip
def get_instance_config(actor: Actor, instance_id: str) -> dict[str, Any]:
    instance = instances.get(actor, instance_id)
    if instance.workload is None:
        empty: dict[str, Any] = {"files": [], "processes": [], "ports": {}, "artifacts": []}
        nothing = dict.fromkeys(("memory_bytes", "cpu_cores", "stop_grace"))
        return {"rendered": False, "generation": instance.observed_generation, "digest": "", **empty, **nothing}
    workload = plans.workload_from(redact.document(instance.workload))
    return {
        "rendered": True,
        "generation": instance.observed_generation,
        "digest": plans.workload_from(instance.workload).digest(),
        "files": [
            {"path": file.path, "root": file.root, "mode": f"{file.mode:04o}", "policy": file.policy, "content": file.content}
            for file in workload.files
        ],
        "processes": [
            {
                "name": process.name,
                "argv": process.argv,
                "env": {**process.env, **dict.fromkeys(process.secret_env, redact.MASK)},
                "secret_env": process.secret_env,
                "cwd": process.cwd,
            }
            for process in workload.processes
        ],
        "ports": workload.ports,
        "artifacts": [artifact.key for artifact in workload.artifacts],
        "memory_bytes": workload.memory_bytes,
        "cpu_cores": workload.cpu_cores,
        "stop_grace": workload.stop_grace,
    }


@op("POST", "/instances/check", permission=INSTANCE_CREATE, tags=TAGS, summary="Check without storing anything",
    returns=CheckAnswer, problems=(404,), example=EXAMPLE)  # fmt: skip
def check_instance(actor: Actor, portal: Portal, body: CheckBody) -> dict[str, Any]:
    """What a create (or, with `instance`, a change) would say, for forms that are checked while one types."""
    if body.instance:
        instance = instances.get(actor, body.instance, INSTANCE_UPDATE)
        change = instances.InstanceChange(body.version, body.labels, body.spec, body.secrets)
        errors = instances.check_change_by(portal, actor, instance, change)
    else:
        errors = instances.check_new(portal, actor, _wanted(body))
    return {"ok": not errors, "errors": [field_error(error) for error in errors]}


def field_error(error: FieldError) -> dict[str, str]:
    return {"path": error.path, "message": error.message, "code": error.code}


# ---- change


@op("PUT", "/instances/{instance_id}", permission=INSTANCE_UPDATE, tags=TAGS, summary="Replace the configuration",
    returns=InstanceDocument, etag=True, problems=(404, 409, 412, 428))  # fmt: skip
def replace_instance(actor: Actor, portal: Portal, instance_id: str, body: PutBody, if_match: int | None) -> Any:
    """Needs If-Match with the ETag that was read (or `generation` in the body), so that no change of others gets lost."""
    change = instances.InstanceChange(body.version, body.labels, body.spec, _emptied(body.secrets))
    return answer_of(
        portal, instances.update(portal, actor, instance_id, change, generation=agreed_generation(body.generation, if_match))
    )


@op("PATCH", "/instances/{instance_id}", permission=INSTANCE_UPDATE, tags=TAGS, summary="Change parts",
    returns=InstanceDocument, accepts=(MERGE_PATCH, JSON), etag=True, problems=(404, 409, 412, 428),
    example={"spec": {"persona": "You are Kim from the help desk."}, "labels": {"team": None}})  # fmt: skip
def change_instance(actor: Actor, portal: Portal, instance_id: str, body: PatchBody, if_match: int | None) -> Any:
    """A JSON merge patch on `version`, `labels`, `spec` and `secrets`. Needs If-Match, or `generation` in the body."""
    generation = agreed_generation(body.generation, if_match)
    if "version" in body.model_fields_set and body.version is None:
        raise Invalid.field("version", _m("cannot be removed"))
    instance = instances.get(actor, instance_id, INSTANCE_UPDATE)
    if generation is not None and instance.generation != generation:
        raise PreconditionFailed(
            _m(
                "%(name)s is at generation %(generation)s now, you changed %(generation2)s. Read it again and repeat.",
                name=instance.name,
                generation=instance.generation,
                generation2=generation,
            )
        )
    given = body.model_fields_set
    change = instances.InstanceChange(
        version=body.version,
        labels=merged(instance.labels, body.labels) if "labels" in given else None,
        spec=merged(instance.spec, body.spec) if "spec" in given else None,
        secrets=_emptied(body.secrets),
    )
    return answer_of(portal, instances.update(portal, actor, instance_id, change, generation=generation))


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396; null as the whole patch empties the object."""
    if not isinstance(patch, Mapping):
        return {} if patch is None else patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _emptied(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value or "" for name, value in values.items()}


class ConsoleTicket(Answer):
    """Opens one console, once."""

    ticket: str
    path: str = Field(description="Where to connect by WebSocket, with the ticket; `columns` and `rows` may be added.")
    url: str = Field(description="The same as a whole address, as this request reached the portal.")
    expires_at: datetime = Field(description="The connection has to be made before.")


@op("POST", "/instances/{instance_id}/console", permission=INSTANCE_CONSOLE, tags=TAGS, status=201,
    summary="A ticket for a console", returns=ConsoleTicket, problems=(404, 409))  # fmt: skip
def create_console_ticket(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    """For clients that can send no header with a WebSocket. Binary messages are what is typed and shown; `{"columns": 80,
    "rows": 24}` tells the size; at the end comes `{"code": 0, "reason": ""}`. The console ends with the session or token by
    which the ticket was asked for."""
    made = tickets.issue(portal, actor, instance_id, security.bearer())
    path = f"{request.script_root}/api/v1/instances/{instance_id}/console?ticket={made.text}"
    scheme = "wss" if request.is_secure else "ws"
    return {"ticket": made.text, "path": path, "url": f"{scheme}://{request.host}{path}", "expires_at": made.expires_at}


@op("DELETE", "/instances/{instance_id}", permission=INSTANCE_DELETE, tags=TAGS, summary="Delete an instance",
    returns=InstanceDocument, status=202, etag=True, problems=(404, 409))  # fmt: skip
def delete_instance(actor: Actor, portal: Portal, instance_id: str, query: DeleteQuery) -> Any:
    """Stops the claw and removes it; the answer comes at once, `phase` tells how far it is."""
    gone = instances.remove(portal, actor, instance_id, keep_data=query.keep_data, force=query.force)
    return answer_of(portal, gone, 202)


# ---- what people press


@op("POST", "/instances/{instance_id}/start", permission=INSTANCE_OPERATE, tags=TAGS, summary="Start",
    returns=InstanceDocument, status=202, etag=True, problems=(404, 409))  # fmt: skip
def start_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    return answer_of(portal, instances.start(portal, actor, instance_id), 202)


@op("POST", "/instances/{instance_id}/stop", permission=INSTANCE_OPERATE, tags=TAGS, summary="Stop",
    returns=InstanceDocument, status=202, etag=True, problems=(404, 409))  # fmt: skip
def stop_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    """Asks the claw to end, and ends it when it does not."""
    return answer_of(portal, instances.stop(portal, actor, instance_id), 202)


@op("POST", "/instances/{instance_id}/restart", permission=INSTANCE_OPERATE, tags=TAGS, summary="Restart",
    returns=InstanceDocument, status=202, etag=True, problems=(404, 409))  # fmt: skip
def restart_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    return answer_of(portal, instances.restart(portal, actor, instance_id), 202)


@op("POST", "/instances/{instance_id}/kill", permission=INSTANCE_KILL, tags=TAGS, summary="Kill",
    returns=InstanceDocument, status=202, etag=True, problems=(404, 409))  # fmt: skip
def kill_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    """Ends the whole process tree at once, without asking it."""
    return answer_of(portal, instances.kill(portal, actor, instance_id), 202)


@op("POST", "/instances/{instance_id}/rekey", permission=INSTANCE_UPDATE, tags=TAGS,
    summary="Make new generated secrets", returns=InstanceDocument, status=202, etag=True, problems=(404, 409))  # fmt: skip
def rekey_instance(actor: Actor, portal: Portal, instance_id: str) -> Any:
    """The claw restarts with new access tokens of its own."""
    instances.rekey(portal, actor, instance_id)
    return answer_of(portal, instances.get(actor, instance_id), 202)


_NEEDED = {
    "kill": INSTANCE_KILL, "delete": INSTANCE_DELETE, "label": INSTANCE_UPDATE,
}  # fmt: skip
"""Of the bulk actions; the others need the right to operate."""


@op("POST", "/instances/bulk", permission=INSTANCE_READ, tags=TAGS, summary="One action on many",
    returns=BulkAnswer, problems=(403,), example={"action": "restart", "ids": ["01h2xcejqtf2nbrexx3vqjhp41"]})  # fmt: skip
def bulk_instances(actor: Actor, portal: Portal, body: BulkBody) -> dict[str, Any]:
    """Each succeeds or fails for itself, by the rights one has on it, and each answer says so."""
    needed = _NEEDED.get(body.action, INSTANCE_OPERATE)
    if not actor.has(needed):
        raise Forbidden(_m("You lack the right “%(description)s”. Ask an administrator.", description=needed.description))
    outcomes = instances.bulk(portal, actor, body.action, body.ids, body.labels)
    items = [
        {
            "id": outcome.instance_id,
            "name": outcome.name,
            "ok": not outcome.error,
            "error": outcome.error,
            "warning": outcome.warning,
        }
        for outcome in outcomes
    ]
    good = sum(item["ok"] is True for item in items)
    return {"items": items, "succeeded": good, "failed": len(items) - good}


# ---- from rows to documents


_COLUMNS = tuple(name for name in InstanceItem.model_fields if name not in ("tenant", "project", "cluster", "usage", "noted"))
"""What stands in the row under the same name."""


def _item(portal: Portal, row: Any) -> dict[str, Any]:
    item = dict(zip(instances.LEAN, row, strict=False))  # the names follow after these
    item["tenant"] = {"id": item.pop("tenant_id"), "name": row.tenant_name}
    item["project"] = {"id": item.pop("project_id"), "name": row.project_name}
    item["cluster"] = {"id": item.pop("cluster_id"), "name": row.cluster_name}
    item["usage"], item["noted"] = portal.samples.now(row), row.noted
    return item


def _document(portal: Portal, instance: Instance) -> dict[str, Any]:
    names = db.session.execute(
        select(Tenant.name, Project.name, Cluster.name, InstanceNote.text)
        .select_from(Instance)
        .join(Tenant, Tenant.id == Instance.tenant_id)
        .join(Project, Project.id == Instance.project_id)
        .join(Cluster, Cluster.id == Instance.cluster_id)
        .outerjoin(InstanceNote, InstanceNote.instance_id == Instance.id)
        .where(Instance.id == instance.id)
    ).one()
    document = {name: getattr(instance, name) for name in _COLUMNS}
    document["tenant"] = {"id": instance.tenant_id, "name": names[0]}
    document["project"] = {"id": instance.project_id, "name": names[1]}
    document["cluster"] = {"id": instance.cluster_id, "name": names[2]}
    document["usage"], document["noted"] = portal.samples.now(instance), bool(names[3])
    document["foreign"] = instance.foreign
    document["conditions"] = instance.conditions
    document["endpoints"] = instances.endpoints(portal, instance)
    document["ports"] = instances.named_ports(portal, instance)
    document["spec"] = redact.document(instance.spec)
    document["secrets"] = [
        {"name": info.name, "set": True, "generated": info.generated, "updated_at": info.updated_at}
        for info in secrets.listing(instance.id)
    ]
    document["warnings"] = [
        {**{name: warned.as_document()[name] for name in ("id", "name", "title")}, "sentence": warned.sentence}
        for warned in admission.warnings_of(instance)
    ]
    document["notes"] = list(catalog.notes_of(instance))
    return document


def _etag(instance: Instance) -> dict[str, str]:
    return {"ETag": f'"{instance.generation}"'}


def answer_of(portal: Portal, instance: Instance, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    return _document(portal, instance), status, _etag(instance)
