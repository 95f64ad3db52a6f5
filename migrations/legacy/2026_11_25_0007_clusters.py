"""Clusters: who may use them, their secrets, what is known of them; and what instances need to start in an orderly way.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OBSERVED = (
    "capabilities",
    "capacity",
    "version",
    "last_contact_at",
    "health_since",
    "health_message",
    "health_reason",
    "health",
)
_DECIDED = ("updated_at", "revision", "paused_at", "cordoned", "policy", "all_tenants", "labels")


def upgrade() -> None:
    with op.batch_alter_table("cluster") as batch_op:
        batch_op.add_column(sa.Column("labels", sa.JSON(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("all_tenants", sa.Boolean(), server_default=sa.true(), nullable=False))
        batch_op.add_column(sa.Column("policy", sa.JSON(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("cordoned", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("paused_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False))
        batch_op.add_column(sa.Column("updated_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("health", sa.String(length=20), server_default="unknown", nullable=False))
        batch_op.add_column(sa.Column("health_reason", sa.String(length=80), server_default="", nullable=False))
        batch_op.add_column(sa.Column("health_message", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(sa.Column("health_since", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("last_contact_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("version", sa.String(length=200), server_default="", nullable=False))
        batch_op.add_column(sa.Column("capacity", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("capabilities", sa.JSON(), server_default="[]", nullable=False))
    op.create_table(
        "cluster_secret",
        sa.Column("cluster_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.id"], name="fk_cluster_secret_cluster_id_cluster", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cluster_id", "name", name="pk_cluster_secret"),
    )
    op.create_table(
        "cluster_tenant",
        sa.Column("cluster_id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["cluster.id"], name="fk_cluster_tenant_cluster_id_cluster", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_cluster_tenant_tenant_id_tenant", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cluster_id", "tenant_id", name="pk_cluster_tenant"),
    )
    op.create_index("ix_cluster_tenant_tenant_id", "cluster_tenant", ["tenant_id"])
    with op.batch_alter_table("instance") as batch_op:
        batch_op.add_column(sa.Column("priority", sa.Integer(), server_default=sa.text("1"), nullable=False))
        batch_op.add_column(sa.Column("turn_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("restarts_seen", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index(
        "ix_instance_turn",
        "instance",
        ["cluster_id"],
        sqlite_where=sa.text("turn_at IS NOT NULL"),
        postgresql_where=sa.text("turn_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_instance_turn", "instance")
    with op.batch_alter_table("instance") as batch_op:
        for column in ("restarts_seen", "turn_at", "priority"):
            batch_op.drop_column(column)
    op.drop_table("cluster_tenant")
    op.drop_table("cluster_secret")
    with op.batch_alter_table("cluster") as batch_op:
        for column in (*_OBSERVED, *_DECIDED):
            batch_op.drop_column(column)
