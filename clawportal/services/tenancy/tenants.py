"""Tenants and projects as people manage them: create, change, delete with all that is inside, and move instances between.

Deleting is a wish like any other: the row is marked, its instances are asked to go, and background work removes it after the
last of them. Ending the portal at any line loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select

from clawportal import clock, folding, paging
from clawportal.contracts.core_permissions import (
    CATALOG_READ,
    INSTANCE_CREATE,
    INSTANCE_UPDATE,
    PROJECT_MANAGE,
    TENANT_CREATE,
    TENANT_DELETE,
    TENANT_READ,
    TENANT_UPDATE,
)
from clawportal.contracts.permissions import SYSTEM, Actor, Permission, Scope, narrowed
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Invalid
from clawportal.ids import looks_like_id
from clawportal.lifecycle import Desired
from clawportal.models import CustomRole, EventRow, Instance, Membership, Operation, Otp, Project, Tenant, User
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services import policies
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.fleet import instances, unmanaged
from clawportal.services.identity import otp
from clawportal.services.rights import access
from clawportal.services.tenancy import quotas

_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
FIRST = "default"
"""Name of the tenant and project that every portal has: made again at each start, so they stay."""
NAMED = 20
"""So many instances are named in what would be lost; of more the number is told."""


@dataclass(frozen=True)
class TenantRow:
    """A tenant as lists show it."""

    id: str
    name: str
    title: str
    created_at: datetime
    deleting_at: datetime | None
    projects: int
    members: int
    instances: int


@dataclass(frozen=True)
class ProjectRow:
    id: str
    name: str
    title: str
    created_at: datetime
    deleting_at: datetime | None
    instances: int


@dataclass(frozen=True)
class TenantChange:
    """What shall be different. None keeps what is there; `unset` names what shall be empty."""

    title: str | None = None
    allowed_adapters: Mapping[str, Sequence[str]] | None = None
    default_cluster: str | None = None
    require_totp: bool | None = None
    unset: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Losses:
    """What deleting a tenant or project would take along."""

    name: str
    """Has to be typed to confirm."""
    instances: int = 0
    running: int = 0
    named: Sequence[str] = ()
    projects: int = 0
    members: int = 0
    roles: int = 0
    events: int = 0
    refusal: str = ""
    """Why it cannot be deleted at all."""
    targets: Sequence[tuple[str, str]] = field(default=())
    """Other projects that instances can be moved to: id and title."""
    service_accounts: int = 0


# ---- reading


def listing(actor: Actor, *, text: str = "", which: Which = FIRST_PAGE) -> Slice[TenantRow]:
    """One page and the true total; five statements, whatever the number."""
    where: list[ColumnElement[bool]] = [access.visible(Tenant, actor)]
    if text:
        where.append(Tenant.searched.contains(folding.fold(text), autoescape=True))
    total = db.session.scalar(select(func.count()).select_from(Tenant).where(*where)) or 0
    return paging.page(
        select(Tenant).where(*where), paging.by_name(Tenant), which, about=("tenants", text), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    ).map(_tenant_rows)  # fmt: skip


def _tenant_rows(rows: Sequence[Tenant]) -> list[TenantRow]:
    ids = [row.id for row in rows]
    projects, members = _per_tenant(Project.tenant_id, ids), _per_tenant(Membership.tenant_id, ids, _PEOPLE)
    live = _per_tenant(Instance.tenant_id, ids, Instance.destroyed_at.is_(None))
    return [
        TenantRow(
            row.id, row.name, row.title or row.name, row.created_at, row.deleting_at,
            projects.get(row.id, 0), members.get(row.id, 0), live.get(row.id, 0),
        )
        for row in rows
    ]  # fmt: skip


_PEOPLE = Membership.user_id.not_in(select(User.id).where(User.service_tenant_id.is_not(None)))
"""Memberships that are not those of service accounts."""


def _per_tenant(column: Any, ids: Sequence[str], *where: ColumnElement[bool]) -> dict[str, int]:
    query = select(column, func.count()).where(column.in_(ids), *where).group_by(column)
    return {row[0]: row[1] for row in db.session.execute(query)}


def get(actor: Actor, tenant_id: str, permission: Permission = TENANT_READ, *, lock: bool = False) -> Tenant:
    return access.get_or_404(Tenant, tenant_id, actor, permission, lock=lock)


def get_project(actor: Actor, project_id: str, permission: Permission = CATALOG_READ, *, lock: bool = False) -> Project:
    return access.get_or_404(Project, project_id, actor, permission, lock=lock)


def projects_of(actor: Actor, tenant_id: str) -> list[ProjectRow]:
    """The projects of a tenant that one may see, with how many instances each has."""
    counts = (
        select(Instance.project_id, func.count().label("count"))
        .where(Instance.tenant_id == tenant_id, Instance.destroyed_at.is_(None))
        .group_by(Instance.project_id)
        .subquery()
    )
    query = (
        select(Project, func.coalesce(counts.c.count, 0))
        .outerjoin(counts, counts.c.project_id == Project.id)
        .where(Project.tenant_id == tenant_id, access.visible(Project, actor))
        .order_by(Project.name)
    )
    return [
        ProjectRow(row.id, row.name, row.title or row.name, row.created_at, row.deleting_at, count)
        for row, count in db.session.execute(query)
    ]


# ---- tenants


def create(portal: Portal, actor: Actor, name: str, title: str = "") -> Tenant:
    """A tenant with its first project. Only for those who may do so in the whole portal."""
    access.require(actor, TENANT_CREATE, Scope())
    _check(name, title)
    with transaction():
        if db.session.scalar(select(Tenant.id).where(Tenant.name == name)):
            raise Invalid.field("name", f"There is already an organisation named {name}. Choose another name.", "taken")
        tenant = Tenant(name=name, title=title.strip())
        db.session.add(tenant)
        db.session.flush()
        db.session.add(Project(tenant_id=tenant.id, name=FIRST, title="Default project"))
        event_log.record(
            portal,
            "tenant.created",
            actor=actor,
            tenant_id=tenant.id,
            message=f"Organisation {title.strip() or name} was created.",
        )
    return tenant


def _check(name: str, title: str) -> None:
    errors = _title_errors(title)
    if not _NAME.fullmatch(name):
        rule = "A name has 1 to 63 small letters, digits or dashes, and begins and ends with a letter or digit."
        errors.insert(0, FieldError("name", rule))
    elif looks_like_id(name):
        errors.insert(0, FieldError("name", "This looks like an id. Choose another name."))
    if errors:
        raise Invalid("; ".join(error.message for error in errors), errors=errors)


def _title_errors(title: str) -> list[FieldError]:
    return [FieldError("title", "A title may have 200 characters at most.")] if len(title.strip()) > 200 else []


def update(portal: Portal, actor: Actor, tenant_id: str, change: TenantChange) -> Tenant:
    with transaction():
        tenant = get(actor, tenant_id, TENANT_UPDATE, lock=True)
        _refuse_deleting(tenant)
        before = _defaults(tenant)
        errors = _title_errors(change.title or "")
        if change.title is not None:
            tenant.title = change.title.strip()
        if change.allowed_adapters is not None or "allowed_adapters" in change.unset:
            tenant.allowed_adapters = _allowed(portal, change.allowed_adapters, errors)
        if change.default_cluster is not None or "default_cluster" in change.unset:
            chosen = clusters.default_for(tenant.id, change.default_cluster) if change.default_cluster else None
            tenant.default_cluster_id = chosen.id if chosen else None
        if change.require_totp is not None:
            _require_totp(actor, tenant, change.require_totp, errors)
        if errors:
            raise Invalid("; ".join(error.message for error in errors), errors=errors)
        data = {"before": before, "after": _defaults(tenant)}
        message = f"Organisation {tenant.title or tenant.name} was changed."
        event_log.record(portal, "tenant.changed", actor=actor, tenant_id=tenant.id, data=data, message=message)
    return tenant


def _defaults(tenant: Tenant) -> dict[str, Any]:
    return {
        "title": tenant.title, "allowed_adapters": tenant.allowed_adapters, "default_cluster_id": tenant.default_cluster_id,
        "require_totp": tenant.require_totp,
    }  # fmt: skip


def _require_totp(actor: Actor, tenant: Tenant, wanted: bool, errors: list[FieldError]) -> None:
    """It holds from the next request on, for sessions and tokens that exist as well: so whoever asks for it goes first."""
    if wanted and not tenant.require_totp and actor.kind in ("user", "token") and not otp.enabled(actor.id):
        message = "Set up a second factor for your own account first: without one you would be kept out yourself."
        errors.append(FieldError("require_totp", message))
    tenant.require_totp = wanted


def without_totp(tenant_id: str) -> int:
    """How many members have no second factor; service accounts need none."""
    enabled = select(Otp.user_id).where(Otp.enabled_at.is_not(None))
    where = (Membership.tenant_id == tenant_id, _PEOPLE, Membership.user_id.not_in(enabled))
    return db.session.scalar(select(func.count()).select_from(Membership).where(*where)) or 0


def _allowed(portal: Portal, wanted: Mapping[str, Sequence[str]] | None, errors: list[FieldError]) -> dict[str, list[str]] | None:
    """Each kind and version must exist: a misspelt one would forbid what was meant to be allowed."""
    if wanted is None:
        return None
    for kind, versions in wanted.items():
        adapter = portal.registry.adapters.get(kind)
        if adapter is None:
            known = ", ".join(sorted(portal.registry.adapters))
            message = f"There is no kind of claw {kind!r}. Known: {known}."
            errors.append(FieldError(f"allowed_adapters.{kind}", message, "unknown"))
            continue
        offered = [entry.version for entry in adapter.versions()]
        if bad := [version for version in versions if version not in offered]:
            message = f"{adapter.title} {', '.join(bad)} is not offered. Known: {', '.join(offered)}."
            errors.append(FieldError(f"allowed_adapters.{kind}", message, "unknown"))
    return {kind: list(dict.fromkeys(versions)) for kind, versions in sorted(wanted.items())}


def _refuse_deleting(row: Tenant | Project) -> None:
    if row.deleting_at is not None:
        raise Conflict(f"{row.title or row.name} is being deleted.")


# ---- projects


def create_project(portal: Portal, actor: Actor, tenant_id: str, name: str, title: str = "") -> Project:
    _check(name, title)
    with transaction():
        tenant = get(actor, tenant_id, PROJECT_MANAGE, lock=True)
        _refuse_deleting(tenant)
        if db.session.scalar(select(Project.id).where(Project.tenant_id == tenant.id, Project.name == name)):
            raise Invalid.field("name", f"There is already a project named {name}. Choose another name.", "taken")
        project = Project(tenant_id=tenant.id, name=name, title=title.strip())
        db.session.add(project)
        db.session.flush()
        message, data = f"Project {title.strip() or name} was created.", {"project_id": project.id}
        event_log.record(portal, "project.created", actor=actor, tenant_id=tenant.id, message=message, data=data)
    return project


def rename_project(portal: Portal, actor: Actor, project_id: str, title: str) -> Project:
    if errors := _title_errors(title):
        raise Invalid(errors[0].message, errors=errors)
    with transaction():
        project = get_project(actor, project_id, PROJECT_MANAGE, lock=True)
        _refuse_deleting(project)
        data = {"project_id": project.id, "before": project.title, "after": title.strip()}
        project.title = title.strip()
        message = f"Project {project.name} is called {project.title or project.name} now."
        event_log.record(portal, "project.changed", actor=actor, tenant_id=project.tenant_id, message=message, data=data)
    return project


def move_instance(portal: Portal, actor: Actor, instance_id: str, wanted: str) -> Instance:
    """Into another project of the same tenant, named by id or name. The claw does not notice."""
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE, lock=True)
        if instance.desired == Desired.DELETED:
            raise Conflict(f"{instance.name} is being deleted.")
        project = _target(actor, instance.tenant_id, wanted)
        if project.id == instance.project_id:
            raise Conflict(f"{instance.name} is in {project.title or project.name} already.")
        _put(portal, actor, instance, project)
    return instance


def _target(actor: Actor, tenant_id: str, wanted: str) -> Project:
    query = select(Project).where(
        Project.tenant_id == tenant_id,
        or_(Project.id == wanted, Project.name == wanted),
        Project.deleting_at.is_(None),
        access.visible(Project, actor, INSTANCE_CREATE),
    )
    found = db.session.scalars(query.with_for_update(read=True)).first()
    if found is None:
        raise Invalid.field("project", f"There is no project {wanted!r} here in which you may create instances.", "unknown")
    return found


def _put(portal: Portal, actor: Actor, instance: Instance, project: Project) -> None:
    quotas.check_move(portal, instance, project.id)
    policies.admit(portal, actor, "instance.move", instance, project=project)
    data = {"before": instance.project_id, "after": project.id}
    instance.project_id, instance.updated_at = project.id, clock.now()
    message = f"{instance.name} was moved to {project.title or project.name}."
    event_log.record(portal, "instance.moved", actor=actor, instance=instance, message=message, data=data)


# ---- deleting


def tenant_losses(actor: Actor, tenant_id: str) -> Losses:
    tenant = get(actor, tenant_id, TENANT_DELETE)
    number, running, named = _instances(Instance.tenant_id == tenant.id)
    return Losses(
        tenant.name, number, running, named, _count(Project, tenant.id), _count(Membership, tenant.id, _PEOPLE),
        _count(CustomRole, tenant.id), _count(EventRow, tenant.id), _tenant_refusal(tenant),
        service_accounts=_count(Membership, tenant.id, ~_PEOPLE),
    )  # fmt: skip


def project_losses(actor: Actor, project_id: str) -> Losses:
    project = get_project(actor, project_id, PROJECT_MANAGE)
    number, running, named = _instances(Instance.project_id == project.id)
    query = select(Project.id, Project.title, Project.name).where(
        Project.tenant_id == project.tenant_id, Project.id != project.id, Project.deleting_at.is_(None),
        access.visible(Project, actor, INSTANCE_CREATE),
    ).order_by(Project.name)  # fmt: skip
    targets = [(row.id, row.title or row.name) for row in db.session.execute(query)]
    return Losses(project.name, number, running, named, refusal=_project_refusal(project), targets=targets)


def _instances(where: ColumnElement[bool]) -> tuple[int, int, list[str]]:
    live = (where, Instance.destroyed_at.is_(None))
    number = db.session.scalar(select(func.count()).select_from(Instance).where(*live)) or 0
    running = db.session.scalar(select(func.count()).select_from(Instance).where(*live, quotas.HOLDS)) or 0
    return number, running, list(db.session.scalars(select(Instance.name).where(*live).order_by(Instance.name).limit(NAMED)))


def _count(model: Any, tenant_id: str, *where: ColumnElement[bool]) -> int:
    return db.session.scalar(select(func.count()).select_from(model).where(model.tenant_id == tenant_id, *where)) or 0


def _tenant_refusal(tenant: Tenant) -> str:
    if tenant.name == FIRST:
        return "The first organisation belongs to the portal itself and cannot be deleted. Give it another title instead."
    return "It is being deleted already." if tenant.deleting_at is not None else ""


def _project_refusal(project: Project) -> str:
    if project.deleting_at is not None:
        return "It is being deleted already."
    if project.name == FIRST and db.session.get_one(Tenant, project.tenant_id).name == FIRST:
        return "The first project belongs to the portal itself and cannot be deleted. Give it another title instead."
    others = select(Project.id).where(
        Project.tenant_id == project.tenant_id, Project.id != project.id, Project.deleting_at.is_(None)
    )
    if db.session.scalar(others.limit(1)) is None:
        return "It is the last project of its organisation, and instances need one. Create another first."
    return ""


def delete_tenant(
    portal: Portal, actor: Actor, tenant_id: str, *, confirm: str, with_instances: bool = False, keep_data: bool = False
) -> bool:
    """Delete a tenant with all that is in it. Instances are ended and deleted first, if `with_instances` says so.

    True when it is gone; False while its instances are still being deleted: the rest follows by itself.
    """
    with transaction():
        tenant = get(actor, tenant_id, TENANT_DELETE, lock=True)
        _confirmed(tenant.name, confirm, _tenant_refusal(tenant))
        _end_instances(portal, actor, Instance.tenant_id == tenant.id, with_instances, keep_data)
        tenant.deleting_at = clock.now()
        event_log.record(
            portal, "tenant.delete_requested", actor=actor, tenant_id=tenant.id, level="warning",
            message=f"Organisation {tenant.title or tenant.name} is being deleted.",
        )  # fmt: skip
        return _finish_tenant(portal, tenant, actor)


def delete_project(
    portal: Portal, actor: Actor, project_id: str, *, confirm: str, with_instances: bool = False, keep_data: bool = False,
    move_to: str = "",
) -> bool:  # fmt: skip
    """Delete a project; its instances are deleted or moved to another one first, as chosen. True when it is gone."""
    with transaction():
        found = get_project(actor, project_id, PROJECT_MANAGE)
        # also the tenant, so that of two last projects deleted at once one stays
        db.session.execute(select(Tenant.id).where(Tenant.id == found.tenant_id).with_for_update())
        project = get_project(actor, project_id, PROJECT_MANAGE, lock=True)
        _confirmed(project.name, confirm, _project_refusal(project))
        if move_to:
            _move_all(portal, actor, project, move_to)
        _end_instances(portal, actor, Instance.project_id == project.id, with_instances and not move_to, keep_data)
        project.deleting_at = clock.now()
        event_log.record(
            portal, "project.delete_requested", actor=actor, tenant_id=project.tenant_id, level="warning",
            message=f"Project {project.title or project.name} is being deleted.", data={"project_id": project.id},
        )  # fmt: skip
        return _finish_project(portal, project, actor)


def _confirmed(name: str, typed: str, refusal: str) -> None:
    if refusal:
        raise Conflict(refusal)
    if typed.strip() != name:
        raise Invalid.field("confirm", f"Type {name} to confirm.", "missing" if not typed else "invalid")


def _move_all(portal: Portal, actor: Actor, project: Project, wanted: str) -> None:
    target = _target(actor, project.tenant_id, wanted)
    if target.id == project.id:
        raise Invalid.field("move_to", "Choose another project than the one that is deleted.")
    for instance in _live(Instance.project_id == project.id):
        if instance.desired != Desired.DELETED:
            access.require(actor, INSTANCE_UPDATE, access.scope_of(instance))
            _put(portal, actor, instance, target)
            db.session.flush()  # the next one is counted with it
    db.session.flush()


def _live(where: ColumnElement[bool]) -> list[Instance]:
    query = select(Instance).where(where, Instance.destroyed_at.is_(None)).order_by(Instance.id)
    return list(db.session.scalars(query.with_for_update().execution_options(populate_existing=True)))


def _end_instances(portal: Portal, actor: Actor, where: ColumnElement[bool], agreed: bool, keep_data: bool) -> None:
    left = [instance for instance in _live(where) if instance.desired != Desired.DELETED]
    if left and not agreed:
        names = ", ".join(instance.name for instance in left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        raise Conflict(f"There are still {len(left)} instances in it ({names}). Delete or move them first, or ask for it here.")
    for instance in left:
        _end(portal, actor, instance, keep_data)


def _end(portal: Portal, actor: Actor, instance: Instance, keep_data: bool = False) -> None:
    """What is only observed is not the portal's to delete."""
    if instance.managed:
        instances.remove(portal, actor, instance.id, keep_data=keep_data)
    else:
        unmanaged.forget(portal, actor, instance.id)


def finish_once(portal: Portal) -> int:
    """One pass over what is being deleted: each goes once its last instance is gone. Returns how many went."""
    gone = 0
    for model, finish in ((Project, _finish_project), (Tenant, _finish_tenant)):
        for row_id in list(db.session.scalars(select(model.id).where(model.deleting_at.is_not(None)))):
            with transaction():
                row: Any = db.session.get(model, row_id, with_for_update=True)
                gone += row is not None and finish(portal, row, SYSTEM)
    return gone


def _finish_project(portal: Portal, project: Project, actor: Actor) -> bool:
    if not _emptied(portal, Instance.project_id == project.id):
        return False
    name, tenant_id, project_id = project.title or project.name, project.tenant_id, project.id
    db.session.execute(delete(Instance).where(Instance.project_id == project_id))
    db.session.delete(project)
    db.session.flush()
    event_log.record(
        portal, "project.deleted", actor=actor, tenant_id=tenant_id, message=f"Project {name} was deleted.",
        data={"project_id": project_id},
    )  # fmt: skip
    return True


def _finish_tenant(portal: Portal, tenant: Tenant, actor: Actor) -> bool:
    if not _emptied(portal, Instance.tenant_id == tenant.id):
        return False
    name, tenant_id = tenant.title or tenant.name, tenant.id
    for model in (Operation, Instance):
        db.session.execute(delete(model).where(model.tenant_id == tenant_id))
    db.session.delete(tenant)
    db.session.flush()
    message = f"Organisation {name} was deleted."
    event_log.record(portal, "tenant.deleted", actor=actor, message=message, data={"tenant_id": tenant_id})
    return True


def _emptied(portal: Portal, where: ColumnElement[bool]) -> bool:
    """Whether no instance is left. One that was created at the last moment is asked to go as well."""
    db.session.flush()
    left = _live(where)
    for instance in left:
        if instance.desired != Desired.DELETED:
            _end(portal, SYSTEM, instance)
    return not left


# ---- looking into one


def title_of(tenant_id: str) -> str:
    """What to call a tenant; its id where it is gone."""
    row = db.session.execute(select(Tenant.title, Tenant.name).where(Tenant.id == tenant_id)).one_or_none()
    return (row.title or row.name) if row else tenant_id


def project_title(project_id: str) -> str:
    row = db.session.execute(select(Project.title, Project.name).where(Project.id == project_id)).one()
    return str(row.title or row.name)


def note_visit(portal: Portal, actor: Actor, tenant_id: str) -> Tenant:
    """Somebody goes into a tenant. Whoever is no member of it leaves a trace there."""
    tenant = get(actor, tenant_id)
    if narrowed(actor, tenant_id).visiting:
        message = f"{actor.name} looks into {tenant.title or tenant.name}."
        event_log.record(portal, "tenant.visited", actor=actor, tenant_id=tenant.id, level="warning", message=message)
    return tenant
