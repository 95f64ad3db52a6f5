"""What a cluster proves about the wall between its claws, and since when it is offered to others without one.

What is offered to others stays so: it was decided before anybody knew, and is marked from now on.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_COLUMNS = ("trusted_by", "trusted_at", "separation_findings", "separation")


def upgrade() -> None:
    with op.batch_alter_table("cluster") as batch_op:
        batch_op.add_column(sa.Column("separation", sa.String(length=40), server_default="", nullable=False))
        batch_op.add_column(sa.Column("separation_findings", sa.JSON(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("trusted_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("trusted_by", sa.String(length=200), server_default="", nullable=False))
    cluster = sa.table("cluster", sa.column("trusted_at", sa.DateTime()))
    op.execute(cluster.update().values(trusted_at=datetime.now(UTC).replace(tzinfo=None)))


def downgrade() -> None:
    with op.batch_alter_table("cluster") as batch_op:
        for name in _COLUMNS:
            batch_op.drop_column(name)
