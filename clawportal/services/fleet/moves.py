"""Moves instances from one project of a tenant to another. The claw does not notice."""

from __future__ import annotations

from sqlalchemy import or_, select

from clawportal import clock
from clawportal.contracts.core_permissions import INSTANCE_CREATE, INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid
from clawportal.lifecycle import Desired
from clawportal.messages import _m
from clawportal.models import Instance, Project
from clawportal.services.events import event_log
from clawportal.services.fleet import admission, quotas
from clawportal.services.rights import access


def move_instance(portal: Portal, actor: Actor, instance_id: str, wanted: str) -> Instance:
    """Into another project of the same tenant, named by id or name. The claw does not notice."""
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE, lock=True)
        if instance.desired == Desired.DELETED:
            raise Conflict(_m("%(name)s is being deleted.", name=instance.name))
        project = target(actor, instance.tenant_id, wanted)
        if project.id == instance.project_id:
            raise Conflict(_m("%(name)s is in %(title)s already.", name=instance.name, title=project.title or project.name))
        put(portal, actor, instance, project)
    return instance


def target(actor: Actor, tenant_id: str, wanted: str) -> Project:
    query = select(Project).where(
        Project.tenant_id == tenant_id,
        or_(Project.id == wanted, Project.name == wanted),
        Project.deleting_at.is_(None),
        access.visible(Project, actor, INSTANCE_CREATE),
    )
    found = db.session.scalars(query.with_for_update(read=True)).first()
    if found is None:
        raise Invalid.field(
            "project",
            _m("There is no project %(wanted)s here in which you may create instances.", wanted=repr(wanted)),
            "unknown",
        )
    return found


def put(portal: Portal, actor: Actor, instance: Instance, project: Project) -> None:
    quotas.check_move(portal, instance, project.id)
    admission.admit(portal, actor, "instance.move", instance, project=project)
    data = {"before": instance.project_id, "after": project.id}
    instance.project_id, instance.updated_at = project.id, clock.now()
    message = _m("%(name)s was moved to %(title)s.", name=instance.name, title=project.title or project.name)
    event_log.record(portal, "instance.moved", actor=actor, instance=instance, message=message, data=data)
