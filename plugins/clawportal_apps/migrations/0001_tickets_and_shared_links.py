"""Tickets that lead to claws' pages, and links that are shared.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

INSTANCE, TENANT, USER = ["instance.id"], ["tenant.id"], ["user_account.id"]

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "apps_ticket",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("ends_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["instance_id"], INSTANCE, name=op.f("fk_apps_ticket_instance_id_instance"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], TENANT, name=op.f("fk_apps_ticket_tenant_id_tenant"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apps_ticket")),
    )
    op.create_index("ix_apps_ticket_ends_at", "apps_ticket", ["ends_at"])
    op.create_table(
        "apps_share",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("port", sa.String(length=40), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ends_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["instance_id"], INSTANCE, name=op.f("fk_apps_share_instance_id_instance"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], TENANT, name=op.f("fk_apps_share_tenant_id_tenant"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], USER, name=op.f("fk_apps_share_user_id_user_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_apps_share")),
    )
    op.create_index("ix_apps_share_instance_id", "apps_share", ["instance_id"])

    op.create_table(
        "apps_port",
        sa.Column("port", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], TENANT, name=op.f("fk_apps_port_tenant_id_tenant"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("port", name=op.f("pk_apps_port")),
        sa.UniqueConstraint("instance_id", "name", name=op.f("uq_apps_port_instance_id_name")),
    )


def downgrade() -> None:
    op.drop_table("apps_port")
    op.drop_table("apps_share")
    op.drop_table("apps_ticket")
