"""Lists read on from a place: their indexes end with what tells equal entries apart.

Revision ID: 0021
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0012"
branch_labels = None
depends_on = None

_LIVE = sa.text("destroyed_at IS NULL")
_COLUMNS = ("created_at", "name", "phase")


def _make(*more: str) -> None:
    for column in _COLUMNS:
        op.drop_index(f"ix_instance_live_{column}", table_name="instance", sqlite_where=_LIVE, postgresql_where=_LIVE)
        op.create_index(f"ix_instance_live_{column}", "instance", [column, *more], sqlite_where=_LIVE, postgresql_where=_LIVE)


def upgrade() -> None:
    _make("id")
    op.create_index("ix_operation_created_at_id", "operation", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_operation_created_at_id", table_name="operation")
    _make()
