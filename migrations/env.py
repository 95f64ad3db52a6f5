"""Alembic's environment, run by Flask-Migrate inside an app context."""

from __future__ import annotations

from typing import Any

from alembic import context
from flask import current_app

from clawportal.db import UTCDateTime, db


def _render(kind: str, item: Any, _autogen: Any) -> str | bool:
    """Migrations must not import the code of today: our own column type is a plain DateTime in the database."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UTCDateTime) else False


def run() -> None:
    engine = current_app.extensions["migrate"].db.engine
    with engine.connect() as connection:
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
