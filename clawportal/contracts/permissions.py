"""What may be done, and how a list of grants decides it.

Pure rules: no tables, no request. `services.rights.access` is the only place where these rules meet rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from clawportal.messages import _m

_NAME = re.compile(r"^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*){0,3}$")

ROLE_WORDS: dict[str, str] = {
    "guest": _m("Sees only what is shared with them"),
    "viewer": _m("Looks at everything, changes nothing"),
    "developer": _m("Creates, changes, starts and stops claws and talks to them"),
    "operator": _m("Keeps claws running: starts, stops, kills, reads logs"),
    "auditor": _m("Reads everything including logs and who may do what, changes nothing"),
    "tenant-admin": _m("Does everything inside the organisation, members included"),
    "portal-auditor": _m("Reads everything in every organisation, changes nothing"),
    "portal-admin": _m("Does everything everywhere"),
}
"""The built-in roles. Which permissions they hold follows from the features that are loaded: see `PermissionRegistry`."""

_ROLE_NAMES: dict[str, str] = {
    name: name
    for name in (
        _m("guest"), _m("viewer"), _m("developer"), _m("operator"), _m("auditor"), _m("tenant-admin"), _m("portal-auditor"),
        _m("portal-admin"),
    )
}  # fmt: skip

EVERYWHERE = "portal-admin"
PORTAL_ROLES = frozenset({EVERYWHERE, "portal-auditor"})
"""Built-in roles that are granted for all tenants; the others hold inside one."""


def role_name(role: str) -> str:
    """A role inside of a sentence; one that an organisation made keeps its name."""
    return _ROLE_NAMES.get(role, role)


class Permission(str):
    """The public name of a permission, such as `instance.read`, with what its feature declares about it.

    Equal to its name, so that stored names and declarations compare. Make one with `permission(...)`.
    """

    description: str
    """What it lets somebody do, for people."""
    roles: frozenset[str]
    """Built-in roles that hold it. `portal-auditor` holds what `auditor` holds, `portal-admin` everything."""
    portal_only: bool
    """About the portal itself: no role that holds inside a tenant can have it, whoever made it."""
    touches_workload: bool
    """Changes or enters what runs: refused for instances that the portal only observes, whoever asks."""

    def __new__(
        cls,
        name: str,
        description: str = "",
        roles: Iterable[str] = (),
        portal_only: bool = False,
        touches_workload: bool = False,
    ) -> Permission:
        made = super().__new__(cls, name)
        made.description = description
        made.roles = frozenset(roles)
        made.portal_only = portal_only
        made.touches_workload = touches_workload
        return made


def permission(
    name: str, description: str, *, roles: Iterable[str] = (), portal_only: bool = False, touches_workload: bool = False
) -> Permission:
    """Declare a permission; ValueError for a name, role or combination that cannot be.

    `roles`: built-in roles that hold it, none of which may hold inside a tenant where it is `portal_only`.
    """
    made = Permission(name, description, roles, portal_only, touches_workload)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a permission: write small letters with dots between, such as skills.publish.")
    if not description:
        raise ValueError(f"{name}: say in a sentence what this permission lets somebody do.")
    unknown = sorted(made.roles - (set(ROLE_WORDS) - {EVERYWHERE}))
    if unknown:
        raise ValueError(f"{name}: {', '.join(unknown)} cannot be given a permission. Known: {', '.join(ROLE_WORDS)}.")
    inside = sorted(made.roles - PORTAL_ROLES)
    if portal_only and inside:
        raise ValueError(f"{name} is about the portal itself, so {', '.join(inside)} cannot have it inside an organisation.")
    return made


SELF: Final = permission(
    "self", _m("Use one's own account: sign out, tokens, language, theme"), roles=set(ROLE_WORDS) - PORTAL_ROLES
)
"""Everybody has it; it says nothing about what else somebody may do."""


def described(permissions: Iterable[Permission]) -> list[tuple[str, str]]:
    """Name and description of each."""
    return [(str(one), one.description) for one in permissions]


class Everything:
    """Holds each permission that there is or will be. Not enumerated, so a plugin that comes later is included."""

    def __contains__(self, permission: object) -> bool:
        return isinstance(permission, str)

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = Everything()
"""What administrators of the portal and the portal itself hold."""

PermissionSet = frozenset[Permission] | Everything


@dataclass(frozen=True, eq=False)
class PermissionRegistry:
    """The permissions of the features that are loaded, and what the built-in roles hold of them. Each app has its own."""

    declared: tuple[Permission, ...]
    """In the order in which people see them."""
    roles: Mapping[str, PermissionSet] = field(init=False)
    """Built-in roles in the order of `ROLE_WORDS`."""
    givable: tuple[Permission, ...] = field(init=False)
    """What a role that people make can be made of."""
    _by_name: dict[str, Permission] = field(init=False)

    def __post_init__(self) -> None:
        by_name: dict[str, Permission] = {}
        for one in self.declared:
            if by_name.setdefault(str(one), one) is not one:
                raise ValueError(f"The permission {one} is declared twice. Give one of the two another name.")
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(self, "roles", {name: self._built_in(name) for name in ROLE_WORDS})
        object.__setattr__(self, "givable", tuple(one for one in self.declared if not one.portal_only and one != SELF))

    def _built_in(self, role: str) -> PermissionSet:
        if role == EVERYWHERE:
            return ALL
        named = {role, "auditor"} if role == "portal-auditor" else {role}
        return frozenset(one for one in self.declared if one.roles & named)

    def __iter__(self) -> Iterator[Permission]:
        return iter(self.declared)

    def find(self, name: str) -> Permission | None:
        """The permission of that name; None where no loaded feature declares it."""
        return self._by_name.get(name)

    def enumerate(self, *held: PermissionSet) -> tuple[Permission, ...]:
        """Those that at least one of these sets holds, in order."""
        return tuple(one for one in self.declared if any(one in permissions for permissions in held))

    def custom(self, names: Iterable[str]) -> frozenset[Permission]:
        """Permissions of a role that people made: what no loaded feature declares, or is beyond a tenant, gives nothing."""
        known = (self._by_name.get(name) for name in names)
        return frozenset(one for one in known if one is not None and not one.portal_only) | {SELF}

    def absent(self, names: Collection[str]) -> tuple[str, ...]:
        """The names that no loaded feature declares: they are kept, and mean something again when their plugin is back."""
        return tuple(sorted(name for name in names if name not in self._by_name))

    def meaning(self, role: str, custom: Iterable[str] | None = None) -> PermissionSet | None:
        """What a role holds; `custom`: the names in a role that people made. None for a role that nobody knows."""
        return self.roles.get(role) or (self.custom(custom) if custom is not None else None)

    def role_grants(self, role: str, tenant_id: str | None, source: str, custom: Iterable[str] | None = None) -> Iterator[Grant]:
        """Grants of one role; an unknown role gives nothing, nor does one that needs a tenant and has none, nor a role of the
        whole portal that somebody got into a tenant: no row of a tenant may ever reach beyond it.

        `custom`: the names in a role that is not built in.
        """
        permissions = self.meaning(role, custom)
        if permissions and (role in PORTAL_ROLES) is (tenant_id is None):
            yield Grant(permissions, tenant_id=tenant_id, source=source)


@dataclass(frozen=True)
class Grant:
    """Permissions inside a scope. None means: not narrowed at this level."""

    permissions: PermissionSet
    tenant_id: str | None = None
    project_id: str | None = None
    instance_id: str | None = None
    source: str = ""
    """Why it exists, in words: `role operator in tenant acme`."""
    except_tenants: frozenset[str] = frozenset()
    """Tenants that it does not reach, though it is not narrowed to one: they ask for a second factor that is not there."""

    @property
    def beyond_own_account(self) -> bool:
        """Whether it gives more than the use of one's own account."""
        return isinstance(self.permissions, Everything) or bool(self.permissions - {SELF})

    @property
    def everywhere(self) -> bool:
        """Whether it is narrowed to nothing at all."""
        return not (self.tenant_id or self.project_id or self.instance_id or self.except_tenants)

    def covers(self, scope: Scope) -> bool:
        return (
            self.tenant_id in (None, scope.tenant_id)
            and scope.tenant_id not in self.except_tenants
            and self.project_id in (None, scope.project_id)
            and self.instance_id in (None, scope.instance_id)
        )


@dataclass(frozen=True)
class Scope:
    """Where something is: the ids that a grant is held against."""

    tenant_id: str | None = None
    project_id: str | None = None
    instance_id: str | None = None


@dataclass(frozen=True)
class Actor:
    """Who acts: a person, a token of a person, or the portal itself."""

    id: str
    name: str
    kind: str = "user"
    """`user` for somebody who signed in, `token` for a token of theirs, `service` for a service account, or `system`."""
    grants: tuple[Grant, ...] = ()
    language: str = ""
    theme: str = ""
    token_id: str | None = None
    inside: str | None = None
    """Id of the tenant that this actor chose to be in; every grant is narrowed to it."""
    visiting: bool = False
    """In that tenant by a right over the whole portal, not as a member."""
    password_given: bool = False
    """Somebody else made this person's password and knows it: nothing can be done before it is changed."""
    withheld: tuple[Grant, ...] = ()
    """What would hold if this person had a second factor: grants in tenants that ask for one."""
    asking: tuple[str, ...] = ()
    """Ids of those tenants."""

    def allows(self, permission: Permission, scope: Scope) -> bool:
        return any(permission in grant.permissions and grant.covers(scope) for grant in self.grants)

    def holds(self, name: str, scope: Scope) -> bool:
        """The same for a name that is stored with a row. The right to one's own account is no reason to read rows of others."""
        held = (grant for grant in self.grants if grant.covers(scope))
        if name == SELF:
            return any(isinstance(grant.permissions, Everything) for grant in held)
        return any(name in grant.permissions for grant in held)

    def with_second_factor(self) -> Actor:
        """The same person, had they set up what is asked for. Only for telling why something is refused."""
        return replace(self, grants=(*self.grants, *self.withheld), withheld=())

    def granted(self, permission: Permission) -> tuple[Grant, ...]:
        """The grants that give a permission, wherever it is."""
        return tuple(grant for grant in self.grants if permission in grant.permissions)

    def has(self, permission: Permission) -> bool:
        """Whether it is granted anywhere; for menus, never for rows."""
        return bool(self.granted(permission))


SYSTEM = Actor(id="system", name="clawportal", kind="system", grants=(Grant(ALL, source="the portal itself"),))
"""The portal acting by itself, in jobs and commands on the server."""


def narrowed(actor: Actor, tenant_id: str) -> Actor:
    """The same person inside one tenant: nothing outside it can be seen or done."""
    member = any(grant.tenant_id == tenant_id for grant in (*actor.grants, *actor.withheld))
    kept, withheld = _inside(actor.grants, tenant_id), _inside(actor.withheld, tenant_id)
    asking = tuple(one for one in actor.asking if one == tenant_id)
    return replace(actor, grants=kept, withheld=withheld, asking=asking, inside=tenant_id, visiting=not member)


def _inside(grants: Iterable[Grant], tenant_id: str) -> tuple[Grant, ...]:
    found = (grant for grant in grants if grant.tenant_id in (None, tenant_id) and tenant_id not in grant.except_tenants)
    return tuple(replace(grant, tenant_id=tenant_id, except_tenants=frozenset()) for grant in found)


def without_second_factor(actor: Actor, asking: frozenset[str]) -> Actor:
    """The actor with all that stays withheld in the tenants that ask for a second factor."""
    kept: list[Grant] = []
    withheld: list[Grant] = []
    for grant in actor.grants:
        everywhere = grant.tenant_id is None and grant.beyond_own_account
        if grant.tenant_id in asking or everywhere:
            withheld.append(grant)
        if grant.tenant_id not in asking:
            kept.append(replace(grant, except_tenants=asking) if everywhere else grant)
    reached = {grant.tenant_id for grant in withheld}
    named = tuple(sorted(asking if None in reached else asking & reached))
    return replace(actor, grants=tuple(kept), withheld=tuple(withheld), asking=named)
