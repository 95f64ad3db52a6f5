"""How many instances are in which state is read from an index alone.

Revision ID: 0061
Revises: 0051
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0051"
branch_labels = None
depends_on = None

_LIVE = sa.text("destroyed_at IS NULL")
_COLUMNS = ["phase", "health", "sync", "desired", "crashes", "tenant_id", "destroyed_at"]


def upgrade() -> None:
    op.create_index("ix_instance_live_state", "instance", _COLUMNS, sqlite_where=_LIVE, postgresql_where=_LIVE)


def downgrade() -> None:
    op.drop_index("ix_instance_live_state", table_name="instance", sqlite_where=_LIVE, postgresql_where=_LIVE)
