"""Rights follow the groups that a provider names at each sign-in: given, changed and taken away; what was given by hand stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update

from clawportal.sdk import _m
from clawportal.sdk.data import db
from clawportal.sdk.errors import Conflict
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Portal, Project, Tenant
from clawportal.sdk.people import Invitation, Membership, RoleGrant, User, keep_an_admin, permissions_of_role
from clawportal.sdk.permissions import EVERYWHERE, PORTAL_ROLES, Actor
from clawportal_sso.models import OidcGroupRole, OidcProvider


@dataclass(frozen=True)
class _Given:
    """A role, and the group that gives it."""

    role: str
    group: str


@dataclass(frozen=True)
class _Follow:
    """One person at one sign-in."""

    portal: Portal
    provider: OidcProvider
    user: User

    @property
    def actor(self) -> Actor:
        return Actor(self.user.id, self.user.name)


def follow(portal: Portal, provider: OidcProvider, user: User, groups: Collection[str]) -> None:
    """Make somebody's rights those of their groups, inside the transaction of the sign-in."""
    rules = db.session.scalars(
        select(OidcGroupRole).where(OidcGroupRole.provider_id == provider.id).order_by(OidcGroupRole.created_at, OidcGroupRole.id)
    ).all()
    fitting = [rule for rule in rules if rule.group in groups]
    one, open_tenants = _Follow(portal, provider, user), _open_tenants(fitting)
    projects = {
        rule.project_id: (rule.tenant_id, _Given(rule.role, rule.group))
        for rule in reversed(_strongest_first(portal, fitting))
        if rule.project_id and rule.tenant_id in open_tenants
    }
    _memberships(one, _by_tenant(portal, fitting, open_tenants, projects))
    _portal_role(one, _best(portal, [rule for rule in fitting if rule.tenant_id is None and rule.role in PORTAL_ROLES]))
    _projects(one, projects)


def _open_tenants(rules: Sequence[OidcGroupRole]) -> set[str]:
    """Locked, so that none of them is deleted meanwhile."""
    ids = sorted({rule.tenant_id for rule in rules if rule.tenant_id})
    query = select(Tenant.id).where(Tenant.id.in_(ids), Tenant.deleting_at.is_(None)).order_by(Tenant.id).with_for_update()
    return set(db.session.scalars(query)) if ids else set()


def _strength(portal: Portal, rule: OidcGroupRole) -> int:
    """How many rights; a role that is gone gives none."""
    known = portal.permissions
    found = known.roles.get(rule.role) if rule.tenant_id is None else permissions_of_role(portal, rule.tenant_id, rule.role)
    return len(known.enumerate(found)) if found else 0


def _strongest_first(portal: Portal, rules: Sequence[OidcGroupRole]) -> list[OidcGroupRole]:
    """Of several groups that give a role in one place, the one with the most rights counts; of equal ones the oldest rule."""
    strengths = {rule.id: _strength(portal, rule) for rule in rules}
    return sorted((rule for rule in rules if strengths[rule.id]), key=lambda rule: strengths[rule.id], reverse=True)


def _best(portal: Portal, rules: Sequence[OidcGroupRole]) -> _Given | None:
    ordered = _strongest_first(portal, rules)
    return _Given(ordered[0].role, ordered[0].group) if ordered else None


def _by_tenant(
    portal: Portal, rules: Sequence[OidcGroupRole], open_tenants: set[str], projects: Mapping[str, tuple[str | None, _Given]]
) -> dict[str, _Given]:
    """Whoever has a role in a project only is a guest of its tenant: a role there needs a membership."""
    wanted: dict[str, _Given] = {}
    for tenant_id in open_tenants:
        best = _best(portal, [rule for rule in rules if rule.tenant_id == tenant_id and rule.project_id is None])
        if best is not None:
            wanted[tenant_id] = best
    for in_tenant, given in projects.values():
        if in_tenant is not None:
            wanted.setdefault(in_tenant, _Given("guest", given.group))
    return wanted


# ---- membership


def _memberships(one: _Follow, wanted: Mapping[str, _Given]) -> None:
    query = select(Membership).where(Membership.user_id == one.user.id, Membership.tenant_id.is_not(None))
    present = {row.tenant_id: row for row in db.session.scalars(query.with_for_update())}
    for tenant_id, given in wanted.items():
        row = present.get(tenant_id)
        if row is None:
            _join(one, tenant_id, given)
        elif row.source == one.provider.source and (row.role, row.source_group) != (given.role, given.group):
            _move(one, row, given)
    for row in present.values():
        # without a group it is what every new person of the provider got, which no group takes away
        if row.source == one.provider.source and row.source_group and row.tenant_id not in wanted:
            _leave(one, row)


def _join(one: _Follow, tenant_id: str, given: _Given) -> None:
    db.session.add(_membership(one, tenant_id, given))
    message = _m(
        "%(name)s joined with the role %(role)s, through the group %(group)s of %(title)s.",
        name=one.user.name,
        role=given.role,
        group=given.group,
        title=one.provider.title,
    )
    _tell(one, "member.added", tenant_id, message, role=given.role)


def _membership(one: _Follow, tenant_id: str | None, given: _Given) -> Membership:
    return Membership(
        user_id=one.user.id, tenant_id=tenant_id, role=given.role, source=one.provider.source, source_group=given.group,
        source_title=one.provider.title,
    )  # fmt: skip


def _move(one: _Follow, row: Membership, given: _Given) -> None:
    before, row.role, row.source_group = row.role, given.role, given.group
    title = one.provider.title
    message = _m(
        "%(name)s has the role %(role)s now, it was %(before)s, through the group %(group)s of %(title)s.",
        name=one.user.name,
        role=given.role,
        before=before,
        group=given.group,
        title=title,
    )
    _tell(one, "member.changed", row.tenant_id, message, before=before, after=given.role)


def _leave(one: _Follow, row: Membership) -> None:
    """As when a member is removed: with every role and invitation of theirs in this tenant."""
    for grant in db.session.scalars(
        select(RoleGrant).where(RoleGrant.tenant_id == row.tenant_id, RoleGrant.user_id == one.user.id)
    ).all():
        db.session.delete(grant)
    mine = (Invitation.tenant_id == row.tenant_id, Invitation.created_by_id == one.user.id)
    db.session.execute(delete(Invitation).where(*mine))
    db.session.delete(row)
    group = row.source_group
    message = _m(
        "%(name)s is no member any more: %(title)s does not name the group %(group)s.",
        name=one.user.name,
        title=one.provider.title,
        group=group,
    )
    _tell(one, "member.removed", row.tenant_id, message, before=row.role)


def _tell(one: _Follow, kind: str, tenant_id: str | None, message: str, **data: str) -> None:
    data["user_id"] = one.user.id
    record(one.portal, kind, actor=one.actor, tenant_id=tenant_id, message=message, data=data)


# ---- the whole portal


def _portal_role(one: _Follow, given: _Given | None) -> None:
    query = select(Membership).where(Membership.user_id == one.user.id, Membership.tenant_id.is_(None))
    row = db.session.scalar(query.with_for_update())
    if row is None:
        if given is not None:
            db.session.add(_membership(one, None, given))
            _tell_portal_role(one, "", given.role)
    elif row.source == one.provider.source:
        _follow_portal_role(one, row, given)


def _follow_portal_role(one: _Follow, row: Membership, given: _Given | None) -> None:
    before, after = row.role, given.role if given else ""
    if before == EVERYWHERE and after != EVERYWHERE:
        try:
            keep_an_admin({one.user.id})
        except Conflict:
            message = _m(
                "%(name)s stays the last administrator of the portal, although %(title)s does not say so.",
                name=one.user.name,
                title=one.provider.title,
            )
            record(one.portal, "user.role_kept", actor=one.actor, level="warning", message=message)
            return
    if given is None:
        db.session.delete(row)
    else:
        row.role, row.source_group = given.role, given.group
    if before != after:
        _tell_portal_role(one, before, after)


def _tell_portal_role(one: _Follow, before: str, after: str) -> None:
    name, title = one.user.name, one.provider.title
    if after:
        message = _m(
            "%(name)s has the role %(after)s in the whole portal now, as %(title)s names the groups.",
            name=name,
            after=after,
            title=title,
        )
    else:
        message = _m("%(name)s has no role in the whole portal any more, as %(title)s names the groups.", name=name, title=title)
    data = {"user_id": one.user.id, "before": before, "after": after}
    record(one.portal, "user.role_changed", actor=one.actor, level="warning", message=message, data=data)


# ---- projects


def _projects(one: _Follow, wanted: Mapping[str, tuple[str | None, _Given]]) -> None:
    db.session.flush()
    query = select(RoleGrant).where(RoleGrant.user_id == one.user.id, RoleGrant.project_id.is_not(None))
    present = {row.project_id: row for row in db.session.scalars(query.with_for_update())}
    for project_id, (tenant_id, given) in wanted.items():
        row = present.get(project_id)
        if row is None:
            row = RoleGrant(tenant_id=tenant_id, user_id=one.user.id, project_id=project_id, created_by=one.provider.title)
        elif row.source != one.provider.source or (row.role, row.source_group) == (given.role, given.group):
            continue
        row.role, row.source, row.source_group = given.role, one.provider.source, given.group
        db.session.add(row)
        _tell_project(
            one,
            "grant.given",
            row,
            _m("%(name)s has the role %(role)s on %(place)s now.", name=one.user.name, role=given.role, place=_name(project_id)),
        )
    for row in present.values():
        if row.source == one.provider.source and row.project_id not in wanted:
            db.session.delete(row)
            _tell_project(
                one,
                "grant.taken",
                row,
                _m(
                    "%(name)s lost the role %(role)s on %(place)s.",
                    name=one.user.name,
                    role=row.role,
                    place=_name(row.project_id),
                ),
            )


def _name(project_id: str | None) -> str:
    return db.session.scalar(select(Project.name).where(Project.id == project_id)) or ""


def _tell_project(one: _Follow, kind: str, row: RoleGrant, message: str) -> None:
    data = {"user_id": one.user.id, "role": row.role, "project_id": row.project_id, "group": row.source_group}
    record(one.portal, kind, actor=one.actor, tenant_id=row.tenant_id, message=message, data=data)


# ---- taken back


def take_all_back(provider: OidcProvider) -> None:
    """What its groups gave; what new people got with their account is theirs by hand from now on."""
    mine = (Membership.source == provider.source, Membership.source_group == "")
    db.session.execute(update(Membership).where(*mine).values(source="", source_title=""))
    _keep_an_admin(provider)
    _delete_all(select(Membership).where(Membership.source == provider.source))
    _delete_all(select(RoleGrant).where(RoleGrant.source == provider.source))


def take_back(provider: OidcProvider, mapped: OidcGroupRole) -> None:
    """The rights that people have through this group, there."""
    if mapped.project_id is None:
        if mapped.tenant_id is None and mapped.role == EVERYWHERE:
            _keep_an_admin(provider, Membership.source_group == mapped.group)
        mine = (Membership.source == provider.source, Membership.source_group == mapped.group)
        _delete_all(select(Membership).where(*mine, Membership.tenant_id == mapped.tenant_id))
    else:
        given = (RoleGrant.source == provider.source, RoleGrant.source_group == mapped.group)
        _delete_all(select(RoleGrant).where(*given, RoleGrant.project_id == mapped.project_id))


def _delete_all(query: Any) -> None:
    for row in list(db.session.scalars(query)):
        db.session.delete(row)
    db.session.flush()


def _keep_an_admin(provider: OidcProvider, *which: ColumnElement[bool]) -> None:
    mine = (Membership.tenant_id.is_(None), Membership.role == EVERYWHERE, Membership.source == provider.source)
    keep_an_admin(set(db.session.scalars(select(Membership.user_id).where(*mine, *which))))
