"""Where the secrets of an instance go, so that each is only given out for the address that it was entered for.

A destination is a text that is compared and shown: `openai https://api.openai.com:443`. A path in an address makes no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from clawportal import addresses, secret_settings
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.providers import ModelProviders
from clawportal.contracts.runtimes import SendsSecrets
from clawportal.contracts.specs import ModelChoice
from clawportal.errors import FieldError
from clawportal.services.configuration.secrets import MODEL_KEY


def of_model(providers: ModelProviders, choice: ModelChoice) -> str:
    """What the portal serves itself needs no key, and none is asked for."""
    provider = choice.provider or providers.usual
    if provider in providers.served:
        return provider
    return f"{provider} {addresses.endpoint(providers.base_url(provider, choice.base_url))}"


def of(providers: ModelProviders, adapter: Adapter | None, version: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """By name of the secret; those that no address decides about are absent. `spec`: with what the organisation says."""
    found = {MODEL_KEY: of_model(providers, ModelChoice.model_validate(spec.get("model") or {}))}
    return found | (_of_settings(adapter, version, spec.get("settings") or {}) if adapter else {})


def _of_settings(adapter: Adapter, version: str, settings: Mapping[str, Any]) -> dict[str, str]:
    try:
        model = adapter.settings_model(version).model_validate(settings)
    except Exception:  # of a version that is no longer known, or not good yet, as its own code may say: told elsewhere
        return {}
    return model.secrets_go_to() if isinstance(model, SendsSecrets) else {}


def moved(
    providers: ModelProviders, stored: Mapping[str, str | None], now: Mapping[str, str], given: Collection[str]
) -> Iterator[FieldError]:
    """Stored secrets that would go to another address than they were entered for, and were not entered again."""
    return secret_settings.moved(stored, now, given, free=providers.served)
