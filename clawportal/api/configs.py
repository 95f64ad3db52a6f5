"""Configuration templates and their versions: list, write, compare, restore, check, and as files."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flask import Response
from pydantic import Field

from clawportal.api._layer import BIGGEST, Answer, Page, Paged, Query, agreed_generation, op, paged
from clawportal.api.instances import FieldErrorDocument
from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.errors import Invalid
from clawportal.messages import _m
from clawportal.models import ConfigTemplate, ConfigVersion
from clawportal.services.configuration import rendering, template_checks, template_files, templates
from clawportal.services.configuration.variables import Variable
from clawportal.services.fleet import pinned

TAGS = ("Configuration templates",)
YAML = "application/yaml"


# ---- what is answered


class ConfigItem(Answer):
    """A template as lists show it."""

    id: str
    tenant_id: str
    project_id: str | None = Field(description="Null: it is for all projects of its organisation.")
    name: str
    description: str
    adapter: str = Field(description="Kind of claw; never changes.")
    adapter_versions: str = Field(description="Versions of the claw that it is for, such as `>=1.0, <2`; empty: all.")
    labels: dict[str, str]
    latest: int = Field(description="Number of the newest version.")
    revision: int = Field(description="Grows with each change; the ETag.")
    created_by: str
    created_at: datetime
    updated_at: datetime


class ConfigVersionItem(Answer):
    """A version as lists show it."""

    id: str
    number: int
    content_hash: str = Field(description="SHA-256 of body and variables: the same content has the same.")
    author: str
    message: str
    created_at: datetime


class ConfigVersionDocument(ConfigVersionItem):
    """What a template said at one time; nothing changes it any more."""

    body: dict[str, Any] = Field(description="`spec`, `secrets` and `labels`, with `${name}` in the places of variables.")
    variables: list[Variable]


class ConfigTemplateDocument(ConfigItem):
    """A template with its newest version."""

    version: ConfigVersionDocument


class ConfigChangeDocument(Answer):
    path: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


class ConfigDiffDocument(Answer):
    unified: str = Field(description="As a unified diff of the two as JSON; empty where nothing is different.")
    changes: list[ConfigChangeDocument] = Field(description="By path.")


class ConfigRenderedDocument(Answer):
    spec: dict[str, Any]
    labels: dict[str, str]
    secrets: list[str] = Field(description="Names of the secrets that it fills; never their values.")


class ConfigValidationAnswer(Answer):
    ok: bool
    adapter_version: str = Field(description="Version of the claw against which it was held.")
    errors: list[FieldErrorDocument] = Field(
        description="With the path into the template (`body.spec.settings.x`), or `variables.NAME` for what has to be entered."
    )
    rendered: ConfigRenderedDocument = Field(description="What it comes to. Empty while the form of the template is wrong.")


class ConfigAppliedDocument(Answer):
    action: Literal["created", "changed", "unchanged"]
    config: ConfigTemplateDocument


# ---- what is asked


class ConfigQuery(Paged):
    tenant: str = Field("", max_length=100, description="Id of an organisation.")
    project: str = Field("", max_length=100, description="Id of a project: what can be used there.")
    adapter: str = Field("", max_length=100, description="Only for this kind of claw.")
    q: str = Field("", max_length=200, description="Part of the name.")
    name: str = Field("", max_length=100, description="Exactly this name, or this id.")


class ConfigContentFields(Strict):
    body: dict[str, Any] = Field(description="`spec`, `secrets` and `labels`, as in a new instance.")
    variables: list[dict[str, Any]] = Field(default_factory=list, max_length=100, description="See `Variable`.")


class NewConfig(ConfigContentFields):
    tenant: str | None = Field(None, max_length=100, description="Id of the organisation; not needed beside `project`.")
    project: str | None = Field(None, max_length=100, description="Id of a project; null: for all of the organisation.")
    name: str = Field(max_length=100, description="1 to 63 small letters, digits or dashes; unique in its organisation.")
    description: str = Field("", max_length=2_000)
    adapter: str = Field(max_length=100, description="Kind of claw; see `/adapters`.")
    adapter_versions: str = Field("", max_length=200, description="Such as `>=1.0, <2`; empty: all.")
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    message: str = Field("", max_length=500, description="What is new, for the list of versions.")


class PutConfig(Strict):
    """What shall be there. What is absent stays."""

    name: str | None = Field(None, max_length=100)
    description: str | None = Field(None, max_length=2_000)
    adapter_versions: str | None = Field(None, max_length=200)
    labels: dict[str, str] | None = Field(None, max_length=64)
    body: dict[str, Any] | None = None
    variables: list[dict[str, Any]] | None = Field(None, max_length=100)
    message: str = Field("", max_length=500, description="What is new, for the list of versions.")
    revision: int | None = Field(None, ge=0, le=BIGGEST, description="The revision that was read, where If-Match cannot be sent.")


class ConfigDiffQuery(Query):
    before: int = Field(0, ge=0, le=BIGGEST, description="Number of a version; 0: the one before the other.")
    after: int = Field(0, ge=0, le=BIGGEST, description="Number of the other one; 0: the newest.")


class ConfigExportQuery(Query):
    version: int | None = Field(None, ge=1, le=BIGGEST, description="Number of a version; absent: the newest.")


class ConfigRestoreBody(Strict):
    message: str = Field("", max_length=500)


class ConfigDuplicateBody(Strict):
    name: str = Field(max_length=100)
    project: str | None = Field(None, max_length=100, description="Id of another project; absent: where the first one is.")


class ConfigImportBody(Strict):
    document: str = Field(max_length=1_000_000, description="The template as YAML or JSON; what it does not name stays.")
    tenant: str | None = Field(None, max_length=100, description="Id of the organisation; not needed beside `project`.")
    project: str | None = Field(None, max_length=100, description="Id of a project.")
    message: str = Field("", max_length=500)


class ConfigValidateBody(Strict):
    """A version, or a draft of one. Nothing is stored."""

    version: int | None = Field(None, ge=1, le=BIGGEST, description="Number of a version; absent: the newest.")
    body: dict[str, Any] | None = Field(None, description="A draft in place of that of the version.")
    variables: list[dict[str, Any]] | None = Field(None, max_length=100, description="A draft, as `body`.")
    values: dict[str, Any] = Field(default_factory=dict, max_length=100, description="Of variables; others have their defaults.")
    adapter_version: str = Field("", max_length=60, description="Version of the claw; empty: the usual one of those it is for.")


_EXAMPLE = {
    "tenant": "01h2xcejqtf2nbrexx3vqjhp41",
    "name": "help-desk",
    "adapter": "nanobot",
    "variables": [
        {"name": "team", "required": True},
        {"name": "key", "type": "secret", "required": True, "title": "API key"},
    ],
    "body": {
        "spec": {
            "model": {"provider": "openai-compatible", "base_url": "http://llm.example.internal/v1", "name": "qwen3"},
            "persona": "You answer questions for ${team}.",
        },
        "secrets": {"model_api_key": "${key}"},
        "labels": {"team": "${team}"},
    },
}


# ---- templates


@op("GET", "/configs", permission=CONFIGS_READ, tags=TAGS, summary="Configuration templates", returns=Page[ConfigItem])
def list_configs(actor: Actor, query: ConfigQuery) -> Any:
    filters = templates.Filters(query.tenant, query.project, query.adapter, query.q, query.name)
    page = templates.listing(actor, filters, query.which)
    return paged(page, query, [_item(row) for row in page.items])


@op("POST", "/configs", permission=CONFIGS_WRITE, tags=TAGS, summary="Create a configuration template", status=201,
    returns=ConfigTemplateDocument, etag=True, problems=(404, 409), example=_EXAMPLE)  # fmt: skip
def create_config(actor: Actor, portal: Portal, body: NewConfig) -> Any:
    """Its first version is made with it. What no value of a variable can mend is refused; see `/validate` for the rest."""
    made = templates.create(portal, actor, templates.NewTemplate(**body.model_dump()))
    return config_document(made), 201, _etag(made) | {"Location": f"/api/v1/configs/{made.id}"}


@op("POST", "/configs/import", permission=CONFIGS_WRITE, tags=TAGS, summary="Bring a template to what a file says",
    returns=ConfigAppliedDocument, problems=(404, 409),
    example={"document": "apiVersion: clawportal.io/v1\nkind: ConfigTemplate\n"})  # fmt: skip
def import_config(actor: Actor, portal: Portal, body: ConfigImportBody) -> dict[str, Any]:
    """Creates the template, or gives one of the same name a new version. Twice the same changes nothing."""
    done = template_files.apply(portal, actor, body.document, body.tenant, body.project, body.message)
    return {"action": done.action, "config": config_document(done.template)}


@op("GET", "/configs/{config_id}", permission=CONFIGS_READ, tags=TAGS, summary="One configuration template",
    returns=ConfigTemplateDocument, etag=True, problems=(404,))  # fmt: skip
def get_config(actor: Actor, config_id: str) -> Any:
    return _answer(templates.get(actor, config_id))


@op("PUT", "/configs/{config_id}", permission=CONFIGS_WRITE, tags=TAGS, summary="Save a configuration template",
    returns=ConfigTemplateDocument, etag=True, problems=(404, 409, 412, 428))  # fmt: skip
def put_config(actor: Actor, portal: Portal, config_id: str, body: PutConfig, if_match: int | None) -> Any:
    """Makes a new version where body or variables are different, and none where they are not. Instances stay on the version
    that they are on. Needs If-Match with the ETag that was read, or `revision` in the body."""
    change = templates.TemplateChange(**body.model_dump(exclude={"revision"}))
    revision = agreed_generation(body.revision, if_match)
    return _answer(templates.update(portal, actor, config_id, change, revision=revision))


@op("DELETE", "/configs/{config_id}", permission=CONFIGS_WRITE, tags=TAGS, summary="Delete a configuration template",
    status=204, problems=(404, 409))  # fmt: skip
def delete_config(actor: Actor, portal: Portal, config_id: str) -> None:
    """With all of its versions. Refused while instances are made of it; the problem names those that one may see."""
    pinned.delete_template(portal, actor, config_id)


@op("POST", "/configs/{config_id}/duplicate", permission=CONFIGS_WRITE, tags=TAGS, summary="Copy a configuration template",
    status=201, returns=ConfigTemplateDocument, etag=True, problems=(404, 409), example={"name": "help-desk-2"})  # fmt: skip
def duplicate_config(actor: Actor, portal: Portal, config_id: str, body: ConfigDuplicateBody) -> Any:
    """Another template, with the newest version of this one as its first."""
    made = templates.duplicate(portal, actor, config_id, body.name, body.project)
    return config_document(made), 201, _etag(made) | {"Location": f"/api/v1/configs/{made.id}"}


@op("GET", "/configs/{config_id}/export", permission=CONFIGS_READ, tags=TAGS, summary="A configuration template as a file",
    produces=(YAML,), problems=(404,))  # fmt: skip
def export_config(actor: Actor, config_id: str, query: ConfigExportQuery) -> Response:
    """As `/configs/import` takes it. There is no value of a secret in it."""
    row = templates.get(actor, config_id)
    text = template_files.as_yaml(template_files.document_of(row, query.version))
    named = {"Content-Disposition": f'attachment; filename="{row.name}.yaml"'}
    return Response(text, content_type=f"{YAML}; charset=utf-8", headers=named)


@op("POST", "/configs/{config_id}/validate", permission=CONFIGS_READ, tags=TAGS, summary="Check a version or a draft",
    returns=ConfigValidationAnswer, problems=(404,), example={"values": {"team": "support"}})  # fmt: skip
def validate_config(actor: Actor, portal: Portal, config_id: str, body: ConfigValidateBody) -> dict[str, Any]:
    """As an instance of it would be judged, with what the organisation says, and with defaults where no value is given."""
    row = templates.get(actor, config_id)
    found = templates.version(row, body.version)
    variables = found.variables if body.variables is None else body.variables
    content, errors = rendering.content_of(found.body if body.body is None else body.body, variables)
    if content is None:
        return _verdict(template_checks.Verdict("", errors=tuple(errors)))
    version = body.adapter_version or _usual(portal, row)
    where = (row.tenant_id, row.project_id)
    return _verdict(template_checks.validate(portal, content, where, row.adapter, version, body.values))


def _usual(portal: Portal, row: ConfigTemplate) -> str:
    version = template_checks.usual_version(portal.registry.adapter(row.adapter), row.adapter_versions)
    if not version:
        raise Invalid.field("adapter_version", _m("There is no version of the claw in the range of this template. Name one."))
    return version


def _verdict(found: template_checks.Verdict) -> dict[str, Any]:
    errors = [{"path": error.path, "message": error.message, "code": error.code} for error in found.errors]
    rendered = {"spec": found.rendered.spec, "labels": found.rendered.labels, "secrets": sorted(found.rendered.secrets)}
    return {"ok": not errors, "adapter_version": found.version, "errors": errors, "rendered": rendered}


# ---- versions


@op("GET", "/configs/{config_id}/versions", permission=CONFIGS_READ, tags=TAGS, summary="Versions of a template",
    returns=Page[ConfigVersionItem], problems=(404,))  # fmt: skip
def list_config_versions(actor: Actor, config_id: str, query: Paged) -> Any:
    """The newest first."""
    page = templates.versions(actor, config_id, query.which)
    return paged(page, query, [_version_item(row) for row in page.items])


@op("GET", "/configs/{config_id}/versions/{number}", permission=CONFIGS_READ, tags=TAGS, summary="One version",
    returns=ConfigVersionDocument, problems=(404,))  # fmt: skip
def get_config_version(actor: Actor, config_id: str, number: str) -> dict[str, Any]:
    return _version(templates.version(templates.get(actor, config_id), templates.number_of(number)))


@op("POST", "/configs/{config_id}/versions/{number}/restore", permission=CONFIGS_WRITE, tags=TAGS,
    summary="Restore a version as a new one", returns=ConfigTemplateDocument, etag=True, problems=(404, 409),
    example={"message": "Back to what worked"})  # fmt: skip
def restore_config_version(actor: Actor, portal: Portal, config_id: str, number: str, body: ConfigRestoreBody) -> Any:
    row = templates.get(actor, config_id)
    return _answer(templates.restore(portal, actor, row.id, templates.number_of(number), body.message))


@op("GET", "/configs/{config_id}/diff", permission=CONFIGS_READ, tags=TAGS, summary="What differs between two versions",
    returns=ConfigDiffDocument, problems=(404,))  # fmt: skip
def diff_config_versions(actor: Actor, config_id: str, query: ConfigDiffQuery) -> dict[str, Any]:
    found = templates.diff(actor, config_id, query.before, query.after)
    return {"unified": found.unified, "changes": [change.__dict__ for change in found.changes]}


# ---- from rows to documents


def _item(row: ConfigTemplate) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ConfigItem.model_fields}


def _version_item(row: ConfigVersion) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ConfigVersionItem.model_fields}


def _version(row: ConfigVersion) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ConfigVersionDocument.model_fields}


def config_document(row: ConfigTemplate) -> dict[str, Any]:
    return {**_item(row), "version": _version(templates.version(row))}


def _etag(row: ConfigTemplate) -> dict[str, str]:
    return {"ETag": f'"{row.revision}"'}


def _answer(row: ConfigTemplate) -> tuple[dict[str, Any], int, dict[str, str]]:
    return config_document(row), 200, _etag(row)
