"""What an organisation says about every claw in it: read and set it, hold it against what exists, and lay it over instances.

Nothing of it is copied into instances. It is laid over them whenever they are planned, so that a change reaches all of them, and
taking it away leaves every instance as its owner described it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from clawportal import secret_settings
from clawportal.contracts import layers
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import TENANT_READ
from clawportal.contracts.layers import NOTHING, Effective, Layer
from clawportal.contracts.permissions import Actor
from clawportal.contracts.providers import ModelProviders
from clawportal.contracts.specs import InstanceSpec, ModelChoice
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError
from clawportal.models import Instance, InstanceSecret, Tenant, TenantSecret
from clawportal.services.clusters import claw_proxy
from clawportal.services.configuration import destinations, model_keys, secrets
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.rights import access

log = logging.getLogger(__name__)

_EARLIER_KEY = f"{MODEL_KEY} of its own"


@dataclass(frozen=True)
class Shared:
    """A layer as it is kept, and whether an API key goes with its model."""

    layer: Layer
    has_key: bool


# ---- laying it over an instance


def of(tenant_id: str) -> Layer:
    """The layer of a tenant, as it was accepted."""
    document = db.session.scalar(select(Tenant.layer).where(Tenant.id == tenant_id))
    return Layer.model_validate(document) if document else NOTHING


def effective(
    providers: ModelProviders, layer: Layer, adapter: Adapter | None, version: str, spec: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
) -> Effective:  # fmt: skip
    """What holds for an instance; without its adapter nothing is known of its settings, and they stay as they are."""
    if layer == NOTHING:
        return Effective(dict(spec), dict(labels or {}))
    known = built_in(adapter, version) if adapter else {}
    return layers.merge(layer, adapter.kind if adapter else "", spec, labels or {}, known, providers)


def of_instance(portal: Portal, instance: Instance) -> Effective:
    if instance.foreign_id:  # it keeps the configuration that its maker gave it
        return Effective(dict(instance.spec or {}), dict(instance.labels or {}))
    adapter = portal.registry.adapters.get(instance.adapter)
    layer = of(instance.tenant_id)
    return effective(portal.registry.providers, layer, adapter, instance.version, instance.spec or {}, instance.labels)


def built_in(adapter: Adapter, version: str) -> dict[str, Any]:
    """The settings that a version knows, with their defaults, as JSON has them; secrets are no settings."""
    try:
        model = adapter.settings_model(version)
    except (LookupError, ValueError):  # what somebody else made may be of any version
        return {}
    hidden = secret_settings.secret_fields(model)
    shown = {name: item for name, item in model.model_fields.items() if name not in hidden}
    found = {name: item.get_default(call_default_factory=True) for name, item in shown.items() if not item.is_required()}
    return {**dict.fromkeys(shown), **model.model_construct(**found).model_dump(mode="json", include=set(shown), warnings=False)}


def key_of(portal: Portal, instance: Instance) -> str:
    """The shared API key, if this instance gets it; otherwise empty."""
    row = db.session.get(TenantSecret, (instance.tenant_id, MODEL_KEY))
    return (
        portal.keyring.open(row.sealed, place_of_key(row.tenant_id))
        if row is not None and _shares_key(portal, instance, row)
        else ""
    )


def key_for(portal: Portal, tenant_id: str, choice: ModelChoice) -> str:
    """The shared API key, if this is the model that it goes with; otherwise empty."""
    row, layer = db.session.get(TenantSecret, (tenant_id, MODEL_KEY)), of(tenant_id)
    if row is None or layer.model is None or (choice.provider, choice.base_url) != (layer.model.provider, layer.model.base_url):
        return ""
    if row.goes_to not in (None, destinations.of_model(portal.registry.providers, layer.model)):
        return ""
    return portal.keyring.open(row.sealed, place_of_key(tenant_id))


def has_key(portal: Portal, instance: Instance) -> bool:
    row = db.session.get(TenantSecret, (instance.tenant_id, MODEL_KEY))
    return row is not None and _shares_key(portal, instance, row)


def _shares_key(portal: Portal, instance: Instance, row: TenantSecret) -> bool:
    """The key goes with the model of the layer, and to no other address: an instance must not be able to send it elsewhere."""
    layer, providers = of(instance.tenant_id), portal.registry.providers
    if layer.model is None or row.goes_to not in (None, destinations.of_model(providers, layer.model)):
        return False
    if layer.enforced.model is not None:
        return True
    # an own key is only for who talks to the model under their own name
    there = (None, destinations.of_model(providers, layer.model))
    own = any(info.name == MODEL_KEY and info.goes_to in there for info in secrets.listing(instance.id))
    model = layers.merge(layer, "", instance.spec or {}, {}, {}, providers).spec["model"]
    return not own and (model["provider"], model["base_url"]) == (layer.model.provider, layer.model.base_url)


def destinations_of(portal: Portal, instance: Instance) -> dict[str, str]:
    """Where its secrets go as things stand, by name."""
    adapter = portal.registry.adapters.get(instance.adapter)
    return destinations.of(portal.registry.providers, adapter, instance.version, of_instance(portal, instance).spec)


def note_destinations(portal: Portal, instance: Instance) -> None:
    """Of secrets that are older than the note of where they go: where they go until now."""
    unnoted = [info.name for info in secrets.listing(instance.id) if info.goes_to is None and not info.generated]
    if unnoted:
        now = destinations_of(portal, instance)
        secrets.note_destinations(instance.id, {name: now[name] for name in unnoted if name in now})


def note_all_destinations(portal: Portal) -> None:
    """Once after an upgrade: from then on every stored key has the address that it was entered for."""
    with transaction():
        for tenant_id in db.session.scalars(select(TenantSecret.tenant_id).where(TenantSecret.goes_to.is_(None))).all():
            note_destination(portal, db.session.get_one(Tenant, tenant_id))
        old = select(InstanceSecret.instance_id).where(InstanceSecret.goes_to.is_(None), InstanceSecret.generated.is_(False))
        for row in db.session.scalars(select(Instance).where(Instance.id.in_(old), Instance.destroyed_at.is_(None))).all():
            note_destinations(portal, row)


def moved_secrets(
    portal: Portal, instance: Instance, version: str, spec: InstanceSpec, given: Mapping[str, str]
) -> list[FieldError]:
    """Own keys that a change would send to another address than they were entered for, unless they come with it."""
    adapter, layer, providers = portal.registry.adapters.get(instance.adapter), of(instance.tenant_id), portal.registry.providers
    merged = effective(providers, layer, adapter, version, spec.model_dump(mode="json"))
    now, until = destinations.of(providers, adapter, version, merged.spec), destinations_of(portal, instance)
    stored = {info.name: info.goes_to or until.get(info.name) for info in secrets.listing(instance.id) if not info.generated}
    if model_keys.named_in(merged.spec) or (uses_model_of(layer, merged) and keeps_key(instance.tenant_id)):
        stored.pop(MODEL_KEY, None)  # the organisation has one for there
    return list(destinations.moved(providers, stored, now, given))


def place_of_key(tenant_id: str) -> str:
    return f"tenant:{tenant_id}/secret:{MODEL_KEY}"


def open_secrets(portal: Portal, instance: Instance) -> dict[str, str]:
    """All values that a claw may know, to hide them: its own and, with the model of its organisation, the key of that. One of its
    own that the latter takes the place of it may still know, from before."""
    own, shared = _own(portal, instance), _shared_key(portal, instance, of_instance(portal, instance).spec, giving=False)
    earlier = {_EARLIER_KEY: own[MODEL_KEY]} if MODEL_KEY in own else {}
    return {**own, MODEL_KEY: shared, **earlier} if shared else own


def _shared_key(portal: Portal, instance: Instance, said: Mapping[str, Any], *, giving: bool) -> str:
    """The stored key that its model names, or the one that goes with the model of its organisation; empty where it gets none."""
    named = model_keys.named_in(said)
    return model_keys.value_for(portal, instance, said, giving=giving) if named else key_of(portal, instance)


def _own(portal: Portal, instance: Instance, names: Collection[str] | None = None) -> dict[str, str]:
    """With the sign-in at the proxy of its cluster, which belongs to no claw alone."""
    return {**secrets.open_all(portal, instance.id, names), **claw_proxy.values(portal, instance.cluster_id)}


def secrets_for(portal: Portal, instance: Instance, *, giving: bool = True) -> dict[str, str]:
    """The values that a claw gets: without those that were entered for another address than it talks to now. `giving`: it gets
    them now, and they are not only looked up to talk to it."""
    adapter = portal.registry.adapters.get(instance.adapter)
    said = of_instance(portal, instance).spec
    mine = usable(portal.registry.providers, adapter, instance.version, said, secrets.listing(instance.id))
    shared = _shared_key(portal, instance, said, giving=giving)
    own = _own(portal, instance, mine - {MODEL_KEY} if model_keys.named_in(said) else mine)
    return {**own, MODEL_KEY: shared} if shared else own


def usable(
    providers: ModelProviders, adapter: Adapter | None, version: str, spec: Mapping[str, Any],
    infos: Sequence[secrets.SecretInfo],
) -> set[str]:  # fmt: skip
    """Names of the own secrets that may go where this spec sends them. `spec`: with what the organisation says."""
    there = destinations.of(providers, adapter, version, spec)
    return {info.name for info in infos if info.goes_to in (None, there.get(info.name, info.goes_to))}


def reseal(portal: Portal) -> int:
    """Move every secret to the newest key; returns how many were moved."""
    with transaction():
        stale = [row for row in db.session.scalars(select(TenantSecret)) if not portal.keyring.is_current(row.sealed)]
        for row in stale:
            row.sealed = portal.keyring.seal(
                portal.keyring.open(row.sealed, place_of_key(row.tenant_id)), place_of_key(row.tenant_id)
            )
    return len(stale)


# ---- reading and setting


def get(actor: Actor, tenant_id: str) -> Shared:
    tenant = access.get_or_404(Tenant, tenant_id, actor, TENANT_READ)
    return Shared(of(tenant.id), keeps_key(tenant.id))


def note_destination(portal: Portal, tenant: Tenant) -> None:
    """Of a key that is older than the note of where it goes: the model that it is with until now."""
    row, before = db.session.get(TenantSecret, (tenant.id, MODEL_KEY)), of(tenant.id).model
    if row is not None and row.goes_to is None and before is not None:
        row.goes_to = destinations.of_model(portal.registry.providers, before)


def keeps_key(tenant_id: str) -> bool:
    """Whether an API key goes with the model of the layer."""
    return db.session.get(TenantSecret, (tenant_id, MODEL_KEY)) is not None


def uses_model_of(layer: Layer, new: Effective) -> bool:
    model = new.spec.get("model", {})
    return layer.model is not None and (model.get("provider"), model.get("base_url")) == (
        layer.model.provider, layer.model.base_url,
    )  # fmt: skip
