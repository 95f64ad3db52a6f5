"""What an organisation says about every claw in it, and what that comes to for one instance."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawportal import redact
from clawportal.api._layer import Answer, op
from clawportal.contracts.core_permissions import INSTANCE_READ, TENANT_READ, TENANT_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.services.configuration import layers
from clawportal.services.fleet import instances, layer_changes, template_choices

TAGS = ("Organisations",)
_PATH = "/tenants/{tenant_id}/layer"


class LayerDocument(Answer):
    """Defaults are used where an instance says nothing; what is enforced wins over the instance."""

    defaults: dict[str, Any]
    enforced: dict[str, Any]
    has_model_api_key: bool = Field(description="Whether an API key goes with the model. Its value is never shown.")


class LayerBody(Strict):
    """The whole layer: what is absent is not said any more."""

    defaults: dict[str, Any] = Field(
        default_factory=dict, description="`model`, `resources`, `settings` by kind of claw, and `labels`; each may be absent."
    )
    enforced: dict[str, Any] = Field(default_factory=dict, description="As `defaults`.")
    model_api_key: str | None = Field(
        None, max_length=100_000, description="Key of the model. Absent keeps the one that is there, an empty text removes it."
    )


class ImpactDocument(Answer):
    """What a change means for what exists."""

    changes: int = Field(description="How many instances change.")
    restarts: int = Field(description="Of those, how many running ones are restarted.")
    refused: int = Field(description="Of those, how many do not accept it and run on as they are.")
    named: list[str] = Field(description="Names of the first that change.")


class EffectiveDocument(Answer):
    spec: dict[str, Any] = Field(description="What holds for the instance: its own spec with the layer of its organisation.")
    labels: dict[str, str]
    sources: dict[str, str] = Field(
        description="Path -> `default` or `enforced`, for each value that comes from the organisation, `template` for one from "
        "the configuration template of the instance."
    )


_EXAMPLE = {
    "defaults": {"resources": {"memory": "1Gi"}},
    "enforced": {"model": {"provider": "openai-compatible", "base_url": "http://llm.example/v1", "name": "big"}},
    "model_api_key": "sk-...",
}


@op("GET", _PATH, permission=TENANT_READ, tags=TAGS, summary="What an organisation says about its claws",
    returns=LayerDocument, problems=(404,))  # fmt: skip
def get_layer(actor: Actor, tenant_id: str) -> dict[str, Any]:
    found = layers.get(actor, tenant_id)
    return {**redact.document(found.layer.model_dump(mode="json")), "has_model_api_key": found.has_key}


@op("PUT", _PATH, permission=TENANT_UPDATE, tags=TAGS, summary="Set what an organisation says about its claws",
    returns=ImpactDocument, problems=(404, 409), example=_EXAMPLE)  # fmt: skip
def put_layer(actor: Actor, portal: Portal, tenant_id: str, body: LayerBody) -> dict[str, Any]:
    """Instances that it changes are planned anew at once; those that need it are restarted. See `/layer/preview`."""
    document = {"defaults": body.defaults, "enforced": body.enforced}
    return _impact(layer_changes.put(portal, actor, tenant_id, document, body.model_api_key))


@op("POST", f"{_PATH}/preview", permission=TENANT_UPDATE, tags=TAGS, returns=ImpactDocument,
    summary="What setting it would do", problems=(404, 409), example=_EXAMPLE)  # fmt: skip
def preview_layer(actor: Actor, portal: Portal, tenant_id: str, body: LayerBody) -> dict[str, Any]:
    document = {"defaults": body.defaults, "enforced": body.enforced}
    return _impact(layer_changes.preview(portal, actor, tenant_id, document, body.model_api_key))


def _impact(found: layer_changes.Impact) -> dict[str, Any]:
    return found.__dict__ | {"named": list(found.named)}


@op("GET", "/instances/{instance_id}/effective", permission=INSTANCE_READ, tags=("Instances",),
    summary="What holds for an instance, and where it comes from", returns=EffectiveDocument, problems=(404,))  # fmt: skip
def get_effective(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    instance = instances.get(actor, instance_id)
    found = layers.of_instance(portal, instance)
    return {**found.__dict__, "sources": template_choices.sources(portal, instance) | found.sources}
