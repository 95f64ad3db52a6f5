"""The permissions of the core and the bundled plugins, and what the built-in roles hold of them, for truth tables."""

from __future__ import annotations

from clawportal import pluginmanager

CORE = pluginmanager.load(pluginmanager.BUNDLED).permissions
ROLES = CORE.roles
