"""Tenants and projects: the default ones of a fresh portal, and which of them an actor can put things into."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from clawportal.contracts.core_permissions import CATALOG_READ, INSTANCE_CREATE
from clawportal.contracts.permissions import Actor, Grant, Permission, Scope
from clawportal.db import db, transaction
from clawportal.errors import Conflict, FieldError, Invalid, NotFound
from clawportal.messages import _m
from clawportal.models import Project, Tenant
from clawportal.models.tenancy import OWN_TENANT
from clawportal.services.rights import access


@dataclass(frozen=True)
class ProjectChoice:
    id: str
    name: str
    title: str
    tenant_id: str
    tenant_name: str
    tenant_title: str


@dataclass(frozen=True)
class Reach:
    """How far somebody sees: titles of the tenant and the project where there is only one, else empty."""

    tenant: str = ""
    project: str = ""
    several: bool = False
    """More than one tenant."""


_COLUMNS = (
    Project.id, Project.name, Project.title, Tenant.id, Tenant.name, func.coalesce(func.nullif(Tenant.title, ""), Tenant.name),
)  # fmt: skip


OWN_TITLE = _m("My organisation")
"""As the first run finds it."""


def prepare(portal: object) -> None:
    ensure_default()


def ensure_default() -> Project:
    """The tenant and project that a portal starts with."""
    with transaction():
        tenant = db.session.scalar(select(Tenant).where(Tenant.name == OWN_TENANT))
        if tenant is None:
            tenant = Tenant(name=OWN_TENANT, title=OWN_TITLE)
            db.session.add(tenant)
            db.session.flush()
        project = db.session.scalar(select(Project).where(Project.tenant_id == tenant.id, Project.name == "default"))
        if project is None:
            project = Project(tenant_id=tenant.id, name="default", title=_m("Default project"))
            db.session.add(project)
    return project


def several() -> bool:
    """Whether the portal has more than one tenant, so that what they share has to be shared fairly."""
    return len(db.session.execute(select(Tenant.id).limit(2)).all()) > 1


def rename_default(title: str) -> None:
    """Name the organisation, as the first-run page asks."""
    if not 1 <= len(title.strip()) <= 200:
        raise Invalid.field("organisation", _m("Give your organisation a name of 1 to 200 characters."), "missing")
    with transaction():
        tenant = db.session.scalars(select(Tenant).where(Tenant.name == "default")).one()
        tenant.title = title.strip()


def projects(actor: Actor, permission: Permission = CATALOG_READ) -> list[ProjectChoice]:
    """Projects in which the actor has a permission, with the tenant's names."""
    return [ProjectChoice(*row) for row in db.session.execute(_projects(actor.granted(permission), permission))]


@functools.lru_cache(maxsize=256)
def _projects(grants: tuple[Grant, ...], permission: Permission) -> Select[Any]:
    """Kept, because making a statement takes longer than running it."""
    # columns, not objects: an administrator of the portal sees hundreds of projects, and lists ask for their names
    usable = _usable(Actor("", "", grants=grants), permission)
    query: Any = select(*_COLUMNS).join(Tenant, Tenant.id == Project.tenant_id)
    found: Select[Any] = query.where(*usable).order_by(Tenant.name, Project.name)
    return found


def _usable(actor: Actor, permission: Permission) -> tuple[ColumnElement[bool], ...]:
    return access.visible(Project, actor, permission), Tenant.deleting_at.is_(None), Project.deleting_at.is_(None)


def reach(actor: Actor) -> Reach:
    """One statement: every page says where one is, so it must cost the same for one project as for thousands."""
    count, first, last, *named = db.session.execute(_reach(actor.granted(CATALOG_READ))).one()
    if first != last or not count:
        return Reach(several=bool(count))
    tenant_title, tenant_name, project_title, project_name = named
    return Reach(tenant=tenant_title or tenant_name, project=(project_title or project_name) if count == 1 else "")


def reach_of(choices: Sequence[ProjectChoice]) -> Reach:
    """The same, for whoever has asked for all projects already."""
    tenants = {choice.tenant_id: choice.tenant_title for choice in choices}
    if len(tenants) != 1:
        return Reach(several=bool(tenants))
    [tenant] = tenants.values()
    return Reach(tenant=tenant, project=(choices[0].title or choices[0].name) if len(choices) == 1 else "")


@functools.lru_cache(maxsize=256)
def _reach(grants: tuple[Grant, ...]) -> Select[Any]:
    """Kept, because making a statement takes longer than running it. The lowest title is the only one where there is one."""
    columns = (Project.tenant_id, Tenant.title, Tenant.name, Project.title, Project.name)
    lowest = [func.min(column) for column in columns]
    query: Any = select(func.count(), lowest[0], func.max(Project.tenant_id), *lowest[1:]).select_from(Project)
    where = _usable(Actor("", "", grants=grants), CATALOG_READ)
    found: Select[Any] = query.join(Tenant, Tenant.id == Project.tenant_id).where(*where)
    return found


def project_for_create(actor: Actor, wanted: str | None) -> Project:
    """The project named by id or name; without a name the only or the default one."""
    choices = projects(actor, INSTANCE_CREATE)
    if wanted:
        choices = [choice for choice in choices if wanted in (choice.id, choice.name)]
        if not choices:
            raise Invalid.field(
                "project", _m("There is no project %(wanted)s in which you may create instances.", wanted=repr(wanted)), "unknown"
            )
        if len(choices) > 1:
            ids = " or ".join(choice.id for choice in choices)
            raise Invalid.field(
                "project", _m("Several projects are named %(wanted)s; use the id: %(ids)s.", wanted=repr(wanted), ids=ids)
            )
    # the default project of the default tenant, then any default project, then the only one there is
    choices.sort(key=lambda choice: (choice.name != "default", choice.tenant_name != "default"))
    chosen = choices[0] if choices else None
    if chosen is None:
        access.require(actor, INSTANCE_CREATE, Scope(tenant_id=""))
        raise NotFound(_m("There is no project yet. Ask an administrator to create one."))
    return db.session.get_one(Project, chosen.id)


def hold(project: Project) -> str | None:
    """Keep a project from being deleted until the commit. Returns the cluster that its tenant puts instances into, if any."""
    query = (
        select(Tenant.default_cluster_id, Tenant.deleting_at, Project.deleting_at)
        .join(Project, Project.tenant_id == Tenant.id)
        .where(Project.id == project.id)
        .with_for_update(read=True)
    )
    row = db.session.execute(query).one_or_none()
    if row is None or row[1] is not None or row[2] is not None:
        raise Conflict(_m("%(title)s is being deleted. Choose another project.", title=project.title or project.name))
    return row[0]


def allowed(tenant_id: str) -> dict[str, list[str]] | None:
    """Kinds of claw that a tenant allows, each with its versions (none named: all); None: every kind."""
    return db.session.scalar(select(Tenant.allowed_adapters).where(Tenant.id == tenant_id))


def default_cluster(tenant_id: str) -> str | None:
    """Where its instances go for which nobody names a cluster."""
    return db.session.scalar(select(Tenant.default_cluster_id).where(Tenant.id == tenant_id))


def check_allowed(tenant_id: str, adapter: str, version: str) -> list[FieldError]:
    """What the defaults of the tenant say against a kind of claw."""
    kinds = allowed(tenant_id)
    if kinds is None:
        return []
    if adapter not in kinds:
        known = sorted(kinds) or _m("none")
        return [
            FieldError(
                "adapter",
                _m("Your organisation does not allow %(adapter)s. Allowed: %(known)s.", adapter=adapter, known=known),
                "not_allowed",
            )
        ]
    versions = kinds[adapter]
    if versions and version not in versions:
        return [
            FieldError(
                "version",
                _m(
                    "Your organisation does not allow %(adapter)s %(version)s. Allowed: %(listed)s.",
                    adapter=adapter,
                    version=version,
                    listed=[*versions],
                ),
                "not_allowed",
            )
        ]
    return []
