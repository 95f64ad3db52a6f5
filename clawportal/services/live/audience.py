"""Who may be told that something changed: ids only, decided by the same grants that decide what a list shows.

People with equal grants see the same, so each change is judged once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from clawportal.contracts.core_permissions import INSTANCE_READ, OPERATION_READ
from clawportal.contracts.events import Event
from clawportal.contracts.permissions import Actor, Grant, Scope
from clawportal.db import db
from clawportal.models import Instance

_AT_ONCE = 500
Where = tuple[str | None, str | None, str | None]
"""Tenant, project and instance that a grant is narrowed to."""


@dataclass(frozen=True)
class Changed:
    """One thing that changed, and where it is. Without tenant it belongs to the portal, such as an installation."""

    tenant_id: str | None = None
    instance_id: str | None = None
    operation_id: str | None = None


@dataclass(frozen=True)
class Sight:
    """What somebody may be told about. Equal for people with equal grants, so it can name a room."""

    instances: frozenset[Where]
    operations: frozenset[Where]
    without: frozenset[str] = frozenset()
    """Tenants that are left out, though the rest of the portal is seen."""

    @property
    def name(self) -> str:
        """Short, and different for different sights."""
        raw = repr([sorted(map(repr, places)) for places in (self.instances, self.operations, self.without)])
        return hashlib.sha256(raw.encode()).hexdigest()[:32]

    @property
    def by_project(self) -> bool:
        return any(project for _, project, _ in self.instances | self.operations)


def of(actor: Actor) -> Sight:
    without = frozenset(tenant for grant in actor.grants for tenant in grant.except_tenants)
    instances, operations = actor.granted(INSTANCE_READ), actor.granted(OPERATION_READ)
    return Sight(_places(instances), _places(operations), without)


def _places(grants: Iterable[Grant]) -> frozenset[Where]:
    found = frozenset((grant.tenant_id, grant.project_id, grant.instance_id) for grant in grants)
    return frozenset({(None, None, None)}) if (None, None, None) in found else found


def changed(event: Event) -> Changed | None:
    """What an event is about; None where no live page shows it."""
    operation_id = event.data.get("operation_id")
    if event.instance_id is None and operation_id is None:
        return None
    return Changed(event.tenant_id, event.instance_id, str(operation_id) if operation_id else None)


def told(sight: Sight, changes: Iterable[Changed], projects: Mapping[str, str]) -> dict[str, list[str]]:
    """The ids that may be told, each once, in the order of `changes`."""
    instances: dict[str, None] = {}
    operations: dict[str, None] = {}
    for change in changes:
        if change.tenant_id in sight.without:
            continue
        scope = Scope(change.tenant_id, projects.get(change.instance_id or ""), change.instance_id)
        if change.instance_id and _sees(sight.instances, scope):
            instances[change.instance_id] = None
        # installations belong to no tenant: whoever may see operations anywhere sees them, as in services.operations
        if change.operation_id and (_sees(sight.operations, scope) or (change.tenant_id is None and sight.operations)):
            operations[change.operation_id] = None
    return {"instances": list(instances), "operations": list(operations)}


def _sees(places: frozenset[Where], scope: Scope) -> bool:
    return any(
        tenant in (None, scope.tenant_id) and project in (None, scope.project_id) and instance in (None, scope.instance_id)
        for tenant, project, instance in places
    )


def projects_of(instance_ids: Iterable[str]) -> dict[str, str]:
    """The project of each instance."""
    wanted, found = list(instance_ids), dict[str, str]()
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(Instance.id, Instance.project_id).where(Instance.id.in_(wanted[start : start + _AT_ONCE]))
        found |= {row.id: row.project_id for row in db.session.execute(query)}
    return found
