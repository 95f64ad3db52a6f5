"""Filters of the list of instances that people save, and which of them the list begins with.

Revision: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_OWN, _SHARED = sa.text("tenant_id IS NULL"), sa.text("tenant_id IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "saved_filter",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=True),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("project_id", sa.String(length=26), nullable=True),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_saved_filter_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_saved_filter_tenant_id_tenant"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_saved_filter_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_filter")),
    )
    op.create_index(
        "uq_saved_filter_own_name", "saved_filter", ["user_id", "name"], unique=True, sqlite_where=_OWN, postgresql_where=_OWN
    )
    op.create_index(
        "uq_saved_filter_shared_name", "saved_filter", ["tenant_id", "name"], unique=True,
        sqlite_where=_SHARED, postgresql_where=_SHARED,
    )  # fmt: skip
    op.create_table(
        "default_filter",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("filter_id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_default_filter_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["filter_id"], ["saved_filter.id"], name=op.f("fk_default_filter_filter_id_saved_filter"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_default_filter")),
    )


def downgrade() -> None:
    op.drop_table("default_filter")
    op.drop_table("saved_filter")
