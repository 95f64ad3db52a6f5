"""Deletes tenants and projects with all that is inside.

Deleting is a wish like any other: the row is marked, its instances are asked to go, and background work removes it after the
last of them. Ending the portal at any line loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select

from clawportal import clock
from clawportal.contracts.core_permissions import INSTANCE_CREATE, INSTANCE_UPDATE, PROJECT_MANAGE, TENANT_DELETE
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid
from clawportal.lifecycle import Desired
from clawportal.messages import _m
from clawportal.models import CustomRole, EventRow, Instance, Membership, Operation, Project, Tenant
from clawportal.services.events import event_log
from clawportal.services.fleet import instances, moves, quotas, unmanaged
from clawportal.services.rights import access
from clawportal.services.tenancy.tenants import FIRST, PEOPLE, get, get_project

NAMED = 20
"""So many instances are named in what would be lost; of more the number is told."""


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


def tenant_losses(actor: Actor, tenant_id: str) -> Losses:
    tenant = get(actor, tenant_id, TENANT_DELETE)
    number, running, named = _instances(Instance.tenant_id == tenant.id)
    return Losses(
        tenant.name, number, running, named, _count(Project, tenant.id), _count(Membership, tenant.id, PEOPLE),
        _count(CustomRole, tenant.id), _count(EventRow, tenant.id), _tenant_refusal(tenant),
        service_accounts=_count(Membership, tenant.id, ~PEOPLE),
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
        return _m("The first organisation belongs to the portal itself and cannot be deleted. Give it another title instead.")
    return _m("It is being deleted already.") if tenant.deleting_at is not None else ""


def _project_refusal(project: Project) -> str:
    if project.deleting_at is not None:
        return _m("It is being deleted already.")
    if project.name == FIRST and db.session.get_one(Tenant, project.tenant_id).name == FIRST:
        return _m("The first project belongs to the portal itself and cannot be deleted. Give it another title instead.")
    others = select(Project.id).where(
        Project.tenant_id == project.tenant_id, Project.id != project.id, Project.deleting_at.is_(None)
    )
    if db.session.scalar(others.limit(1)) is None:
        return _m("It is the last project of its organisation, and instances need one. Create another first.")
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
            message=_m("Organisation %(title)s is being deleted.", title=tenant.title or tenant.name),
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
            portal,
            "project.delete_requested",
            actor=actor,
            tenant_id=project.tenant_id,
            level="warning",
            message=_m("Project %(title)s is being deleted.", title=project.title or project.name),
            data={"project_id": project.id},
        )
        return _finish_project(portal, project, actor)


def _confirmed(name: str, typed: str, refusal: str) -> None:
    if refusal:
        raise Conflict(refusal)
    if typed.strip() != name:
        raise Invalid.field("confirm", _m("Type %(name)s to confirm.", name=name), "missing" if not typed else "invalid")


def _move_all(portal: Portal, actor: Actor, project: Project, wanted: str) -> None:
    target = moves.target(actor, project.tenant_id, wanted)
    if target.id == project.id:
        raise Invalid.field("move_to", _m("Choose another project than the one that is deleted."))
    for instance in _live(Instance.project_id == project.id):
        if instance.desired != Desired.DELETED:
            access.require(actor, INSTANCE_UPDATE, access.scope_of(instance))
            moves.put(portal, actor, instance, target)
            db.session.flush()  # the next one is counted with it
    db.session.flush()


def _live(where: ColumnElement[bool]) -> list[Instance]:
    query = select(Instance).where(where, Instance.destroyed_at.is_(None)).order_by(Instance.id)
    return list(db.session.scalars(query.with_for_update().execution_options(populate_existing=True)))


def _end_instances(portal: Portal, actor: Actor, where: ColumnElement[bool], agreed: bool, keep_data: bool) -> None:
    left = [instance for instance in _live(where) if instance.desired != Desired.DELETED]
    if left and not agreed:
        names: object = [instance.name for instance in left[:5]]
        if len(left) > 5:
            names = _m("%(names)s and %(number)s more", names=names, number=len(left) - 5)
        raise Conflict(
            _m(
                "There are still %(len)s instances in it (%(names)s). Delete or move them first, or ask for it here.",
                len=len(left),
                names=names,
            )
        )
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
        portal, "project.deleted", actor=actor, tenant_id=tenant_id, message=_m("Project %(name)s was deleted.", name=name),
        data={"project_id": project_id}, project_id=project_id,
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
    message = _m("Organisation %(name)s was deleted.", name=name)
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
