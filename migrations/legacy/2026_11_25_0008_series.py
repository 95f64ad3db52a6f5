"""Measurements over time, packed into rows.

Revision: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sample_chunk",
        sa.Column("instance_id", sa.String(26), nullable=False),
        sa.Column("tier", sa.SmallInteger(), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name="fk_sample_chunk_instance_id_instance", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("instance_id", "tier", "start", name="pk_sample_chunk"),
    )
    op.create_index("ix_sample_chunk_tier_start", "sample_chunk", ["tier", "start"])


def downgrade() -> None:
    op.drop_index("ix_sample_chunk_tier_start", table_name="sample_chunk")
    op.drop_table("sample_chunk")
