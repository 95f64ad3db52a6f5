"""The permissions of the core, as constants; the features in `clawportal.features` declare them."""

from __future__ import annotations

from clawportal.contracts.permissions import permission
from clawportal.messages import _m

READERS = ("viewer", "developer", "operator", "auditor", "tenant-admin")
"""All that look at things; `portal-auditor` follows from `auditor`."""
USERS = ("developer", "operator", "tenant-admin")

INSTANCE_READ = permission(
    "instance.read", _m("See instances, their state and their configuration (secrets masked)"), roles=READERS
)
INSTANCE_CREATE = permission("instance.create", _m("Create instances"), roles=("developer", "tenant-admin"))
INSTANCE_UPDATE = permission(
    "instance.update", _m("Change the configuration of instances"), roles=("developer", "tenant-admin"), touches_workload=True
)
INSTANCE_OPERATE = permission("instance.operate", _m("Start, stop and restart instances"), roles=USERS, touches_workload=True)
INSTANCE_KILL = permission(
    "instance.kill", _m("End instances at once, without asking them"), roles=("operator", "tenant-admin"), touches_workload=True
)
INSTANCE_DELETE = permission(
    "instance.delete", _m("Delete instances and their data"), roles=("tenant-admin",), touches_workload=True
)
INSTANCE_LOGS = permission("instance.logs", _m("Read the logs of instances"), roles=(*USERS, "auditor"))
INSTANCE_CHAT = permission("instance.chat", _m("Chat with instances"), roles=USERS, touches_workload=True)
INSTANCE_CONSOLE = permission(
    "instance.console",
    _m("Open a console in instances: see their files and secrets, run commands"),
    roles=("tenant-admin",),
    touches_workload=True,
)
INSTANCE_CONNECT = permission(
    "instance.connect",
    _m("Reach the ports of instances from one's own machine"),
    roles=("developer", "tenant-admin"),
    touches_workload=True,
)
INSTANCE_FILES_READ = permission(
    "instance.files.read",
    _m("List the files of instances and download them (secrets masked)"),
    roles=(*USERS, "auditor"),
    touches_workload=True,
)
INSTANCE_FILES_WRITE = permission(
    "instance.files.write", _m("Upload files into instances"), roles=("developer", "tenant-admin"), touches_workload=True
)
OPERATION_READ = permission("operation.read", _m("See operations and their progress"), roles=READERS)
OPERATION_CONTROL = permission("operation.control", _m("Cancel and retry operations"), roles=("operator", "tenant-admin"))
EVENT_READ = permission("event.read", _m("Read the timeline of events"), roles=READERS)
CATALOG_READ = permission("catalog.read", _m("See the kinds of claw and runtime that can be used"), roles=READERS)
CONFIGS_READ = permission("configs.read", _m("See configuration templates and their versions"), roles=READERS)
CONFIGS_WRITE = permission("configs.write", _m("Write, restore and delete configuration templates"), roles=("tenant-admin",))
CLUSTER_READ = permission(
    "cluster.read", _m("See the clusters that one's claws may run in, and whether they answer"), roles=READERS
)
CLUSTER_MANAGE = permission("cluster.manage", _m("Connect, change, pause and delete clusters"), portal_only=True)
INSTANCE_SHARE = permission("instance.share", _m("Share instances with other members"), roles=("developer", "tenant-admin"))
FILTER_SHARE = permission("filter.share", _m("Share filters of the list of instances with the organisation"), roles=USERS)
TENANT_READ = permission("tenant.read", _m("See the organisation, its projects and its defaults"), roles=READERS)
TENANT_CREATE = permission("tenant.create", _m("Create organisations"), portal_only=True)
TENANT_UPDATE = permission("tenant.update", _m("Change the name and the defaults of the organisation"), roles=("tenant-admin",))
TENANT_DELETE = permission("tenant.delete", _m("Delete organisations with all that is in them"), portal_only=True)
PROJECT_MANAGE = permission("project.manage", _m("Create, change and delete projects"), roles=("tenant-admin",))
MEMBER_READ = permission(
    "member.read", _m("See who belongs to the organisation and what each may do"), roles=("auditor", "tenant-admin")
)
MEMBER_MANAGE = permission("member.manage", _m("Add members, change their roles and remove them"), roles=("tenant-admin",))
ROLE_MANAGE = permission("role.manage", _m("Make roles out of rights"), roles=("tenant-admin",))
QUOTA_READ = permission("quota.read", _m("See quotas and what uses them"), roles=READERS)
QUOTA_MANAGE = permission("quota.manage", _m("Set the quotas of organisations"), portal_only=True)
QUOTA_PROJECT = permission("quota.project", _m("Set the quotas of projects"), roles=("tenant-admin",))
USER_MANAGE = permission("user.manage", _m("Create and close accounts, and choose who administers the portal"), portal_only=True)
AUDIT_READ = permission("audit.read", _m("Read who changed what, when and from where"), roles=("auditor", "tenant-admin"))
PORTAL_READ = permission(
    "portal.read", _m("See the portal's plugins, health and settings"), roles=("portal-auditor",), portal_only=True
)
PORTAL_ADMIN = permission("portal.admin", _m("Change the portal's settings"), portal_only=True)
