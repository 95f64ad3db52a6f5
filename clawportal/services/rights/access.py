"""The only place where rules meet rows: what an actor sees, and the one way to reach a row.

Both answers come from the same grants, so that a list never shows what a check would refuse. Who may not even read a row gets
404, as if it did not exist; who may read it but not do this gets 403.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, false, or_, select, true

from clawportal.contracts.core_permissions import (
    AUDIT_READ,
    CATALOG_READ,
    CLUSTER_READ,
    EVENT_READ,
    INSTANCE_READ,
    OPERATION_READ,
    POLICY_READ,
    TENANT_READ,
)
from clawportal.contracts.permissions import Actor, Grant, Permission, Scope
from clawportal.contracts.runtimes import SeparationLevel
from clawportal.db import db
from clawportal.errors import Conflict, Forbidden, NotFound, TotpRequired
from clawportal.models import AuditEntry, Cluster, ClusterTenant, EventRow, Instance, Operation, Policy, Project, Tenant
from clawportal.models.tenancy import OWN_TENANT

Row = TypeVar("Row", Instance, Operation, Project, EventRow, Tenant, AuditEntry, Policy, Cluster)

_READ: dict[type[Any], Permission] = {
    Instance: INSTANCE_READ,
    Operation: OPERATION_READ,
    Project: CATALOG_READ,
    EventRow: EVENT_READ,
    Tenant: TENANT_READ,
    AuditEntry: AUDIT_READ,
    Policy: POLICY_READ,
    Cluster: CLUSTER_READ,
}
_NAMES: dict[type[Any], str] = {
    Instance: "instance", Operation: "operation", Project: "project", EventRow: "event", Tenant: "organisation",
    AuditEntry: "audit entry", Policy: "rule", Cluster: "cluster",
}  # fmt: skip


def visible(model: type[Row], actor: Actor, permission: Permission | None = None) -> ColumnElement[bool]:
    """SQL condition: the rows of `model` on which `actor` has `permission` (default: may read)."""
    grants = actor.granted(permission or _READ[model])
    if not grants:
        return false()
    return or_(*(_covers(model, grant) for grant in grants))


def _covers(model: type[Any], grant: Grant) -> ColumnElement[bool]:
    if grant.tenant_id is None and grant.project_id is None and grant.instance_id is None:
        return true() if not grant.except_tenants or model is Cluster else _outside(model, grant.except_tenants)
    if model is Cluster:
        return _usable(grant)
    wanted: list[ColumnElement[bool]] = [_outside(model, grant.except_tenants)] if grant.except_tenants else []
    if grant.tenant_id is not None:
        wanted.append((model.id if model is Tenant else model.tenant_id) == grant.tenant_id)
    if grant.project_id is not None:
        wanted.append(_in_project(model, grant.project_id))
    if grant.instance_id is not None:
        wanted.append(_in_instance(model, grant.instance_id))
    return and_(*wanted)


def _outside(model: type[Any], tenants: frozenset[str]) -> ColumnElement[bool]:
    column = model.id if model is Tenant else model.tenant_id
    return or_(column.is_(None), column.not_in(sorted(tenants)))


def _usable(grant: Grant) -> ColumnElement[bool]:
    """A cluster belongs to nobody: whoever has a grant somewhere in a tenant sees those that the tenant may use."""
    return offered([grant.tenant_id] if grant.tenant_id is not None else [])


def offered(tenant_ids: Collection[str]) -> ColumnElement[bool]:
    """SQL condition: the clusters that one of these tenants may use.

    Where nothing keeps claws apart, that is the portal's own organisation, and the others only if somebody said so in words:
    those that are named, or, where all are meant, those that there were then.
    """
    named = Cluster.id.in_(select(ClusterTenant.cluster_id).where(ClusterTenant.tenant_id.in_(tenant_ids)))
    everybody = Cluster.all_tenants.is_(True)
    mine = select(Tenant.id).where(Tenant.id.in_(tenant_ids))
    own = mine.where(Tenant.name == OWN_TENANT).exists()
    known = mine.where(Tenant.created_at <= Cluster.trusted_at).exists()
    trusted = or_(and_(named, Cluster.trusted_at.is_not(None)), and_(everybody, known))
    return or_(and_(or_(everybody, named), or_(Cluster.separation != SeparationLevel.NONE, own)), trusted)


def _in_project(model: type[Any], project_id: str) -> ColumnElement[bool]:
    if model is Project:
        return Project.id == project_id
    if model in (Tenant, Policy):
        return false()
    if model is Instance:
        return Instance.project_id == project_id
    inside = select(Instance.id).where(Instance.project_id == project_id)
    return model.instance_id.in_(inside)  # type: ignore[no-any-return]  # only rows that belong to an instance are left


def _in_instance(model: type[Any], instance_id: str) -> ColumnElement[bool]:
    if model in (Project, Tenant, Policy):
        return false()
    return (model.id if model is Instance else model.instance_id) == instance_id  # type: ignore[no-any-return]  # as above


def scope_of(row: Row) -> Scope:
    """Where a row is, for the single check."""
    if isinstance(row, Instance):
        return Scope(row.tenant_id, row.project_id, row.id)
    if isinstance(row, Project):
        return Scope(row.tenant_id, row.id)
    if isinstance(row, Tenant):
        return Scope(row.id)
    if isinstance(row, Policy):
        return Scope(row.tenant_id)
    if isinstance(row, Cluster):
        return Scope()
    instance = db.session.get(Instance, row.instance_id) if row.instance_id else None
    # of an instance that is gone the id is still known, and grants may name it
    return scope_of(instance) if instance else Scope(row.tenant_id, None, row.instance_id)


def get_or_404(model: type[Row], row_id: str | int, actor: Actor, permission: Permission, *, lock: bool = False) -> Row:
    """The row, if `actor` may do this with it. `lock` reads it anew and keeps others from changing it until the commit."""
    key: Any = getattr(model, "id", None) or getattr(model, "seq", None)
    query = select(model).where(key == row_id, visible(model, actor))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = db.session.scalars(query).one_or_none()
    if row is None or (isinstance(row, Instance) and row.destroyed_at is not None and permission != _READ[Instance]):
        if row is None and actor.withheld and _would_see(model, key == row_id, actor):
            raise TotpRequired
        raise NotFound(f"There is no {_NAMES[model]} with this id, or it is not yours.")
    if model is not Cluster or permission != CLUSTER_READ:  # who sees a cluster follows from who may use it
        require(actor, permission, scope_of(row))
    if isinstance(row, Instance) and not row.managed and permission.touches_workload:
        raise Conflict(
            f"{row.name} is only observed: somebody else made it, and the portal does nothing to it. "
            "Adopt it first, or forget it."
        )
    return row


def _would_see(model: type[Row], where: ColumnElement[bool], actor: Actor) -> bool:
    """Whether only a second factor is missing. Asked after a refusal, so that nobody else pays for it."""
    could = actor.with_second_factor()
    return db.session.scalars(select(model).where(where, visible(model, could))).one_or_none() is not None


def require(actor: Actor, permission: Permission, scope: Scope) -> None:
    """403 with the missing right in words."""
    if not actor.allows(permission, scope):
        if actor.withheld and actor.with_second_factor().allows(permission, scope):
            raise TotpRequired
        raise Forbidden(f"You lack the right “{permission.description}” here. Ask an administrator of your organisation.")
