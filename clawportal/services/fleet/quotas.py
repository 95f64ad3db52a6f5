"""How much a tenant or project may use, counted and checked in the transaction of each change that needs more.

The row of the quota is locked before anything is counted, so that a hundred creates at once are counted one after the other.
Amounts are Kubernetes quantities, kept as they were written and compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select

from clawportal import clock
from clawportal.contracts.core_permissions import QUOTA_MANAGE, QUOTA_PROJECT, QUOTA_READ
from clawportal.contracts.layers import Layer, resources_of
from clawportal.contracts.permissions import Actor, Scope
from clawportal.contracts.runtimes import TenantLimits
from clawportal.contracts.specs import parse_quantity
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid, OverQuota
from clawportal.lifecycle import Desired, Phase
from clawportal.messages import Message, _m, _n, joined
from clawportal.models import Instance, Project, Quota, Tenant
from clawportal.services.configuration import layers
from clawportal.services.events import event_log
from clawportal.services.fleet import quota_warnings
from clawportal.services.rights import access

SIZES = ("cpu", "memory", "storage")
"""What is a quantity, in the order of `Amount`, `Limits` and `contracts.layers.resources_of`."""
RESOURCES = ("instances", *SIZES)
MOST_INSTANCES = 1_000_000
_ZERO = Decimal(0)
_AT_REST = (Phase.STOPPED, Phase.FAILED, Phase.PENDING, Phase.DESTROYED)

HOLDS = or_(Instance.desired == Desired.RUNNING, Instance.phase.not_in(_AT_REST))
"""Instances whose CPU and memory count: they run, are meant to, or have not ended yet. Storage counts until it is deleted."""


@dataclass(frozen=True)
class Amount:
    """So many instances, cores and bytes; of CPU and storage None where nothing limits it."""

    instances: int = 0
    cpu: Decimal | None = _ZERO
    memory: Decimal = _ZERO
    storage: Decimal | None = _ZERO

    def of(self, resource: str) -> Decimal | None:
        value = getattr(self, resource)
        return Decimal(value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Limits:
    """What a quota allows; None sets no limit."""

    instances: int | None = None
    cpu: str = ""
    memory: str = ""
    storage: str = ""

    def of(self, resource: str) -> Decimal | None:
        value = getattr(self, resource)
        return None if value in (None, "") else Decimal(value) if resource == "instances" else parse(value)


@dataclass(frozen=True)
class Bar:
    """One resource of a quota as pages show it."""

    resource: str
    used: str
    allowed: str
    """Empty where nothing limits it."""
    percent: float | None


@dataclass(frozen=True)
class Share:
    """What one project uses, and its quota."""

    project_id: str
    name: str
    title: str
    limits: Limits
    used: Amount
    bars: Sequence[Bar] = ()


@dataclass(frozen=True)
class User:
    """An instance and what it takes."""

    instance_id: str
    name: str
    project: str
    cpu: str
    memory: str


@dataclass(frozen=True)
class Report:
    limits: Limits
    used: Amount
    bars: Sequence[Bar]
    shares: Sequence[Share] = field(default=())
    biggest: Sequence[User] = field(default=())


@lru_cache(maxsize=4096)
def parse(text: str) -> Decimal:
    return parse_quantity(text)


def written(resource: str, amount: Decimal | int | None) -> str:
    """An amount as people write it, without rounding: `2Gi`, `500m`, `3`."""
    if amount is None:
        return ""
    amount = Decimal(amount)
    if resource in ("memory", "storage"):
        for unit, factor in (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
            if amount and amount % factor == 0:
                return f"{int(amount / factor)}{unit}"
    if resource == "cpu" and amount % 1 and (amount * 1000) % 1 == 0:
        return f"{int(amount * 1000)}m"
    return f"{amount.normalize():f}"


# ---- counting


def held(portal: Portal, instance: Instance) -> Amount:
    """What an instance takes as it is wanted now."""
    if instance.destroyed_at is not None:
        return Amount()
    said = (instance.spec or {}).get("resources") or {}
    cpu, memory, storage = resources_of(layers.of(instance.tenant_id), *(said.get(name) or "" for name in SIZES))
    holds = instance.desired == Desired.RUNNING or instance.phase not in _AT_REST
    return _amount(portal, 1, instance.adapter, cpu, memory, storage, holds)


def _amount(portal: Portal, count: int, adapter: str, cpu: str, memory: str, storage: str, holds: bool = True) -> Amount:
    kept = count * parse(storage) if storage else None
    if not holds:
        return Amount(count, storage=kept)
    if not memory and adapter in portal.registry.adapters:
        memory = portal.registry.adapters[adapter].suggested_memory
    return Amount(count, count * parse(cpu) if cpu else None, count * parse(memory) if memory else _ZERO, kept)


def _sum(amounts: Iterable[Amount]) -> Amount:
    """What has no limit adds nothing: a quota of CPU does not let it run, one of storage does not let it be made."""
    instances, cpu, memory, storage = 0, _ZERO, _ZERO, _ZERO
    for amount in amounts:
        instances, cpu, memory = instances + amount.instances, cpu + (amount.cpu or _ZERO), memory + amount.memory
        storage += amount.storage or _ZERO
    return Amount(instances, cpu, memory, storage)


def usage(portal: Portal, *where: ColumnElement[bool]) -> dict[str, Amount]:
    """What is used in each project: one statement, and one for what the organisation says of its claws."""
    resources = Instance.spec["resources"]
    rows = (
        select(
            Instance.tenant_id, Instance.project_id, Instance.adapter,
            *(func.coalesce(resources[name].as_string(), "").label(name) for name in SIZES),
            case((HOLDS, 1), else_=0).label("holds"),
        )
        .where(Instance.destroyed_at.is_(None), *where)
        .subquery()
    )  # fmt: skip
    columns = (rows.c.tenant_id, rows.c.project_id, rows.c.adapter, rows.c.holds, *(rows.c[name] for name in SIZES))
    found: dict[str, list[Amount]] = {}
    said: dict[str, Layer] = {}
    for tenant_id, project_id, adapter, holds, *sizes, count in db.session.execute(
        select(*columns, func.count()).group_by(*columns)
    ):
        layer = said[tenant_id] if tenant_id in said else said.setdefault(tenant_id, layers.of(tenant_id))
        found.setdefault(project_id, []).append(_amount(portal, count, adapter, *resources_of(layer, *sizes), bool(holds)))
    return {project_id: _sum(amounts) for project_id, amounts in found.items()}


# ---- checking


def check(portal: Portal, instance: Instance, before: Amount | None = None) -> None:
    """Refuse with 409 what would take more than a quota allows. `before`: what the instance took until now.

    Called inside the transaction of the change. A change that takes no more passes, also where a quota is exceeded already.
    """
    asked = held(portal, instance)
    _check(portal, instance, asked, before or Amount(), (instance.tenant_id, instance.project_id))


def check_move(portal: Portal, instance: Instance, project_id: str) -> None:
    """The quota of the project that an instance shall come into; that of the tenant is not touched."""
    _check(portal, instance, held(portal, instance), Amount(), (project_id,))


def _check(portal: Portal, instance: Instance, asked: Amount, before: Amount, scopes: tuple[str, ...]) -> None:
    grown = [resource for resource in RESOURCES if _grows(resource, before.of(resource), asked.of(resource))]
    if not grown:
        return
    with db.session.no_autoflush:
        for quota in _locked(scopes):
            where = Instance.project_id == quota.project_id if quota.project_id else Instance.tenant_id == quota.tenant_id
            used = _sum(usage(portal, where, Instance.id != instance.id).values())
            over = [found for resource in grown if (found := _over(_limits(quota), used, before, asked, resource))]
            if over:
                raise _refusal(quota, over)
            _tell_near(portal, quota, used, before, asked, grown)


def _tell_near(portal: Portal, quota: Quota, used: Amount, before: Amount, asked: Amount, grown: Sequence[str]) -> None:
    found = []
    for resource in grown:
        allowed, others = _limits(quota).of(resource), used.of(resource) or _ZERO
        was, now = (others + (amount.of(resource) or _ZERO) for amount in (before, asked))
        if quota_warnings.comes_near(allowed, was, now):
            found.append(quota_warnings.Near(resource, _WORDS[resource], written(resource, now), written(resource, allowed)))
    if found:
        quota_warnings.tell(portal, quota, _name_of(quota), found)


def _name_of(quota: Quota) -> str:
    scope = db.session.get(Project, quota.project_id) if quota.project_id else db.session.get(Tenant, quota.tenant_id)
    return (scope.title or scope.name) if scope else quota.scope_id


def _grows(resource: str, before: Decimal | None, after: Decimal | None) -> bool:
    if resource == "storage" and before is None:
        before = _ZERO if after is not None else None  # data that had no size was not counted until now
    if after is None or before is None:
        return after is None and before is not None
    return after > before


def _locked(scopes: tuple[str, ...]) -> list[Quota]:
    """The quotas that apply, locked: always that of the tenant first, so that two changes cannot wait for each other."""
    found = []
    for scope_id in scopes:
        query = select(Quota).where(Quota.scope_id == scope_id).with_for_update()
        row = db.session.scalar(query.execution_options(populate_existing=True))
        if row is not None:
            found.append(row)
    return found


def tenant_limits(tenant_id: str) -> TenantLimits | None:
    """The quota as a place needs it that can hold a tenant to it; None without one."""
    row = db.session.scalar(select(Quota).where(Quota.tenant_id == tenant_id, Quota.project_id.is_(None)))
    if row is None:
        return None
    limits = _limits(row)
    cpu, memory, storage = (limits.of(name) for name in SIZES)
    return TenantLimits(
        limits.instances, float(cpu) if cpu is not None else None, int(memory) if memory is not None else None,
        int(storage) if storage is not None else None,
    )  # fmt: skip


def _limits(row: Quota | None) -> Limits:
    return Limits(row.instances, row.cpu, row.memory, row.storage) if row else Limits()


@dataclass(frozen=True)
class Over:
    resource: str
    asked: str
    used: str
    allowed: str


def _over(limits: Limits, used: Amount, before: Amount, asked: Amount, resource: str) -> Over | None:
    allowed, wanted = limits.of(resource), asked.of(resource)
    others = used.of(resource) or _ZERO
    if allowed is None or (wanted is not None and others + wanted <= allowed):
        return None
    now = others + (before.of(resource) or _ZERO)
    more = None if wanted is None else wanted - (before.of(resource) or _ZERO)
    return Over(resource, written(resource, more), written(resource, now), written(resource, allowed))


_WORDS = {"instances": _m("instances"), "cpu": _m("CPU"), "memory": _m("memory"), "storage": _m("storage")}


def _refusal(quota: Quota, over: Sequence[Over]) -> OverQuota:
    kind = "project" if quota.project_id else "organisation"
    name = _name_of(quota)
    errors = [FieldError(f"quota.{item.resource}", _sentence(kind, name, item), "over_quota") for item in over]
    problem = OverQuota(joined(error.message for error in errors), errors=errors)
    problem.extra = {"quota": [{"scope": kind, "id": quota.scope_id, **item.__dict__} for item in over]}
    return problem


def _sentence(kind: str, name: str, item: Over) -> str:
    which = "more" if item.asked else item.resource
    values = {"name": name, "allowed": item.allowed, "resource": _WORDS[item.resource], "used": item.used, "asked": item.asked}
    return Message(_SENTENCES[kind, which], values)


_SENTENCES = {
    ("organisation", "storage"): _n(
        "The organisation %(name)s has a storage quota of %(allowed)s: give the instance a size of storage, such as 1Gi."
    ),
    ("project", "storage"): _n(
        "The project %(name)s has a storage quota of %(allowed)s: give the instance a size of storage, such as 1Gi."
    ),
    ("organisation", "cpu"): _n("The organisation %(name)s has a CPU quota of %(allowed)s: give the instance a CPU limit."),
    ("project", "cpu"): _n("The project %(name)s has a CPU quota of %(allowed)s: give the instance a CPU limit."),
    ("organisation", "more"): _n(
        "The organisation %(name)s may use %(allowed)s %(resource)s; %(used)s used, %(asked)s more asked. "
        "Stop or delete something, or ask for a larger quota."
    ),
    ("project", "more"): _n(
        "The project %(name)s may use %(allowed)s %(resource)s; %(used)s used, %(asked)s more asked. "
        "Stop or delete something, or ask for a larger quota."
    ),
}


# ---- reading and setting


def report(portal: Portal, actor: Actor, tenant_id: str, *, biggest: int = 10) -> Report:
    """Quotas and what uses them. Some statements, whatever the number of instances."""
    access.get_or_404(Tenant, tenant_id, actor, QUOTA_READ)
    rows = {row.scope_id: row for row in db.session.scalars(select(Quota).where(Quota.tenant_id == tenant_id))}
    used = usage(portal, Instance.tenant_id == tenant_id)
    query = select(Project).where(Project.tenant_id == tenant_id).order_by(Project.name)
    shares = [
        Share(row.id, row.name, row.title or row.name, limits, taken, bars(limits, taken))
        for row in db.session.scalars(query)
        for limits, taken in [(_limits(rows.get(row.id)), used.get(row.id, Amount()))]
    ]
    total, limits = _sum(used.values()), _limits(rows.get(tenant_id))
    names = {share.project_id: share.title for share in shares}
    return Report(limits, total, bars(limits, total), shares, _biggest(portal, tenant_id, names, biggest))


def of_project(portal: Portal, actor: Actor, project_id: str) -> tuple[Limits, Amount]:
    access.get_or_404(Project, project_id, actor, QUOTA_READ)
    used = usage(portal, Instance.project_id == project_id)
    return _limits(db.session.get(Quota, project_id)), used.get(project_id, Amount())


def bars(limits: Limits, used: Amount) -> list[Bar]:
    found = []
    for resource in RESOURCES:
        taken, allowed = used.of(resource) or _ZERO, limits.of(resource)
        percent = None if allowed is None else float(100 * taken / allowed) if allowed else (100.0 if taken else 0.0)
        found.append(Bar(resource, written(resource, taken), written(resource, allowed), percent))
    return found


def _biggest(portal: Portal, tenant_id: str, projects: Mapping[str, str], limit: int) -> list[User]:
    """Those that take most memory. Only what is needed of each is read."""
    if not limit:
        return []
    resources = Instance.spec["resources"]
    query = select(
        Instance.id, Instance.name, Instance.project_id, Instance.adapter, *(resources[name].as_string() for name in SIZES),
    ).where(Instance.tenant_id == tenant_id, Instance.destroyed_at.is_(None), HOLDS)  # fmt: skip
    layer = layers.of(tenant_id)
    rows = [
        (_amount(portal, 1, row[3], *resources_of(layer, *(text or "" for text in row[4:]))), row)
        for row in db.session.execute(query)
    ]
    rows.sort(key=lambda item: (-item[0].memory, -(item[0].cpu or _ZERO), item[1][1]))
    return [
        User(row[0], row[1], projects.get(row[2], ""), written("cpu", amount.cpu), written("memory", amount.memory))
        for amount, row in rows[:limit]
    ]


def set_tenant(portal: Portal, actor: Actor, tenant_id: str, limits: Limits) -> Limits:
    with transaction():
        tenant = access.get_or_404(Tenant, tenant_id, actor, QUOTA_MANAGE)
        return _set(portal, actor, tenant.id, None, tenant.title or tenant.name, limits)


def set_project(portal: Portal, actor: Actor, project_id: str, limits: Limits) -> Limits:
    with transaction():
        project = access.get_or_404(Project, project_id, actor, QUOTA_PROJECT)
        access.require(actor, QUOTA_PROJECT, Scope(project.tenant_id, project.id))
        return _set(portal, actor, project.tenant_id, project.id, project.title or project.name, limits)


def _set(portal: Portal, actor: Actor, tenant_id: str, project_id: str | None, name: str, limits: Limits) -> Limits:
    limits = _accepted(limits)
    row = db.session.get(Quota, project_id or tenant_id, with_for_update=True)
    before = _limits(row)
    if row is None:
        row = Quota(scope_id=project_id or tenant_id, tenant_id=tenant_id, project_id=project_id)
        db.session.add(row)
    row.instances, row.cpu, row.memory, row.storage = limits.instances, limits.cpu, limits.memory, limits.storage
    row.updated_at = clock.now()
    data: dict[str, Any] = {"before": before.__dict__, "after": limits.__dict__, "project_id": project_id}
    event_log.record(
        portal,
        "quota.changed",
        actor=actor,
        tenant_id=tenant_id,
        data=data,
        message=_m("The quota of %(name)s was changed.", name=name),
    )
    return limits


def _accepted(limits: Limits) -> Limits:
    errors = []
    if limits.instances is not None and not 0 <= limits.instances <= MOST_INSTANCES:
        errors.append(
            FieldError(
                "instances",
                _m(
                    "must be a whole number from 0 to %(MOST_INSTANCES)s, or empty for no limit",
                    MOST_INSTANCES=f"{MOST_INSTANCES:,}",
                ),
            )
        )
    for name in SIZES:
        text = getattr(limits, name).strip()
        try:
            if len(text) > 40:
                raise ValueError(_m("may have 40 characters at most"))
            if text:
                parse_quantity(text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise Invalid(joined((joined((error.path, error.message), ": ") for error in errors), "; "), errors=errors)
    return Limits(limits.instances, *(getattr(limits, name).strip() for name in SIZES))
