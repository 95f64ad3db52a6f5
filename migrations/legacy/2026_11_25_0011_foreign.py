"""Instances that somebody else made: imported, observed, and adopted as they are.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_LIVE = sa.text("foreign_id <> '' AND destroyed_at IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("instance") as batch_op:
        batch_op.add_column(sa.Column("foreign_id", sa.String(length=200), server_default="", nullable=False))
        batch_op.add_column(sa.Column("foreign", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("managed", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.create_index(
        "uq_instance_foreign_id_live", "instance", ["foreign_id"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )


def downgrade() -> None:
    op.drop_index("uq_instance_foreign_id_live", table_name="instance", sqlite_where=_LIVE, postgresql_where=_LIVE)
    with op.batch_alter_table("instance") as batch_op:
        for name in ("managed", "foreign", "foreign_id"):
            batch_op.drop_column(name)
