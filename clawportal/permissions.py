"""What may be done, and how a list of grants decides it.

Pure rules: no tables, no request. `services.access` is the only place where these rules meet rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    INSTANCE_READ = "instance.read"
    INSTANCE_CREATE = "instance.create"
    INSTANCE_UPDATE = "instance.update"
    INSTANCE_OPERATE = "instance.operate"
    INSTANCE_KILL = "instance.kill"
    INSTANCE_DELETE = "instance.delete"
    INSTANCE_LOGS = "instance.logs"
    INSTANCE_CHAT = "instance.chat"
    OPERATION_READ = "operation.read"
    OPERATION_CONTROL = "operation.control"
    EVENT_READ = "event.read"
    CATALOG_READ = "catalog.read"
    PORTAL_READ = "portal.read"
    PORTAL_ADMIN = "portal.admin"
    SELF = "self"


DESCRIPTIONS: dict[Permission, str] = {
    Permission.INSTANCE_READ: "See instances, their state and their configuration (secrets masked)",
    Permission.INSTANCE_CREATE: "Create instances",
    Permission.INSTANCE_UPDATE: "Change the configuration of instances",
    Permission.INSTANCE_OPERATE: "Start, stop and restart instances",
    Permission.INSTANCE_KILL: "End instances at once, without asking them",
    Permission.INSTANCE_DELETE: "Delete instances and their data",
    Permission.INSTANCE_LOGS: "Read the logs of instances",
    Permission.INSTANCE_CHAT: "Chat with instances",
    Permission.OPERATION_READ: "See operations and their progress",
    Permission.OPERATION_CONTROL: "Cancel and retry operations",
    Permission.EVENT_READ: "Read the timeline of events",
    Permission.CATALOG_READ: "See the kinds of claw and runtime that can be used",
    Permission.PORTAL_READ: "See the portal's plugins, health and settings",
    Permission.PORTAL_ADMIN: "Change the portal's settings",
    Permission.SELF: "Use one's own account: sign out, tokens, language, theme",
}

_READ = frozenset({
    Permission.INSTANCE_READ, Permission.OPERATION_READ, Permission.EVENT_READ, Permission.CATALOG_READ, Permission.SELF,
})  # fmt: skip
_USE = _READ | {Permission.INSTANCE_LOGS, Permission.INSTANCE_CHAT}
_OPERATE = _USE | {Permission.INSTANCE_OPERATE, Permission.INSTANCE_KILL, Permission.OPERATION_CONTROL}
_OWN = _OPERATE | {Permission.INSTANCE_CREATE, Permission.INSTANCE_UPDATE, Permission.INSTANCE_DELETE}

ROLES: dict[str, frozenset[Permission]] = {
    "viewer": _READ,
    "developer": _USE | {Permission.INSTANCE_CREATE, Permission.INSTANCE_UPDATE, Permission.INSTANCE_OPERATE},
    "operator": _OPERATE,
    "tenant-admin": _OWN,
    "portal-admin": frozenset(Permission),
}
"""Built-in roles. `portal-admin` is granted for all tenants, the others inside one."""

EVERYWHERE = "portal-admin"


@dataclass(frozen=True)
class Grant:
    """Permissions inside a scope. None means: not narrowed at this level."""

    permissions: frozenset[Permission]
    tenant_id: str | None = None
    project_id: str | None = None
    instance_id: str | None = None
    source: str = ""
    """Why it exists, in words: `role operator in tenant acme`."""

    def covers(self, scope: Scope) -> bool:
        return (
            self.tenant_id in (None, scope.tenant_id)
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
    grants: tuple[Grant, ...] = ()
    language: str = ""
    theme: str = ""
    token_id: str | None = None

    def allows(self, permission: Permission, scope: Scope) -> bool:
        return any(permission in grant.permissions and grant.covers(scope) for grant in self.grants)

    def granted(self, permission: Permission) -> tuple[Grant, ...]:
        """The grants that give a permission, wherever it is."""
        return tuple(grant for grant in self.grants if permission in grant.permissions)

    def has(self, permission: Permission) -> bool:
        """Whether it is granted anywhere; for menus, never for rows."""
        return bool(self.granted(permission))


SYSTEM = Actor(id="system", name="clawportal", kind="system", grants=(Grant(frozenset(Permission), source="the portal itself"),))
"""The portal acting by itself, in jobs and commands on the server."""


def role_grants(role: str, tenant_id: str | None, source: str) -> Iterable[Grant]:
    """Grants of one role; an unknown role gives nothing, and neither does one that needs a tenant and has none."""
    permissions = ROLES.get(role)
    if permissions and (role == EVERYWHERE or tenant_id is not None):
        yield Grant(permissions, tenant_id=None if role == EVERYWHERE else tenant_id, source=source)
