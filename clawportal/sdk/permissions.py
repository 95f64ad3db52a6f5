"""Rights, grants and who acts."""

from __future__ import annotations

from clawportal.contracts.permissions import (
    DESCRIPTIONS,
    EVERYWHERE,
    PORTAL_ONLY,
    PORTAL_ROLES,
    ROLE_WORDS,
    ROLES,
    SYSTEM,
    Actor,
    Grant,
    Permission,
    Scope,
    custom_permissions,
    narrowed,
    role_grants,
    without_second_factor,
)

__all__ = [
    "DESCRIPTIONS",
    "EVERYWHERE",
    "PORTAL_ONLY",
    "PORTAL_ROLES",
    "ROLES",
    "ROLE_WORDS",
    "SYSTEM",
    "Actor",
    "Grant",
    "Permission",
    "Scope",
    "custom_permissions",
    "narrowed",
    "role_grants",
    "without_second_factor",
]
