"""Changes what an organisation says about every claw in it: holds it against what exists, and has what changes planned anew."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, or_, select

from clawportal import clock, pasted, secret_settings, validation
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import TENANT_UPDATE
from clawportal.contracts.layers import NOTHING, Layer, Part
from clawportal.contracts.permissions import Actor, Scope
from clawportal.contracts.runtimes import Runtime
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, GiveUp, Invalid, Problem, Retry, SettingForbidden
from clawportal.labels import check_labels
from clawportal.lifecycle import Desired, Phase
from clawportal.messages import _m, joined
from clawportal.models import Cluster, Instance, Tenant, TenantSecret
from clawportal.models.clusters import UNREACHABLE
from clawportal.services.clusters import clusters
from clawportal.services.configuration import catalog, console_settings, destinations, layers, model_keys, secrets
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.events import event_log
from clawportal.services.fleet import plans, replans
from clawportal.services.rights import access

log = logging.getLogger(__name__)

NAMED = 20
"""So many instances are named; of more the number is told."""


@dataclass(frozen=True)
class Impact:
    """What a change of the layer would do to what exists."""

    changes: int = 0
    restarts: int = 0
    """Of those, how many running claws would be restarted."""
    refused: int = 0
    """Of those, how many claws would not accept it; they run on as they are."""
    named: Sequence[str] = ()


def preview(portal: Portal, actor: Actor, tenant_id: str, document: Mapping[str, Any], key: str | None = None) -> Impact:
    """What setting it would do. Invalid for what could not be set."""
    tenant, key = access.get_or_404(Tenant, tenant_id, actor, TENANT_UPDATE), _stripped(key)
    layer = _accepted(portal, tenant, document, key)
    _insist_on_console(portal, actor, tenant, layer)
    return _impact(portal, tenant, layer, key, _connected(portal, tenant.id))[0]


def put(portal: Portal, actor: Actor, tenant_id: str, document: Mapping[str, Any], key: str | None = None) -> Impact:
    """Set the whole layer. `key`: the API key of its model; None keeps what is there, an empty text takes it away."""
    runtimes = _connected(portal, access.get_or_404(Tenant, tenant_id, actor, TENANT_UPDATE).id)
    with transaction() as after_commit:
        tenant = access.get_or_404(Tenant, tenant_id, actor, TENANT_UPDATE, lock=True)
        if tenant.deleting_at is not None:
            raise Conflict(_m("%(title)s is being deleted.", title=tenant.title or tenant.name))
        key = _stripped(key)
        layer = _accepted(portal, tenant, document, key)
        _insist_on_console(portal, actor, tenant, layer)
        impact, changed, restarting = _impact(portal, tenant, layer, key, runtimes)
        layers.note_destination(portal, tenant)
        tenant.layer = None if layer == NOTHING else layer.model_dump(mode="json")
        _keep_key(portal, tenant, layer, key)
        replans.plan_anew(portal, after_commit, tenant.id, changed, restart=restarting)
        title = tenant.title or tenant.name
        message = _m(
            "What %(title)s says about its claws was changed; %(changes)s of them change.", title=title, changes=impact.changes
        )
        event_log.record(portal, "tenant.layer_changed", actor=actor, tenant_id=tenant.id, message=message)
    return impact


def _keep_key(portal: Portal, tenant: Tenant, layer: Layer, key: str | None) -> None:
    row = db.session.get(TenantSecret, (tenant.id, MODEL_KEY))
    if row is not None and (key == "" or layer.model is None):
        db.session.delete(row)
    elif key:
        if row is None:
            row = TenantSecret(tenant_id=tenant.id, name=MODEL_KEY)
            db.session.add(row)
        assert layer.model is not None
        row.sealed, row.updated_at = portal.keyring.seal(key, layers.place_of_key(tenant.id)), clock.now()
        row.goes_to = destinations.of_model(portal.registry.providers, layer.model)


# ---- what is wrong with it


def _accepted(portal: Portal, tenant: Tenant, document: Mapping[str, Any], key: str | None) -> Layer:
    tidied, flaws = _tidied(document)
    try:
        layer = Layer.model_validate(tidied)
    except ValidationError as error:
        errors = validation.field_errors(error)
        raise Invalid(joined((joined((item.path, item.message), ": ") for item in errors[:3]), "; "), errors=errors) from error
    layer = _completed(portal, tenant, layer)
    errors = [
        *flaws,
        *_key_errors(layer, key),
        *_key_moved(portal, tenant, layer, key),
        *(finding for kind in _kinds(portal, layer) for finding in kind),
    ]
    for strength, part in (("defaults", layer.defaults), ("enforced", layer.enforced)):
        errors += _model_errors(portal, tenant, strength, part)
        errors += [replace(item, path=f"{strength}.{item.path}") for item in check_labels(part.labels)]
        errors += _settings_errors(portal, tenant, strength, part)
        errors += secret_settings.credentials_inside(strength, part.model_dump(include={"model", "settings"}))
    if errors:
        raise Invalid(joined((joined((item.path, item.message), ": ") for item in errors[:3]), "; "), errors=errors)
    return layer


def _completed(portal: Portal, tenant: Tenant, layer: Layer) -> Layer:
    """With the provider and the address of the stored keys that its models name."""
    parts = {}
    for strength, part in (("defaults", layer.defaults), ("enforced", layer.enforced)):
        if part.model is not None and part.model.credential:
            model = model_keys.completed(portal, (tenant.id, None), part.model)
            parts[strength] = part.model_copy(update={"model": model})
    return layer.model_copy(update=parts)


def _insist_on_console(portal: Portal, actor: Actor, tenant: Tenant, layer: Layer) -> None:
    """For settings by which claws run commands, as for a single instance. What was set before stays."""
    before = layers.of(tenant.id)
    errors: dict[str, FieldError] = {}
    for strength in ("defaults", "enforced"):
        known = getattr(before, strength).settings
        for kind, settings in getattr(layer, strength).settings.items():
            adapter, prefix = portal.registry.adapter(kind), f"{strength}.settings.{kind}"
            for version in _versions(tenant, adapter):
                model, said = adapter.settings_model(version), known.get(kind)
                found = console_settings.refused(actor, Scope(tenant.id), model, settings, said, prefix=prefix)
                errors |= {item.path: item for item in found}
    if errors:
        raise SettingForbidden(console_settings.NEEDS_CONSOLE, errors=errors.values())


def _key_errors(layer: Layer, key: str | None) -> list[FieldError]:
    if not key:
        return []
    if layer.model is None:
        return [FieldError(MODEL_KEY, _m("A key goes with a model. Say which model it is for."))]
    if len(key.encode()) > secrets.MAX_BYTES:
        return [FieldError(MODEL_KEY, _m("may have %(MAX_BYTES)s bytes at most.", MAX_BYTES=f"{secrets.MAX_BYTES:,}"))]
    flaw = pasted.flaw_in_header(key)
    return [FieldError(MODEL_KEY, flaw)] if flaw else []


def _tidied(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldError]]:
    """With the addresses of its models as they were meant."""
    found, errors = dict(document), []
    for strength in ("defaults", "enforced"):
        if isinstance(found.get(strength), Mapping):
            part = dict(found[strength])
            if flaw := catalog.tidy_address(part, []):
                errors.append(FieldError(f"{strength}.model.base_url", flaw))
            found[strength] = part
    return found, errors


def corrections(document: Mapping[str, Any], key: str | None) -> list[str]:
    """What `put` takes otherwise than it was typed, in sentences for whoever typed it."""
    notes: list[str] = []
    for strength in ("defaults", "enforced"):
        if isinstance(document.get(strength), Mapping):
            catalog.tidy_address(dict(document[strength]), notes)
    tidied = pasted.key(key, "the API key").note if key else ""
    return [*dict.fromkeys(notes), *([tidied] if tidied else [])]


def _stripped(key: str | None) -> str | None:
    return key and pasted.key(key, "").text


def _key_moved(portal: Portal, tenant: Tenant, layer: Layer, key: str | None) -> list[FieldError]:
    """The stored key goes with the address that it was entered for."""
    row = db.session.get(TenantSecret, (tenant.id, MODEL_KEY))
    if row is None or key is not None or layer.model is None:
        return []
    before, providers = layers.of(tenant.id).model, portal.registry.providers
    entered = row.goes_to or (destinations.of_model(providers, before) if before else "")
    there = destinations.of_model(providers, layer.model)
    moved = entered and there not in (entered, *providers.served)
    return [secret_settings.asked_again(MODEL_KEY, entered, there)] if moved else []


def _kinds(portal: Portal, layer: Layer) -> Iterator[list[FieldError]]:
    known = sorted(portal.registry.adapters)
    for strength, part in (("defaults", layer.defaults), ("enforced", layer.enforced)):
        yield [
            FieldError(
                f"{strength}.settings.{kind}",
                _m("There is no kind of claw %(kind)s. Known: %(known)s.", kind=repr(kind), known=known),
                "unknown",
            )
            for kind in part.settings
            if kind not in portal.registry.adapters
        ]


def _model_errors(portal: Portal, tenant: Tenant, strength: str, part: Part) -> list[FieldError]:
    choice = part.model
    if choice is None:
        return []
    provider = portal.registry.providers.get(choice.provider)
    if provider is None:
        return [catalog.unknown_provider(portal, choice.provider, f"{strength}.model.provider")]
    errors = model_keys.flaws(portal, (tenant.id, None), choice, f"{strength}.model.credential")
    if provider.served:
        return errors
    if not choice.name:
        errors.append(
            FieldError(f"{strength}.model.name", _m("is needed: the model's name as the provider spells it"), "missing")
        )
    if provider.needs_address and not choice.base_url:
        errors.append(FieldError(f"{strength}.model.base_url", catalog.address_needed(provider), "missing"))
    return errors


def _settings_errors(portal: Portal, tenant: Tenant, strength: str, part: Part) -> list[FieldError]:
    """Each kind's own opinion, for every version that the tenant allows: a setting must be good for all of them."""
    errors: dict[tuple[str, str], FieldError] = {}
    for kind, settings in part.settings.items():
        adapter = portal.registry.adapters.get(kind)
        if adapter is None:
            continue
        for version in _versions(tenant, adapter):
            for item in _setting_errors(adapter, version, settings):
                errors.setdefault((item.path, item.message), replace(item, path=f"{strength}.settings.{kind}.{item.path}"))
    return list(errors.values())


def _versions(tenant: Tenant, adapter: Adapter) -> list[str]:
    """Those that the tenant allows."""
    return (tenant.allowed_adapters or {}).get(adapter.kind) or [entry.version for entry in adapter.versions()]


def _setting_errors(adapter: Adapter, version: str, settings: Mapping[str, Any]) -> list[FieldError]:
    model = adapter.settings_model(version)
    hidden = [name for name in settings if name in secret_settings.secret_fields(model)]
    errors = [FieldError(name, _m("is a secret; secrets stay with the instance.")) for name in hidden]
    _accepted, found = validation.judge(model, {name: value for name, value in settings.items() if name not in hidden})
    return errors + [item for item in found if item.code != "missing"]  # what is needed may come from the instance


# ---- what it would do


Runtimes = Mapping[str, Runtime]
"""By the id of the cluster; those that do not answer are left out."""


def _connected(portal: Portal, tenant_id: str) -> Runtimes:
    """Of the clusters where claws of the tenant run. Before a transaction: connecting may take long, and writers would wait."""
    used = select(Instance.cluster_id).where(Instance.tenant_id == tenant_id, Instance.desired == Desired.RUNNING)
    rows = db.session.scalars(select(Cluster).where(Cluster.id.in_(used), Cluster.health != UNREACHABLE))
    targets = [clusters.target_of(portal, cluster) for cluster in rows]
    db.session.rollback()  # nor hold a snapshot of the database meanwhile
    found: dict[str, Runtime] = {}
    for target in targets:
        with contextlib.suppress(GiveUp, Retry, Problem, OSError):
            found[target.cluster_id] = portal.connections.get(replace(target, secrets=partial(_released, target.secrets)))
    return found


def _released(read: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    """What is read just before the network is asked, with no snapshot left behind."""
    try:
        return read()
    finally:
        db.session.rollback()


def _impact(
    portal: Portal, tenant: Tenant, layer: Layer, key: str | None, runtimes: Runtimes
) -> tuple[Impact, list[str], frozenset[str]]:
    """With the ids of all that change, and of those that must restart since only their environment has the new key."""
    before = layers.of(tenant.id)
    rekeyed = key is not None or (layer.model != before.model and layers.keeps_key(tenant.id))
    changed: list[Instance] = []
    keyed: set[str] = set()
    for row in live(tenant.id):
        adapter = portal.registry.adapters.get(row.adapter)
        known, said = portal.registry.providers, (adapter, row.version, row.spec or {}, row.labels)
        old, new = (layers.effective(known, one, *said) for one in (before, layer))
        uses = rekeyed and layers.uses_model_of(layer, new) and _running(row)
        if uses:
            keyed.add(row.id)
        if uses or (old.spec, old.labels) != (new.spec, new.labels):
            changed.append(row)
    restarts = refused = 0
    for row in changed:
        verdict = "restart" if row.id in keyed else _verdict(portal, row, layer, key, runtimes.get(row.cluster_id))
        restarts, refused = restarts + (verdict == "restart"), refused + (verdict == "refused")
    names = tuple(row.name for row in changed[:NAMED])
    return Impact(len(changed), restarts, refused, names), [row.id for row in changed], frozenset(keyed)


def live(tenant_id: str, *where: ColumnElement[bool]) -> list[Instance]:
    """The claws on which the layer of a tenant lies, by name: those that the portal made and nobody deletes."""
    query = select(Instance).where(
        Instance.tenant_id == tenant_id, Instance.destroyed_at.is_(None), Instance.foreign_id == "",
        or_(Instance.desired != Desired.DELETED, Instance.desired.is_(None)), *where,
    )  # fmt: skip
    return list(db.session.scalars(query.order_by(Instance.name)))


def _running(row: Instance) -> bool:
    return row.desired == Desired.RUNNING and row.workload is not None and row.phase != Phase.STOPPED


def _verdict(portal: Portal, row: Instance, layer: Layer, key: str | None, runtime: Runtime | None) -> str:
    """What a claw does with it: `none`, `hot`, `restart`, or `refused`. What cannot be asked just now is a `restart`: rather
    one too many is announced."""
    adapter = portal.registry.adapters.get(row.adapter)
    if adapter is None:
        return "none"
    providers = portal.registry.providers
    merged = layers.effective(providers, layer, adapter, row.version, row.spec or {}, row.labels)
    try:
        spec = InstanceSpec.model_validate(merged.spec)
        named = {MODEL_KEY} if model_keys.named_in(merged.spec) else set()
        own = named | layers.usable(providers, adapter, row.version, merged.spec, secrets.listing(row.id))
        shared = (
            {MODEL_KEY}
            if layers.uses_model_of(layer, merged) and (key or (key is None and layers.keeps_key(row.tenant_id)))
            else set()
        )
        if catalog.key_missing(portal, adapter, spec, own | shared) or adapter.validate(spec, frozenset(own | shared)):
            return "refused"
        if not _running(row):
            return "none"
        if runtime is None:
            return "restart"
        context = plans.context_of(portal, row, adapter, runtime, plans.ports_of(runtime, row), layer=layer)
        planned = plans.workload_of(adapter, context, runtime, clusters.policy_of(plans.cluster_of(row)))
        return str(adapter.change(plans.workload_from(row.workload or {}), planned).action)
    except (GiveUp, Retry, Problem, OSError):
        return "restart"
    except Exception as error:  # an adapter may raise anything
        log.warning("a change of %s cannot be judged: %r", row.id, error)
        return "refused"
