"""Tables of tenancy: defaults and deletion of tenants, custom roles, grants on projects and instances, invitations, quotas.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PORTAL = "tenant_id IS NULL"


def upgrade() -> None:
    with op.batch_alter_table("tenant") as batch_op:
        batch_op.add_column(sa.Column("allowed_adapters", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("default_cluster_id", sa.String(length=26), nullable=True))
        batch_op.add_column(sa.Column("deleting_at", sa.DateTime(), nullable=True))
        batch_op.create_foreign_key(
            "fk_tenant_default_cluster_id_cluster", "cluster", ["default_cluster_id"], ["id"], ondelete="SET NULL"
        )
    with op.batch_alter_table("project") as batch_op:
        batch_op.add_column(sa.Column("deleting_at", sa.DateTime(), nullable=True))
    with op.batch_alter_table("membership") as batch_op:
        batch_op.add_column(sa.Column("created_at", sa.DateTime(), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False))
        batch_op.create_index("ix_membership_tenant_id", ["tenant_id"])
    op.execute(
        "DELETE FROM membership WHERE tenant_id IS NULL AND id NOT IN "
        "(SELECT MIN(id) FROM membership WHERE tenant_id IS NULL GROUP BY user_id)"
    )
    op.create_index(
        "uq_membership_user_id_portal",
        "membership",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text(_PORTAL),
        postgresql_where=sa.text(_PORTAL),
    )
    op.create_table(
        "custom_role",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_custom_role_tenant_id_tenant", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_custom_role"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_custom_role_tenant_id_name"),
    )
    op.create_table(
        "role_grant",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("project_id", sa.String(length=26), nullable=True),
        sa.Column("instance_id", sa.String(length=26), nullable=True),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("(project_id IS NULL) <> (instance_id IS NULL)", name="ck_role_grant_one_scope"),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name="fk_role_grant_instance_id_instance", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_role_grant_project_id_project", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_role_grant_tenant_id_tenant", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name="fk_role_grant_user_id_user_account", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_role_grant"),
        sa.UniqueConstraint("user_id", "instance_id", name="uq_role_grant_user_id_instance_id"),
        sa.UniqueConstraint("user_id", "project_id", name="uq_role_grant_user_id_project_id"),
    )
    op.create_index("ix_role_grant_tenant_id", "role_grant", ["tenant_id"])
    op.create_table(
        "invitation",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created_by_id", sa.String(length=26), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user_account.id"], name="fk_invitation_created_by_id_user_account", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_invitation_tenant_id_tenant", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_invitation"),
        sa.UniqueConstraint("token_hash", name="uq_invitation_token_hash"),
    )
    op.create_index("ix_invitation_created_by_id", "invitation", ["created_by_id"])
    op.create_index("ix_invitation_tenant_id", "invitation", ["tenant_id"])
    op.create_table(
        "quota",
        sa.Column("scope_id", sa.String(length=26), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("project_id", sa.String(length=26), nullable=True),
        sa.Column("instances", sa.Integer(), nullable=True),
        sa.Column("cpu", sa.String(length=40), nullable=False),
        sa.Column("memory", sa.String(length=40), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_quota_project_id_project", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_quota_tenant_id_tenant", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scope_id", name="pk_quota"),
    )
    op.create_index("ix_quota_tenant_id", "quota", ["tenant_id"])


def downgrade() -> None:
    # the release before knows neither the auditors' roles nor custom ones: they would read as no right at all
    for table in ("quota", "invitation", "role_grant", "custom_role"):
        op.drop_table(table)
    op.drop_index("uq_membership_user_id_portal", "membership")
    with op.batch_alter_table("membership") as batch_op:
        batch_op.drop_index("ix_membership_tenant_id")
        batch_op.drop_column("created_at")
    with op.batch_alter_table("project") as batch_op:
        batch_op.drop_column("deleting_at")
    with op.batch_alter_table("tenant") as batch_op:
        batch_op.drop_constraint("fk_tenant_default_cluster_id_cluster", type_="foreignkey")
        batch_op.drop_column("deleting_at")
        batch_op.drop_column("default_cluster_id")
        batch_op.drop_column("allowed_adapters")
