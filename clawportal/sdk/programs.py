"""How a plugin starts a program of its own, also where the portal is one file and `sys.executable` is no Python."""

from __future__ import annotations

from clawportal.paths import script, script_environment

__all__ = [
    "script",
    "script_environment",
]
