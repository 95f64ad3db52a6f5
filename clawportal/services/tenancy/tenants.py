"""Tenants and projects as people manage them: list, create and change. `fleet.removals` deletes them with all that is inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from clawportal import folding, paging
from clawportal.contracts.core_permissions import (
    CATALOG_READ,
    PROJECT_MANAGE,
    TENANT_CREATE,
    TENANT_READ,
    TENANT_UPDATE,
)
from clawportal.contracts.permissions import Actor, Permission, Scope, narrowed
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Invalid
from clawportal.ids import looks_like_id
from clawportal.messages import _m, joined
from clawportal.models import Instance, Membership, Otp, Project, Tenant, User
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.identity import otp
from clawportal.services.rights import access

_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
FIRST = "default"
"""Name of the tenant and project that every portal has: made again at each start, so they stay."""


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
    projects, members = _per_tenant(Project.tenant_id, ids), _per_tenant(Membership.tenant_id, ids, PEOPLE)
    live = _per_tenant(Instance.tenant_id, ids, Instance.destroyed_at.is_(None))
    return [
        TenantRow(
            row.id, row.name, row.title or row.name, row.created_at, row.deleting_at,
            projects.get(row.id, 0), members.get(row.id, 0), live.get(row.id, 0),
        )
        for row in rows
    ]  # fmt: skip


PEOPLE = Membership.user_id.not_in(select(User.id).where(User.service_tenant_id.is_not(None)))
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
            raise Invalid.field(
                "name", _m("There is already an organisation named %(name)s. Choose another name.", name=name), "taken"
            )
        tenant = Tenant(name=name, title=title.strip())
        db.session.add(tenant)
        db.session.flush()
        db.session.add(Project(tenant_id=tenant.id, name=FIRST, title=_m("Default project")))
        event_log.record(
            portal,
            "tenant.created",
            actor=actor,
            tenant_id=tenant.id,
            message=_m("Organisation %(name)s was created.", name=title.strip() or name),
        )
    return tenant


def _check(name: str, title: str) -> None:
    errors = _title_errors(title)
    if not _NAME.fullmatch(name):
        rule = _m("A name has 1 to 63 small letters, digits or dashes, and begins and ends with a letter or digit.")
        errors.insert(0, FieldError("name", rule))
    elif looks_like_id(name):
        errors.insert(0, FieldError("name", _m("This looks like an id. Choose another name.")))
    if errors:
        raise Invalid(joined((error.message for error in errors), "; "), errors=errors)


def _title_errors(title: str) -> list[FieldError]:
    return [FieldError("title", _m("A title may have 200 characters at most."))] if len(title.strip()) > 200 else []


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
            raise Invalid(joined((error.message for error in errors), "; "), errors=errors)
        data = {"before": before, "after": _defaults(tenant)}
        message = _m("Organisation %(title)s was changed.", title=tenant.title or tenant.name)
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
        message = _m("Set up a second factor for your own account first: without one you would be kept out yourself.")
        errors.append(FieldError("require_totp", message))
    tenant.require_totp = wanted


def without_totp(tenant_id: str) -> int:
    """How many members have no second factor; service accounts need none."""
    enabled = select(Otp.user_id).where(Otp.enabled_at.is_not(None))
    where = (Membership.tenant_id == tenant_id, PEOPLE, Membership.user_id.not_in(enabled))
    return db.session.scalar(select(func.count()).select_from(Membership).where(*where)) or 0


def _allowed(portal: Portal, wanted: Mapping[str, Sequence[str]] | None, errors: list[FieldError]) -> dict[str, list[str]] | None:
    """Each kind and version must exist: a misspelt one would forbid what was meant to be allowed."""
    if wanted is None:
        return None
    for kind, versions in wanted.items():
        adapter = portal.registry.adapters.get(kind)
        if adapter is None:
            known = sorted(portal.registry.adapters)
            message = _m("There is no kind of claw %(kind)s. Known: %(known)s.", kind=repr(kind), known=known)
            errors.append(FieldError(f"allowed_adapters.{kind}", message, "unknown"))
            continue
        offered = [entry.version for entry in adapter.versions()]
        if bad := [version for version in versions if version not in offered]:
            message = _m(
                "%(title)s %(join)s is not offered. Known: %(join2)s.",
                title=adapter.title,
                join=[*bad],
                join2=[*offered],
            )
            errors.append(FieldError(f"allowed_adapters.{kind}", message, "unknown"))
    return {kind: list(dict.fromkeys(versions)) for kind, versions in sorted(wanted.items())}


def _refuse_deleting(row: Tenant | Project) -> None:
    if row.deleting_at is not None:
        raise Conflict(_m("%(title)s is being deleted.", title=row.title or row.name))


# ---- projects


def create_project(portal: Portal, actor: Actor, tenant_id: str, name: str, title: str = "") -> Project:
    _check(name, title)
    with transaction():
        tenant = get(actor, tenant_id, PROJECT_MANAGE, lock=True)
        _refuse_deleting(tenant)
        if db.session.scalar(select(Project.id).where(Project.tenant_id == tenant.id, Project.name == name)):
            raise Invalid.field("name", _m("There is already a project named %(name)s. Choose another name.", name=name), "taken")
        project = Project(tenant_id=tenant.id, name=name, title=title.strip())
        db.session.add(project)
        db.session.flush()
        message, data = _m("Project %(name)s was created.", name=title.strip() or name), {"project_id": project.id}
        event_log.record(
            portal, "project.created", actor=actor, tenant_id=tenant.id, message=message, data=data, project_id=project.id
        )
    return project


def rename_project(portal: Portal, actor: Actor, project_id: str, title: str) -> Project:
    if errors := _title_errors(title):
        raise Invalid(errors[0].message, errors=errors)
    with transaction():
        project = get_project(actor, project_id, PROJECT_MANAGE, lock=True)
        _refuse_deleting(project)
        data = {"project_id": project.id, "before": project.title, "after": title.strip()}
        project.title = title.strip()
        message = _m("Project %(name)s is called %(title)s now.", name=project.name, title=project.title or project.name)
        event_log.record(
            portal, "project.changed", actor=actor, tenant_id=project.tenant_id, message=message, data=data, project_id=project.id
        )
    return project


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
        message = _m("%(name)s looks into %(title)s.", name=actor.name, title=tenant.title or tenant.name)
        event_log.record(portal, "tenant.visited", actor=actor, tenant_id=tenant.id, level="warning", message=message)
    return tenant
