"""Portals for the tests of the practice model."""

from __future__ import annotations

from tests.core.conftest import make_world, still

__all__ = ["make_world", "still"]
