"""Alembic's environment, run by Flask-Migrate inside an app context."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import Connection

from clawportal.db import UTCDateTime, db


def _render(kind: str, item: Any, _autogen: Any) -> str | bool:
    """Migrations must not import the code of today: our own column type is a plain DateTime in the database."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UTCDateTime) else False


@contextlib.contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """SQLite changes a table by copying and dropping it, and dropping it would delete every row that refers to it."""
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = connection.connection.dbapi_connection  # not through SQLAlchemy: its BEGIN would make the pragma void
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
        lost = raw.execute("PRAGMA foreign_key_check").fetchall()
        if lost:
            raise RuntimeError(f"the migration left rows that refer to nothing: {lost[:5]}")
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


def run() -> None:
    engine = current_app.extensions["migrate"].db.engine
    with engine.connect() as connection, _without_foreign_keys(connection):
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_as_batch=True,  # SQLite changes tables by copying them
            render_item=_render,
            compare_type=False,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
