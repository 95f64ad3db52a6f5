"""Who uses a stored key: claws whose own spec names it, and those that get it from the shared configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clawportal.sdk.data import scope_of
from clawportal.sdk.fleet import Instance, Layer, Portal, effective, layer_of, live_instances
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_providers.models import Credential

NAMED = 20
"""So many of the claws that use a key are named; of more the number is told."""


@dataclass(frozen=True)
class Users:
    """The claws that use a key."""

    count: int
    visible: Sequence[Instance]
    """Those of them that whoever asks may see, at most `NAMED`."""


def users(portal: Portal, actor: Actor, row: Credential) -> Users:
    """Claws whose own spec names the key, or on which shared configuration lays it."""
    found = [claw for claw in _around(row.tenant_id, {row.id}) if row.id in _named(portal, layer_of(row.tenant_id), claw)]
    seen = [claw for claw in found if actor.allows(INSTANCE_READ, scope_of(claw))]
    return Users(len(found), seen[:NAMED])


def counts(portal: Portal, rows: Sequence[Credential]) -> dict[str, int]:
    """How many claws use each of these, by the organisations that they are of."""
    found: Counter[str] = Counter({row.id: 0 for row in rows})
    for tenant_id in {row.tenant_id for row in rows}:
        mine, layer = {row.id for row in rows if row.tenant_id == tenant_id}, layer_of(tenant_id)
        for claw in _around(tenant_id, mine):
            found.update(_named(portal, layer, claw) & mine)
    return dict(found)


def affected(portal: Portal, row: Credential) -> list[str]:
    """Ids of the claws that run with it, and have to be planned anew with another one."""
    layer = layer_of(row.tenant_id)
    return [claw.id for claw in _around(row.tenant_id, {row.id}) if _effective(portal, layer, claw) == row.id]


def is_shared(row: Credential) -> bool:
    """Whether the shared configuration of its organisation names it."""
    return row.id in _shared(layer_of(row.tenant_id))


def _around(tenant_id: str, ids: set[str]) -> list[Instance]:
    """Claws of one organisation that may use one of these: all of them where its shared configuration names one."""
    if not ids.isdisjoint(_shared(layer_of(tenant_id))):
        return live_instances(tenant_id)
    return live_instances(tenant_id, Instance.spec["model"]["credential"].as_string().in_(ids))


def _shared(layer: Layer) -> Iterator[str]:
    return (part.model.credential for part in (layer.defaults, layer.enforced) if part.model and part.model.credential)


def _named(portal: Portal, layer: Layer, claw: Instance) -> set[str]:
    """What its own spec names stays in use where shared configuration wins over it: that may be taken back."""
    return {_credential(claw.spec or {}), _effective(portal, layer, claw)}


def _effective(portal: Portal, layer: Layer, claw: Instance) -> str:
    return _credential(effective(portal.registry.providers, layer, None, "", claw.spec or {}).spec)


def _credential(spec: Mapping[str, Any]) -> str:
    return str((spec.get("model") or {}).get("credential") or "")
