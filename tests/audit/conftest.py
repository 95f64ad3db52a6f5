"""Portals whose audit is looked at: without pages on both databases, and with pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select

from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.models import AuditEntry
from clawportal.origin import Origin, during
from tests.core.conftest import both, database_url, make_world, postgres, still, travel, world
from tests.core.world import World

__all__ = ["both", "database_url", "make_world", "postgres", "still", "travel", "world"]

HERE = Origin("api", "192.0.2.7", "tests/1", "request-1")


@contextmanager
def asked(world: World, where: Origin = HERE) -> Iterator[Portal]:
    """As if a request were being answered."""
    with world.context() as portal, during(where):
        yield portal


def entries(app_or_world: Any) -> list[AuditEntry]:
    """All of them, oldest first."""
    app = getattr(app_or_world, "app", app_or_world)
    with app.app_context():
        return list(db.session.scalars(select(AuditEntry).order_by(AuditEntry.seq)))
