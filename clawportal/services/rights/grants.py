"""Which grants somebody has: from memberships and from roles in single projects and on single instances, in one statement."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import String, and_, bindparam, cast, func, literal, null, select, union_all

from clawportal.contracts.permissions import PORTAL_ROLES, Grant, PermissionRegistry
from clawportal.db import db
from clawportal.messages import _m
from clawportal.models import CustomRole, Instance, Membership, Otp, Project, RoleGrant, Tenant

_nothing = cast(null(), String)
_memberships = (
    select(
        literal("member"),
        Membership.role,
        Membership.tenant_id,
        Tenant.name,
        CustomRole.permissions,
        _nothing,
        _nothing,
        _nothing,
    )
    .outerjoin(Tenant, Tenant.id == Membership.tenant_id)
    .outerjoin(CustomRole, and_(CustomRole.tenant_id == Membership.tenant_id, CustomRole.name == Membership.role))
    .where(Membership.user_id == bindparam("user_id"))
)
# joined with the membership: a grant that outlived it gives nothing
_role_grants = (
    select(
        literal("grant"), RoleGrant.role, RoleGrant.tenant_id, Tenant.name, CustomRole.permissions, RoleGrant.project_id,
        RoleGrant.instance_id, func.coalesce(Project.name, Instance.name),
    )
    .join(Membership, and_(Membership.user_id == RoleGrant.user_id, Membership.tenant_id == RoleGrant.tenant_id))
    .join(Tenant, Tenant.id == RoleGrant.tenant_id)
    .outerjoin(CustomRole, and_(CustomRole.tenant_id == RoleGrant.tenant_id, CustomRole.name == RoleGrant.role))
    .outerjoin(Project, Project.id == RoleGrant.project_id)
    .outerjoin(Instance, Instance.id == RoleGrant.instance_id)
    .where(RoleGrant.user_id == bindparam("user_id"))
)  # fmt: skip
_ASKS = "asks"
# with the rest in one statement; gives rows only for who has no second factor
_asking = select(
    literal(_ASKS), literal(""), Tenant.id, Tenant.name, cast(null(), CustomRole.permissions.type), _nothing, _nothing, _nothing
).where(
    Tenant.require_totp, ~select(Otp.user_id).where(Otp.user_id == bindparam("user_id"), Otp.enabled_at.is_not(None)).exists()
)
_OF_USER = union_all(_memberships, _role_grants, _asking)  # made once: every request begins with it


def of_user(permissions: PermissionRegistry, user_id: str) -> tuple[list[Grant], frozenset[str]]:
    """Everything that the tables grant somebody now, and which tenants ask for a second factor that they do not have."""
    rows = db.session.execute(_OF_USER, {"user_id": user_id}).all()
    found = [grant for row in rows if row[0] != _ASKS for grant in _grants(permissions, *row)]
    return found, frozenset(row[2] for row in rows if row[0] == _ASKS)


def _grants(
    permissions: PermissionRegistry, kind: str, role: str, tenant_id: str | None, tenant: str | None,
    custom: Sequence[str] | None, project_id: str | None, instance_id: str | None, place: str | None,
) -> Iterator[Grant]:  # fmt: skip
    if kind == "member":
        yield from permissions.role_grants(role, tenant_id, _as_member(role, tenant), custom)
    elif role not in PORTAL_ROLES and (project_id or instance_id):
        source = _on(role, tenant, "project" if project_id else "instance", place)
        for grant in permissions.role_grants(role, tenant_id, source, custom):
            yield replace(grant, project_id=project_id, instance_id=instance_id)


@functools.lru_cache(maxsize=2048)  # every request makes those of its actor
def _as_member(role: str, tenant: str | None) -> str:
    if tenant is None:
        return _m("role %(role)s of the whole portal", role=role)
    return _m("role %(role)s in %(tenant)s", role=role, tenant=tenant)


@functools.lru_cache(maxsize=2048)
def _on(role: str, tenant: str | None, what: str, place: str | None) -> str:
    kind = _m("project") if what == "project" else _m("instance")
    return _m("role %(role)s on the %(what)s %(place)s in %(tenant)s", role=role, what=kind, place=place, tenant=tenant)


def custom_role(tenant_id: str, name: str) -> CustomRole | None:
    return db.session.scalar(select(CustomRole).where(CustomRole.tenant_id == tenant_id, CustomRole.name == name))
