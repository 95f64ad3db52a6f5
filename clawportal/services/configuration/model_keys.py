"""Stored keys of model providers that specs name: which there are, whether one fits a model, and its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clawportal import secret_settings
from clawportal.contracts.extensions import MODEL_KEYS, ModelKey, ModelKeys
from clawportal.contracts.specs import ModelChoice
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.services.configuration import destinations

Where = tuple[str, str | None]
"""Ids of a tenant and of a project in it; without project, what holds for all of them."""


def _stores(portal: Portal) -> Iterator[ModelKeys]:
    return (target(portal) for target in portal.registry.targets(MODEL_KEYS))


def offered(portal: Portal, where: Where) -> list[ModelKey]:
    return [key for store in _stores(portal) for key in store.offered(*where)]


def _found(portal: Portal, where: Where, key_id: str) -> tuple[ModelKeys, ModelKey] | None:
    found = ((store, store.find(*where, key_id)) for store in _stores(portal))
    return next(((store, key) for store, key in found if key is not None), None)


def completed(portal: Portal, where: Where, choice: ModelChoice) -> ModelChoice:
    """Provider and address are those of the key that it names, where it names none itself."""
    found = _found(portal, where, choice.credential) if choice.credential else None
    if found is None or choice.provider not in ("", found[1].provider):
        return choice
    key = found[1]
    return choice.model_copy(update={"provider": key.provider, "base_url": choice.base_url or key.base_url})


def flaws(portal: Portal, where: Where, choice: ModelChoice, path: str = "spec.model.credential") -> list[FieldError]:
    """What is wrong with the key that a choice names."""
    if not choice.credential:
        return []
    found = _found(portal, where, choice.credential)
    if found is None:
        return [FieldError(path, _m("There is no such key here, or it is of another project. Choose another one."), "unknown")]
    entered, there = found[1].goes_to, destinations.of_model(portal.registry.providers, choice)
    return [] if entered == there else [secret_settings.asked_again(path, entered, there)]


def _fitting(portal: Portal, instance: Instance, spec: Mapping[str, Any]) -> tuple[ModelKeys, ModelKey] | None:
    choice, where = ModelChoice.model_validate(spec.get("model") or {}), (instance.tenant_id, instance.project_id)
    return None if not choice.credential or flaws(portal, where, choice) else _found(portal, where, choice.credential)


def of_instance(portal: Portal, instance: Instance, spec: Mapping[str, Any]) -> ModelKey | None:
    """The key that its model names; None where it names none, or one that is not for there. `spec`: with what its organisation
    says."""
    found = _fitting(portal, instance, spec)
    return found[1] if found else None


def value_for(portal: Portal, instance: Instance, spec: Mapping[str, Any], *, giving: bool) -> str:
    """`giving`: see `ModelKeys.open`."""
    found = _fitting(portal, instance, spec)
    return found[0].open(found[1], giving=giving) if found else ""


def value_of(portal: Portal, where: Where, choice: ModelChoice) -> str:
    """The key that a choice names, given out to be tested there. Invalid with what is wrong with it."""
    found = _found(portal, where, choice.credential)
    if (errors := flaws(portal, where, choice)) or found is None:
        raise Invalid(_m("This key cannot be used for this model."), errors=tuple(errors))
    return found[0].open(found[1], giving=True)


def named_in(spec: Mapping[str, Any]) -> bool:
    """Whether a spec names a stored key, so that no other is used."""
    return bool((spec.get("model") or {}).get("credential"))
