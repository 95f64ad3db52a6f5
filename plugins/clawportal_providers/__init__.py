"""Model providers: who serves language models to claws, as data."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.providers import ModelProvider
from clawportal_providers.catalogue import PROVIDERS

SUMMARY = _m("Model providers: who serves language models to claws.")


@hookimpl
def register_model_providers() -> Iterable[ModelProvider]:
    return PROVIDERS
