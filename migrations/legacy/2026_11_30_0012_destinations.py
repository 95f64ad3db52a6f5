"""The address that a stored key was entered for.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("instance_secret", "tenant_secret"):
        op.add_column(table, sa.Column("goes_to", sa.Text(), nullable=True))


def downgrade() -> None:
    for table in ("instance_secret", "tenant_secret"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_column("goes_to")
