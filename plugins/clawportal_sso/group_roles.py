"""What the groups of a provider give here: a role in an organisation, in one of its projects, or over the whole portal."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, select

from clawportal.sdk import _m
from clawportal.sdk.data import db, get_or_404, transaction
from clawportal.sdk.errors import Invalid, NotFound
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Portal, Project, Tenant
from clawportal.sdk.people import check_givable, tenant_for
from clawportal.sdk.permissions import MEMBER_MANAGE, PORTAL_ROLES, Actor, Scope
from clawportal_sso import following
from clawportal_sso.models import OidcGroupRole
from clawportal_sso.organisations import tenant_named
from clawportal_sso.providers import row_of
from clawportal_sso.rights import require


@dataclass(frozen=True)
class GroupRole:
    """What a group gives."""

    id: str
    group: str
    role: str
    tenant_id: str | None
    tenant: str
    project_id: str | None
    project: str


def groups(actor: Actor, provider_id: str) -> list[GroupRole]:
    require(actor)
    row_of(provider_id)
    query = (
        select(OidcGroupRole, Tenant.title, Tenant.name, Project.title, Project.name)
        .outerjoin(Tenant, Tenant.id == OidcGroupRole.tenant_id)
        .outerjoin(Project, Project.id == OidcGroupRole.project_id)
        .where(OidcGroupRole.provider_id == provider_id)
        .order_by(OidcGroupRole.group, OidcGroupRole.id)
    )
    return [
        GroupRole(row.id, row.group, row.role, row.tenant_id, tenant or name or "", row.project_id, project or called or "")
        for row, tenant, name, project, called in db.session.execute(query)
    ]


def map_group(
    portal: Portal, actor: Actor, provider_id: str, group: str, role: str, *, tenant_id: str | None = None,
    project_id: str | None = None,
) -> GroupRole:  # fmt: skip
    """From now on whoever is in this group has this role, as of the next sign-in."""
    require(actor)
    group = group.strip()
    if not 1 <= len(group) <= 255 or not group.isprintable():
        raise Invalid.field("group", _m("Enter the group as the provider sends it, with 1 to 255 characters."), "missing")
    with transaction():
        provider = row_of(provider_id, lock=True)
        project_id = project_id or None
        tenant_id = _place_of(portal, actor, role, tenant_id or None, project_id)
        mapped = OidcGroupRole(provider_id=provider.id, group=group, tenant_id=tenant_id, project_id=project_id, role=role)
        same = (OidcGroupRole.group == group, OidcGroupRole.tenant_id == tenant_id, OidcGroupRole.project_id == project_id)
        if db.session.scalar(select(OidcGroupRole.id).where(OidcGroupRole.provider_id == provider.id, *same)):
            raise Invalid.field("group", _m("This group gives a role there already. Take that away first."), "taken")
        db.session.add(mapped)
        db.session.flush()
        message = _m(
            "The group %(group)s of %(title)s gives the role %(role)s now.", group=group, title=provider.title, role=role
        )
        _tell(portal, actor, "group_role.created", message, mapped)
        return next(found for found in groups(actor, provider.id) if found.id == mapped.id)


def _place_of(portal: Portal, actor: Actor, role: str, tenant_id: str | None, project_id: str | None) -> str | None:
    """The tenant where a group's role holds; None for a role over the whole portal."""
    if project_id is not None:
        project = get_or_404(Project, project_id, actor, MEMBER_MANAGE)
        if tenant_id not in (None, project.tenant_id):
            raise Invalid.field("project", _m("This project belongs to another organisation."))
        tenant_id = project.tenant_id
    if tenant_id is None:
        if role not in PORTAL_ROLES:
            raise Invalid.field("tenant", _m("The role %(role)s holds inside an organisation; name one.", role=role), "missing")
        return None
    tenant_for(actor, tenant_id, MEMBER_MANAGE, lock=True)
    check_givable(portal, actor, tenant_id, role, Scope(tenant_id, project_id))
    if project_id is not None and role == "guest":
        raise Invalid.field("role", _m("A guest has no rights, so there is nothing to give. Choose another role."))
    return tenant_id


def map_named(
    portal: Portal, actor: Actor, provider_id: str, group: str, role: str, *, tenant: str = "", project: str = ""
) -> GroupRole:
    """As `map_group`, with names or ids as people write them."""
    require(actor)
    tenant_id = tenant_named(actor, tenant) if tenant.strip() else None
    project_id = None
    if project.strip():
        if tenant_id is None:
            raise Invalid.field("tenant", _m("Name the organisation of the project too."), "missing")
        named = or_(Project.id == project.strip(), Project.name == project.strip())
        project_id = db.session.scalar(select(Project.id).where(Project.tenant_id == tenant_id, named))
        if project_id is None:
            raise Invalid.field(
                "project", _m("There is no project named %(strip)s there.", strip=repr(project.strip())), "unknown"
            )
    return map_group(portal, actor, provider_id, group, role, tenant_id=tenant_id, project_id=project_id)


def unmap(portal: Portal, actor: Actor, provider_id: str, mapping_id: str) -> None:
    """What it gave is gone at once; what another group of the same person gives comes with their next sign-in."""
    require(actor)
    with transaction():
        provider = row_of(provider_id, lock=True)
        mapped = db.session.get(OidcGroupRole, mapping_id)
        if mapped is None or mapped.provider_id != provider.id:
            raise NotFound(_m("There is no such group here."))
        following.take_back(provider, mapped)
        message = _m(
            "The group %(group)s of %(title)s gives the role %(role)s no more.",
            group=mapped.group,
            title=provider.title,
            role=mapped.role,
        )
        _tell(portal, actor, "group_role.removed", message, mapped)
        db.session.delete(mapped)


def _tell(portal: Portal, actor: Actor, kind: str, message: str, mapped: OidcGroupRole) -> None:
    data = {"group_role_id": mapped.id, "group": mapped.group, "role": mapped.role, "project_id": mapped.project_id}
    record(portal, kind, actor=actor, tenant_id=mapped.tenant_id, message=message, level="warning", data=data)
