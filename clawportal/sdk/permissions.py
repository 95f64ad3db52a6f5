"""Rights, grants and who acts."""

from __future__ import annotations

from clawportal.contracts.core_permissions import INSTANCE_CHAT, INSTANCE_FILES_WRITE, INSTANCE_READ, READERS, TENANT_READ, USERS
from clawportal.contracts.permissions import (
    ALL,
    EVERYWHERE,
    PORTAL_ROLES,
    ROLE_WORDS,
    SELF,
    SYSTEM,
    Actor,
    Everything,
    Grant,
    Permission,
    PermissionRegistry,
    PermissionSet,
    Scope,
    narrowed,
    permission,
    without_second_factor,
)

__all__ = [
    "ALL",
    "EVERYWHERE",
    "INSTANCE_CHAT",
    "INSTANCE_FILES_WRITE",
    "INSTANCE_READ",
    "PORTAL_ROLES",
    "READERS",
    "ROLE_WORDS",
    "SELF",
    "SYSTEM",
    "TENANT_READ",
    "USERS",
    "Actor",
    "Everything",
    "Grant",
    "Permission",
    "PermissionRegistry",
    "PermissionSet",
    "Scope",
    "narrowed",
    "permission",
    "without_second_factor",
]
