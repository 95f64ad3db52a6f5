"""Truth tables: for every role, built in and made, in every scope, a list holds exactly what the single check allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from clawportal.contracts.core_permissions import (
    EVENT_READ,
    INSTANCE_KILL,
    INSTANCE_OPERATE,
    INSTANCE_READ,
    MEMBER_READ,
    OPERATION_CONTROL,
    TENANT_READ,
)
from clawportal.contracts.permissions import SELF, Permission, narrowed
from clawportal.db import db, transaction
from clawportal.errors import Forbidden, NotFound
from clawportal.models import CustomRole, EventRow, Instance, Membership, Operation, Project, RoleGrant, Tenant, User
from clawportal.services.identity import identity
from clawportal.services.rights import access
from tests.core.test_access import READS, Scene, scene
from tests.core_roles import CORE, ROLES

__all__ = ["scene"]

MODELS: tuple[Any, ...] = (Tenant, Project, Instance, Operation, EventRow)
OWN = {
    "night-watch": [INSTANCE_READ, INSTANCE_OPERATE],
    "clerk": [TENANT_READ, MEMBER_READ, EVENT_READ],
    "blind": [INSTANCE_KILL, OPERATION_CONTROL],
}
SCOPES = ("tenant", "project", "instance")


def somebody(scene: Scene, role: str, scope: str, *, service: bool = False) -> Any:
    """A user, or a service account, with a role in one scope of the first tenant, as the tables say it."""
    made = f"{role}-{scope}-{service}"
    with transaction():
        tenant = scene.tenants[0]
        for name, rights in OWN.items():
            if not db.session.scalar(select(CustomRole.id).where(CustomRole.tenant_id == tenant, CustomRole.name == name)):
                db.session.add(CustomRole(tenant_id=tenant, name=name, permissions=[str(right) for right in rights]))
        user = User(name=made, password_hash="x", service_tenant_id=tenant if service else None)
        db.session.add(user)
        db.session.flush()
        db.session.add(Membership(user_id=user.id, tenant_id=tenant, role=role if scope == "tenant" else "guest"))
        if scope != "tenant":
            place = {"project_id": scene.projects[0]} if scope == "project" else {"instance_id": scene.instances[0]}
            db.session.add(RoleGrant(tenant_id=tenant, user_id=user.id, role=role, **place))
    return identity.actor_of(scene.world.portal, user)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("service", [False, True], ids=["person", "service"])
@pytest.mark.parametrize("role", [*(role for role in ROLES if not role.startswith("portal-")), *OWN])
def test_lists_and_checks_agree(scene: Scene, role: str, service: bool, scope: str) -> None:
    with scene.world.context():
        actor = somebody(scene, role, scope, service=service)
        meant = set(CORE.enumerate(ROLES[role])) if role in ROLES else {*OWN[role], SELF}
        rows = {model: db.session.scalars(select(model)).all() for model in MODELS}
        for who in (actor, narrowed(actor, scene.tenants[0]), narrowed(actor, scene.tenants[1])):
            for permission in CORE:
                for model in MODELS:
                    _agree(who, model, permission, rows[model])
        assert set(CORE.enumerate(*(grant.permissions for grant in actor.grants))) == meant | {SELF}
        for index, instance_id in enumerate(scene.instances):
            inside = index < {"tenant": 4, "project": 2, "instance": 1}[scope]
            row = db.session.get_one(Instance, instance_id)
            for permission in CORE:
                allowed = actor.allows(permission, access.scope_of(row))
                assert allowed == (permission == SELF or (inside and permission in meant)), (index, permission)


def _agree(actor: Any, model: Any, permission: Permission, rows: Sequence[Any]) -> None:
    listed = set(db.session.scalars(select(model).where(access.visible(model, actor, permission))))
    for row in rows:
        allowed = actor.allows(permission, access.scope_of(row))
        assert (row in listed) == allowed, (model.__name__, permission)
        if model in (EventRow, Operation):
            continue
        read = READS.get(model, TENANT_READ)
        try:
            access.get_or_404(model, row.id, actor, permission)
            reached = True
        except (NotFound, Forbidden) as error:
            reached = False
            assert isinstance(error, NotFound) or actor.allows(read, access.scope_of(row)), "403 only for who may see it"
        assert reached == (allowed and actor.allows(read, access.scope_of(row)))
