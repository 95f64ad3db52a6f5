"""Model providers: a plugin gives its own to the hook `register_model_providers`. Loads neither Flask nor SQLAlchemy.

    @hookimpl
    def register_model_providers() -> Iterable[ModelProvider]:
        return [ModelProvider("parrot-cloud", "Parrot Cloud", base_url="https://api.parrot.example/v1", key_example="pk-…")]

`portal.registry.providers` has all of them by id, in the order in which they are offered.
"""

from __future__ import annotations

from clawportal.contracts.extensions import ModelService
from clawportal.contracts.providers import DIALECTS, Dialect, ModelList, ModelProvider, ModelProviders

__all__ = ["DIALECTS", "Dialect", "ModelList", "ModelProvider", "ModelProviders", "ModelService"]
