"""Rights, grants and who acts."""

from __future__ import annotations

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
    "PORTAL_ROLES",
    "ROLE_WORDS",
    "SELF",
    "SYSTEM",
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
