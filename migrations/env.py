"""Alembic's environment, one for all histories: `clawportal.services.system.migrations` says whose tables are meant."""

from __future__ import annotations

from alembic import context

context.configure(**context.config.attributes["options"])
with context.begin_transaction():
    context.run_migrations()
