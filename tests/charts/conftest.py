"""Portals on both databases for the tests of charts."""

from __future__ import annotations

from tests.core.conftest import both, database_url, make_world, postgres, still

__all__ = ["both", "database_url", "make_world", "postgres", "still"]
