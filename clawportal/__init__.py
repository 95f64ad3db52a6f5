"""The public surface for plugin authors: the hook marker, and the modules `types`, `errors`, `adapters` and `testing`.

Everything else in this package may change between minor versions.
"""

from __future__ import annotations

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("clawportal")
"""Marks a function of a plugin as the implementation of a hook named in `clawportal.hookspecs`."""

__all__ = ["__version__", "hookimpl"]
