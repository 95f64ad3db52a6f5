"""On SQLite the number of an event that was deleted is never given again. PostgreSQL has always been so.

Revision: 0004
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake(counts_on=True)
        _number_on_from(max(_highest(), _furthest_told()))


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake(counts_on=False)


def _remake(*, counts_on: bool) -> None:
    """SQLite changes a table by copying it; no trigger is at this one."""
    with op.batch_alter_table("event", recreate="always", table_kwargs={"sqlite_autoincrement": counts_on}):
        pass


def _highest() -> int:
    return op.get_bind().scalar(sa.text("SELECT max(seq) FROM event")) or 0


def _furthest_told() -> int:
    """Routes of notices know of events that are gone: what happens from now on stands behind those."""
    kept = op.get_bind().scalars(sa.text("SELECT value FROM portal_setting WHERE name LIKE 'notices.%'"))
    return max((int(json.loads(value)["seq"]) for value in kept), default=0)


def _number_on_from(seq: int) -> None:
    connection = op.get_bind()
    connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'event'"))
    connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', :seq)"), {"seq": seq})
