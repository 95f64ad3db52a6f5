"""How the fleet did, by project.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "charts_sample",
        sa.Column("project_id", sa.String(length=26), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("running", "stopped", "failed", "changing", "starts", "failures", "exits")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_charts_sample_project_id_project"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_charts_sample_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "step", "at", name=op.f("pk_charts_sample")),
    )
    with op.batch_alter_table("charts_sample", schema=None) as batch_op:
        batch_op.create_index("ix_charts_sample_step_at", ["step", "at"], unique=False)


def downgrade() -> None:
    op.drop_table("charts_sample")
