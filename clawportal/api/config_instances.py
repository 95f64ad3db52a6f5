"""Instances that are made of a configuration template: their version, moving one to another, and making a template of one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from clawportal.api._layer import BIGGEST, Answer, agreed_generation, op
from clawportal.api.configs import ConfigChangeDocument, ConfigTemplateDocument, config_document
from clawportal.api.instances import FieldErrorDocument, InstanceDocument, answer_of
from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE, INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.errors import NotFound
from clawportal.messages import _m
from clawportal.services.configuration import templates
from clawportal.services.fleet import instances, pinned

TAGS = ("Configuration templates",)
_PATH = "/instances/{instance_id}/template"


class InstanceTemplateDocument(Answer):
    """The version of a template that an instance is held to."""

    config_id: str
    name: str
    version: int
    latest: int
    outdated: bool = Field(description="Whether there is a newer version. The instance stays on its own until somebody moves it.")
    variables: dict[str, Any] = Field(description="What was entered; secrets are never told.")


class ConfigMoveBody(Strict):
    """Another version, other values, or both."""

    version: int | None = Field(None, ge=1, le=BIGGEST, description="Number of a version; absent: the newest.")
    variables: dict[str, Any] = Field(
        default_factory=dict, max_length=100, description="Only those named change; null takes a value away. Secrets that would "
        "go into another field have to be entered again."
    )  # fmt: skip


class ConfigMoveNowBody(ConfigMoveBody):
    generation: int | None = Field(
        None, ge=0, le=BIGGEST, description="The generation that was read, where If-Match cannot be sent."
    )


class ConfigMoveDocument(Answer):
    """What a move would do. Nothing is stored."""

    ok: bool
    version: int
    errors: list[FieldErrorDocument]
    action: Literal["none", "hot", "call", "restart", "recreate", "refused"] = Field(description="What the claw does with it.")
    unified: str = Field(description="What is different in spec and labels, as a unified diff.")
    changes: list[ConfigChangeDocument]
    removed_secrets: list[str] = Field(description="Names of the stored secrets that would be deleted.")


class InstanceTemplateBody(Strict):
    name: str = Field(max_length=100, description="Of the template.")
    description: str = Field("", max_length=2_000)
    project: str | None = Field(None, max_length=100, description="Id of a project; null: for all of the organisation.")


@op("GET", _PATH, permission=CONFIGS_READ, tags=TAGS, summary="The template of an instance", returns=InstanceTemplateDocument,
    problems=(404,))  # fmt: skip
def get_instance_template(actor: Actor, instance_id: str) -> dict[str, Any]:
    instance = instances.get(actor, instance_id)
    found = pinned.of_instance(actor, instance)
    if found is None:
        raise NotFound(_m("%(name)s is made of no configuration template, or of one that you may not read.", name=instance.name))
    return {
        "config_id": found.template.id, "name": found.template.name, "version": found.version.number,
        "latest": found.template.latest, "outdated": found.outdated, "variables": pinned.shown_variables(actor, found),
    }  # fmt: skip


@op("POST", f"{_PATH}/preview", permission=INSTANCE_UPDATE, tags=TAGS, summary="What moving to another version would do",
    returns=ConfigMoveDocument, problems=(404, 409), example={"version": 2})  # fmt: skip
def preview_instance_template(actor: Actor, portal: Portal, instance_id: str, body: ConfigMoveBody) -> dict[str, Any]:
    """With what the instance says itself, which stays as it is."""
    found = pinned.preview(portal, actor, instance_id, body.version, body.variables)
    return {
        "ok": not found.errors, "version": found.number, "action": found.action,
        "errors": [{"path": error.path, "message": error.message, "code": error.code} for error in found.errors],
        "unified": found.diff.unified if found.diff else "",
        "removed_secrets": [*found.removed_secrets],
        "changes": [change.__dict__ for change in found.diff.changes] if found.diff else [],
    }  # fmt: skip


@op("PUT", _PATH, permission=INSTANCE_UPDATE, tags=TAGS, summary="Move an instance to another version",
    returns=InstanceDocument, etag=True, problems=(404, 409, 412, 428), example={"version": 2, "generation": 1})  # fmt: skip
def put_instance_template(actor: Actor, portal: Portal, instance_id: str, body: ConfigMoveNowBody, if_match: int | None) -> Any:
    """Needs If-Match with the ETag of the instance, or `generation` in the body. See `/template/preview`."""
    generation = agreed_generation(body.generation, if_match)
    return answer_of(portal, pinned.move(portal, actor, instance_id, body.version, body.variables, generation=generation))


@op("POST", _PATH, permission=CONFIGS_WRITE, tags=TAGS, summary="Make a template of an instance", status=201,
    returns=ConfigTemplateDocument, problems=(404, 409), example={"name": "help-desk"})  # fmt: skip
def make_instance_template(actor: Actor, portal: Portal, instance_id: str, body: InstanceTemplateBody) -> Any:
    """Its secrets become secret variables; their values stay with the instance. The instance itself is not held to it."""
    made = pinned.make_template(portal, actor, instance_id, body.name, description=body.description, project=body.project)
    return config_document(templates.get(actor, made.id)), 201, {"Location": f"/api/v1/configs/{made.id}"}
