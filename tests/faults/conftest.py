"""The portals of the core's tests, for what goes wrong."""

from __future__ import annotations

from tests.core.conftest import make_memory, make_world, memory, postgres, still, travel, world

__all__ = ["make_memory", "make_world", "memory", "postgres", "still", "travel", "world"]
