"""The permissions of the core and what the built-in roles hold of them, for truth tables."""

from __future__ import annotations

from clawportal import declarations, features

CORE = declarations.permissions(tuple(features.register_features()))
ROLES = CORE.roles
