"""Brings the tables of a portal under test up, with migrations instead of `create_all`. Needs an app context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from flask import Flask

from clawportal import histories
from clawportal.db import db
from clawportal.histories import History
from clawportal.services.system import legacy_tables, migrations
from clawportal.settings import Settings
from tests.conftest import portal_of
from tests.core.world import make_core


class Bare:
    """A portal on a database that may have no tables yet."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.app = make_core(Settings(data_dir=folder, database_url=database_url, jobs=False, log_level="warning"))
        self.portal = portal_of(self.app)

    @contextmanager
    def context(self) -> Iterator[None]:
        with self.app.app_context():
            try:
                yield
            finally:
                db.session.remove()

    def close(self) -> None:
        with self.app.app_context():
            db.engine.dispose()


def upgrade_all(app: Flask) -> tuple[History, ...]:
    """The tables of every feature of this portal, as an operator's command makes them."""
    found = histories.of(portal_of(app).registry.features)
    migrations.upgrade(found)
    return found


def legacy(direction: str, revision: str) -> None:
    """Tables as they were when all features shared one history."""
    with migrations.opened() as connection:
        getattr(command, direction)(migrations.config(legacy_tables.history(), connection), revision)
