"""Who may be told that something changed: ids only, decided by the same grants that decide what a list shows.

People with equal grants see the same, so each change is judged once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from clawportal.contracts.bus import News
from clawportal.contracts.core_permissions import EVENT_READ, INSTANCE_READ, OPERATION_READ
from clawportal.contracts.permissions import SELF, Actor, Grant, Permission, Scope
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
    project_id: str | None = None
    """Of what belongs to no instance; an instance is where it is now."""
    subject: tuple[str, str] | None = None
    """Noun and id of what else it is about."""
    read_permission: str = ""
    """A right that is needed beside those of the place."""
    person_id: str | None = None
    """The only one who may be told, where that right is the one to one's own account."""


@dataclass(frozen=True)
class Sight:
    """What somebody may be told about. Equal for people with equal grants, so it can name a room."""

    instances: frozenset[Where]
    operations: frozenset[Where]
    events: frozenset[Where] = frozenset()
    asked: frozenset[tuple[str, frozenset[Where]]] = frozenset()
    """Where rights are held that single events ask for."""
    without: frozenset[str] = frozenset()
    """Tenants that are left out, though the rest of the portal is seen."""

    @property
    def name(self) -> str:
        """Short, and different for different sights."""
        raw = repr(
            [sorted(map(repr, places)) for places in (self.instances, self.operations, self.events, self.asked, self.without)]
        )
        return hashlib.sha256(raw.encode()).hexdigest()[:32]

    @property
    def by_project(self) -> bool:
        return any(project for _, project, _ in self.instances | self.operations | self.events)

    def reads(self, change: Changed, scope: Scope) -> bool:
        """Whether the right is held there that a change asks for."""
        return not change.read_permission or any(
            name == change.read_permission and _sees(places, scope) for name, places in self.asked
        )


def of(actor: Actor, asked: Iterable[Permission] = ()) -> Sight:
    """`asked`: the rights that events of the loaded features may ask for."""
    without = frozenset(tenant for grant in actor.grants for tenant in grant.except_tenants)
    instances, operations = actor.granted(INSTANCE_READ), actor.granted(OPERATION_READ)
    events = _places(actor.granted(EVENT_READ))
    held = frozenset((str(one), _places(actor.granted(one))) for one in asked)
    return Sight(_places(instances), _places(operations), events, held, without)


def _places(grants: Iterable[Grant]) -> frozenset[Where]:
    found = frozenset((grant.tenant_id, grant.project_id, grant.instance_id) for grant in grants)
    return frozenset({(None, None, None)}) if (None, None, None) in found else found


def changed(news: News) -> Changed | None:
    """What a fact is about, by its `Event.news`; None where no live page shows it."""
    known = news["subject_type"] not in ("", "instance", "operation") and news["subject_id"]
    subject = (news["subject_type"], news["subject_id"]) if known else None
    if news["instance_id"] is None and news["operation_id"] is None and subject is None:
        return None
    return Changed(
        news["tenant_id"], news["instance_id"], news["operation_id"], news["project_id"], subject,
        news["read_permission"], news["person_id"],
    )  # fmt: skip


def told(sight: Sight, changes: Iterable[Changed], projects: Mapping[str, str], person_id: str = "") -> dict[str, Any]:
    """The ids that may be told, each once, in the order of `changes`. What is for one person is told with `person_id` only.

    `subjects` has what is neither instance nor operation, by noun; it is left out where there is none.
    """
    subjects: dict[str, dict[str, None]] = {}
    instances: dict[str, None] = {}
    operations: dict[str, None] = {}
    for change in changes:
        if change.tenant_id in sight.without:
            continue
        project = projects.get(change.instance_id) if change.instance_id else change.project_id
        scope = Scope(change.tenant_id, project, change.instance_id)
        if not (change.person_id == person_id if personal(change) else sight.reads(change, scope)):
            continue
        if change.instance_id and _sees(sight.instances, scope):
            instances[change.instance_id] = None
        # installations belong to no tenant: whoever may see operations anywhere sees them, as in services.operations
        if change.operation_id and (_sees(sight.operations, scope) or (change.tenant_id is None and sight.operations)):
            operations[change.operation_id] = None
        if change.subject and _sees(sight.events, scope):
            subjects.setdefault(change.subject[0], {})[change.subject[1]] = None
    found: dict[str, Any] = {"instances": list(instances), "operations": list(operations)}
    return found | ({"subjects": {noun: list(ids) for noun, ids in subjects.items()}} if subjects else {})


def personal(change: Changed) -> bool:
    """Whether it is for one person only: everybody has the right to their own account. Without a person it is for nobody."""
    return change.read_permission == SELF


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
