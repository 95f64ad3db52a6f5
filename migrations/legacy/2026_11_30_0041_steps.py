"""What an operation did, and when.

Revision ID: 0041
Revises: 0031
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("operation") as batch_op:
        batch_op.add_column(sa.Column("steps", sa.JSON(), server_default="[]", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("operation") as batch_op:
        batch_op.drop_column("steps")
