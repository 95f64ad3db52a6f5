"""Model providers: who serves language models to claws, keys of them that claws share, and a test of a model."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import ADMISSION, FIRST_STEPS, MODEL_KEYS, RESEAL, ApiTag, Card, EventKind, Feature, Job, TenantTab
from clawportal.sdk.permissions import INSTANCE_UPDATE
from clawportal.sdk.providers import ModelProvider
from clawportal_providers.catalogue import PROVIDERS
from clawportal_providers.permissions import CREDENTIAL, PROVIDERS_MANAGE, PROVIDERS_READ

SUMMARY = _m("Model providers: who serves language models to claws, and stored keys for them.")

FEATURE = Feature(
    name="credentials",
    title=_m("Model keys"),
    package="clawportal_providers",
    requires=("instances",),
    permissions=(PROVIDERS_READ, PROVIDERS_MANAGE),
    resources=(CREDENTIAL,),
    models=("clawportal_providers.models",),
    migrations="migrations",
    settings="clawportal_providers.settings:CredentialSettings",
    events=(
        EventKind("credential.created", _m("A key of a model provider was stored."), _m("Store {thing}")),
        EventKind("credential.changed", _m("A stored key was changed.")),
        EventKind("credential.rotated", _m("A stored key was replaced."), _m("Replace {thing}")),
        EventKind("credential.deleted", _m("A stored key was deleted.")),
    ),
    api_tags=(ApiTag(_m("Model keys"), _m("Stored keys of model providers, and tests of models."), 85),),
    api=("clawportal_providers.api",),
    pages=("clawportal_providers.pages", "clawportal_providers.form_pages"),
    cards=(Card("model_trial", "clawportal_providers.form_pages:card", INSTANCE_UPDATE, place="model"),),
    tenant_tabs=(TenantTab("model_keys", _m("Model keys"), "web.tenant_model_keys", PROVIDERS_READ),),
    client_commands=("clawportal_providers.cli:register",),
    jobs=(Job("credential-use", "clawportal_providers.services:note_use", every=60, on="each"),),
    extra={
        MODEL_KEYS: ("clawportal_providers.services:model_keys",),
        RESEAL: ("clawportal_providers.services:reseal",),
        ADMISSION: ("clawportal_providers.services:admit",),
        FIRST_STEPS: ("clawportal_providers.first_steps:steps",),
    },
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)


@hookimpl
def register_model_providers() -> Iterable[ModelProvider]:
    return PROVIDERS
