"""The language model of a claw as it would be asked, were its form saved as it stands: to test it before that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clawportal import pasted, validation
from clawportal.contracts.core_permissions import INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import ModelChoice
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.secret_settings import asked_again
from clawportal.services.configuration import catalog, destinations, layers, model_keys, secrets
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.rights import access
from clawportal.services.tenancy import tenancy

_KEY = f"secrets.{MODEL_KEY}"


@dataclass(frozen=True)
class ModelTrial:
    """A model, and the key that may go there."""

    model: ModelChoice
    key: str = field(repr=False)


def as_saved(
    portal: Portal, actor: Actor, instance_id: str, project: str | None, model: Mapping[str, Any], typed: str
) -> ModelTrial:
    """Of an instance, or of a new one in a project. `model`: as its form says it; `typed`: a key that is not stored.

    Invalid where no key may go there: a stored one goes to the address only that it was entered for.
    """
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE) if instance_id else None
    place = instance or tenancy.project_for_create(actor, project)
    where = (place.tenant_id, instance.project_id if instance else place.id)
    choice = _laid(portal, where, _read(model))
    return ModelTrial(choice, _key(portal, where, instance, choice, pasted.key(typed, "the API key").text))


def _read(model: Mapping[str, Any]) -> ModelChoice:
    document = {"model": dict(model)}
    flaw = catalog.tidy_address(document, [])
    choice, errors = validation.judge(ModelChoice, document["model"], "spec.model")
    if flaw or choice is None:
        raise Invalid(_m("The model cannot be tested like this."),
                      errors=(*errors, *([FieldError("spec.model.base_url", flaw)] if flaw else [])))  # fmt: skip
    return choice


def _laid(portal: Portal, where: model_keys.Where, choice: ModelChoice) -> ModelChoice:
    """With what its organisation says."""
    said = {"model": model_keys.completed(portal, where, choice).model_dump(mode="json")}
    laid = layers.effective(portal.registry.providers, layers.of(where[0]), None, "", said)
    return ModelChoice.model_validate(laid.spec["model"])


def _key(portal: Portal, where: model_keys.Where, instance: Instance | None, choice: ModelChoice, typed: str) -> str:
    if choice.credential:
        return model_keys.value_of(portal, where, choice)
    shared = layers.key_for(portal, where[0], choice)
    if shared and layers.of(where[0]).enforced.model:
        return shared
    own, moved = _own(portal, instance, choice) if instance and not typed else (typed, None)
    if moved and not shared:
        raise Invalid(_m("The key has to be entered again."), errors=(moved,))
    return own or shared


def _own(portal: Portal, instance: Instance, choice: ModelChoice) -> tuple[str, FieldError | None]:
    """The key that the instance keeps, if it was entered for there; else what is wrong with that."""
    info = next((info for info in secrets.listing(instance.id) if info.name == MODEL_KEY), None)
    if info is None:
        return "", None
    entered = info.goes_to or layers.destinations_of(portal, instance).get(MODEL_KEY, "")
    there = destinations.of_model(portal.registry.providers, choice)
    if entered != there:
        return "", asked_again(_KEY, entered, there)
    return secrets.open_all(portal, instance.id, {MODEL_KEY})[MODEL_KEY], None
