"""What may be done, and how a list of grants decides it.

Pure rules: no tables, no request. `services.access` is the only place where these rules meet rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    INSTANCE_CONSOLE = "instance.console"
    INSTANCE_CONNECT = "instance.connect"
    INSTANCE_FILES_READ = "instance.files.read"
    INSTANCE_FILES_WRITE = "instance.files.write"
    OPERATION_READ = "operation.read"
    OPERATION_CONTROL = "operation.control"
    EVENT_READ = "event.read"
    CATALOG_READ = "catalog.read"
    CLUSTER_READ = "cluster.read"
    CLUSTER_MANAGE = "cluster.manage"
    INSTANCE_SHARE = "instance.share"
    TENANT_READ = "tenant.read"
    TENANT_CREATE = "tenant.create"
    TENANT_UPDATE = "tenant.update"
    TENANT_DELETE = "tenant.delete"
    PROJECT_MANAGE = "project.manage"
    MEMBER_READ = "member.read"
    MEMBER_MANAGE = "member.manage"
    ROLE_MANAGE = "role.manage"
    QUOTA_READ = "quota.read"
    QUOTA_MANAGE = "quota.manage"
    QUOTA_PROJECT = "quota.project"
    POLICY_READ = "policy.read"
    POLICY_MANAGE = "policy.manage"
    USER_MANAGE = "user.manage"
    AUDIT_READ = "audit.read"
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
    Permission.INSTANCE_CONSOLE: "Open a console in instances: see their files and secrets, run commands",
    Permission.INSTANCE_CONNECT: "Reach the ports of instances from one's own machine",
    Permission.INSTANCE_FILES_READ: "List the files of instances and download them (secrets masked)",
    Permission.INSTANCE_FILES_WRITE: "Upload files into instances",
    Permission.OPERATION_READ: "See operations and their progress",
    Permission.OPERATION_CONTROL: "Cancel and retry operations",
    Permission.EVENT_READ: "Read the timeline of events",
    Permission.CATALOG_READ: "See the kinds of claw and runtime that can be used",
    Permission.CLUSTER_READ: "See the clusters that one's claws may run in, and whether they answer",
    Permission.CLUSTER_MANAGE: "Connect, change, pause and delete clusters",
    Permission.INSTANCE_SHARE: "Share instances with other members",
    Permission.TENANT_READ: "See the organisation, its projects and its defaults",
    Permission.TENANT_CREATE: "Create organisations",
    Permission.TENANT_UPDATE: "Change the name and the defaults of the organisation",
    Permission.TENANT_DELETE: "Delete organisations with all that is in them",
    Permission.PROJECT_MANAGE: "Create, change and delete projects",
    Permission.MEMBER_READ: "See who belongs to the organisation and what each may do",
    Permission.MEMBER_MANAGE: "Add members, change their roles and remove them",
    Permission.ROLE_MANAGE: "Make roles out of rights",
    Permission.QUOTA_READ: "See quotas and what uses them",
    Permission.QUOTA_MANAGE: "Set the quotas of organisations",
    Permission.QUOTA_PROJECT: "Set the quotas of projects",
    Permission.POLICY_READ: "See the rules that claws have to keep, and try what they say",
    Permission.POLICY_MANAGE: "Write the rules that claws have to keep",
    Permission.USER_MANAGE: "Create and close accounts, and choose who administers the portal",
    Permission.AUDIT_READ: "Read who changed what, when and from where",
    Permission.PORTAL_READ: "See the portal's plugins, health and settings",
    Permission.PORTAL_ADMIN: "Change the portal's settings",
    Permission.SELF: "Use one's own account: sign out, tokens, language, theme",
}

_READ = frozenset({
    Permission.INSTANCE_READ, Permission.OPERATION_READ, Permission.EVENT_READ, Permission.CATALOG_READ, Permission.SELF,
    Permission.TENANT_READ, Permission.QUOTA_READ, Permission.POLICY_READ, Permission.CLUSTER_READ,
})  # fmt: skip
_USE = _READ | {Permission.INSTANCE_LOGS, Permission.INSTANCE_CHAT}
_OPERATE = _USE | {
    Permission.INSTANCE_OPERATE, Permission.INSTANCE_KILL, Permission.OPERATION_CONTROL, Permission.INSTANCE_FILES_READ,
}  # fmt: skip
_OWN = _OPERATE | {
    Permission.INSTANCE_CREATE, Permission.INSTANCE_UPDATE, Permission.INSTANCE_DELETE, Permission.INSTANCE_SHARE,
    Permission.INSTANCE_CONSOLE, Permission.INSTANCE_CONNECT, Permission.INSTANCE_FILES_WRITE,
    Permission.TENANT_UPDATE, Permission.PROJECT_MANAGE, Permission.MEMBER_READ, Permission.MEMBER_MANAGE,
    Permission.ROLE_MANAGE, Permission.QUOTA_PROJECT, Permission.AUDIT_READ, Permission.POLICY_MANAGE,
}  # fmt: skip
_AUDIT = _READ | {Permission.INSTANCE_LOGS, Permission.INSTANCE_FILES_READ, Permission.MEMBER_READ, Permission.AUDIT_READ}

ROLES: dict[str, frozenset[Permission]] = {
    "guest": frozenset({Permission.SELF}),
    "viewer": _READ,
    "developer": _USE | {
        Permission.INSTANCE_CREATE, Permission.INSTANCE_UPDATE, Permission.INSTANCE_OPERATE, Permission.INSTANCE_SHARE,
        Permission.INSTANCE_CONNECT, Permission.INSTANCE_FILES_READ, Permission.INSTANCE_FILES_WRITE,
    },
    "operator": _OPERATE,
    "auditor": _AUDIT,
    "tenant-admin": _OWN,
    "portal-auditor": _AUDIT | {Permission.PORTAL_READ},
    "portal-admin": frozenset(Permission),
}  # fmt: skip
"""Built-in roles. Those of PORTAL_ROLES are granted for all tenants, the others inside one."""

ROLE_WORDS: dict[str, str] = {
    "guest": "Sees only what is shared with them",
    "viewer": "Looks at everything, changes nothing",
    "developer": "Creates, changes, starts and stops claws and talks to them",
    "operator": "Keeps claws running: starts, stops, kills, reads logs",
    "auditor": "Reads everything including logs and who may do what, changes nothing",
    "tenant-admin": "Does everything inside the organisation, members included",
    "portal-auditor": "Reads everything in every organisation, changes nothing",
    "portal-admin": "Does everything everywhere",
}

EVERYWHERE = "portal-admin"
PORTAL_ROLES = frozenset({EVERYWHERE, "portal-auditor"})
PORTAL_ONLY = frozenset({
    Permission.TENANT_CREATE, Permission.TENANT_DELETE, Permission.QUOTA_MANAGE, Permission.USER_MANAGE,
    Permission.PORTAL_READ, Permission.PORTAL_ADMIN, Permission.CLUSTER_MANAGE,
})  # fmt: skip
"""Rights over the portal itself: no role that holds inside a tenant can have them, whoever made it."""


def custom_permissions(names: Iterable[str]) -> frozenset[Permission]:
    """Rights of a role that people made: what is unknown by now, or beyond a tenant, gives nothing."""
    known = {str(permission): permission for permission in Permission}
    return (frozenset(known[name] for name in names if name in known) - PORTAL_ONLY) | {Permission.SELF}


@dataclass(frozen=True)
class Grant:
    """Permissions inside a scope. None means: not narrowed at this level."""

    permissions: frozenset[Permission]
    tenant_id: str | None = None
    project_id: str | None = None
    instance_id: str | None = None
    source: str = ""
    """Why it exists, in words: `role operator in tenant acme`."""
    except_tenants: frozenset[str] = frozenset()
    """Tenants that it does not reach, though it is not narrowed to one: they ask for a second factor that is not there."""

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

    def with_second_factor(self) -> Actor:
        """The same person, had they set up what is asked for. Only for telling why something is refused."""
        return replace(self, grants=(*self.grants, *self.withheld), withheld=())

    def granted(self, permission: Permission) -> tuple[Grant, ...]:
        """The grants that give a permission, wherever it is."""
        return tuple(grant for grant in self.grants if permission in grant.permissions)

    def has(self, permission: Permission) -> bool:
        """Whether it is granted anywhere; for menus, never for rows."""
        return bool(self.granted(permission))


SYSTEM = Actor(id="system", name="clawportal", kind="system", grants=(Grant(frozenset(Permission), source="the portal itself"),))
"""The portal acting by itself, in jobs and commands on the server."""


def role_grants(role: str, tenant_id: str | None, source: str, custom: Iterable[str] | None = None) -> Iterable[Grant]:
    """Grants of one role; an unknown role gives nothing, nor does one that needs a tenant and has none, nor a role of the
    whole portal that somebody got into a tenant: no row of a tenant may ever reach beyond it.

    `custom`: the rights of a role that is not built in.
    """
    permissions = ROLES.get(role) or (custom_permissions(custom) if custom is not None else None)
    if permissions and (role in PORTAL_ROLES) is (tenant_id is None):
        yield Grant(permissions, tenant_id=tenant_id, source=source)


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
        everywhere = grant.tenant_id is None and bool(grant.permissions - {Permission.SELF})
        if grant.tenant_id in asking or everywhere:
            withheld.append(grant)
        if grant.tenant_id not in asking:
            kept.append(replace(grant, except_tenants=asking) if everywhere else grant)
    reached = {grant.tenant_id for grant in withheld}
    named = tuple(sorted(asking if None in reached else asking & reached))
    return replace(actor, grants=tuple(kept), withheld=tuple(withheld), asking=named)
