"""People: service accounts, second factors that an organisation asks for, signing in with OpenID providers, and shared settings.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OF_USERS = (("membership", "user_id"), ("role_grant", "user_id"), ("api_token", "user_id"), ("invitation", "created_by_id"))
"""Named one by one: SQLite has no foreign keys while it migrates."""
_GIVEN_BY_GROUPS = ("membership", "role_grant")


def upgrade() -> None:
    with op.batch_alter_table("user_account") as batch_op:
        batch_op.add_column(sa.Column("service_tenant_id", sa.String(length=26), nullable=True))
        batch_op.create_foreign_key(
            "fk_user_account_service_tenant_id_tenant", "tenant", ["service_tenant_id"], ["id"], ondelete="CASCADE"
        )
        batch_op.create_index("ix_user_account_service_tenant_id", ["service_tenant_id"])
    with op.batch_alter_table("tenant") as batch_op:
        batch_op.add_column(sa.Column("require_totp", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("layer", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "tenant_secret",
        sa.Column("tenant_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_tenant_secret_tenant_id_tenant", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_tenant_secret"),
    )
    _upgrade_oidc()


def _upgrade_oidc() -> None:
    op.create_table(
        "oidc_provider",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=100), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("client_id", sa.String(length=200), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", sa.String(length=500), nullable=False),
        sa.Column("username_claim", sa.String(length=100), nullable=False),
        sa.Column("email_claim", sa.String(length=100), nullable=False),
        sa.Column("name_claim", sa.String(length=100), nullable=False),
        sa.Column("groups_claim", sa.String(length=100), nullable=False),
        sa.Column("email_domains", sa.JSON(), nullable=False),
        sa.Column("create_users", sa.Boolean(), nullable=False),
        sa.Column("link_by_email", sa.Boolean(), nullable=False),
        sa.Column("second_factor", sa.Boolean(), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_oidc_provider_tenant_id_tenant", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_oidc_provider"),
        sa.UniqueConstraint("slug", name="uq_oidc_provider_slug"),
    )
    op.create_table(
        "oidc_identity",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("provider_id", sa.String(length=26), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_login_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["oidc_provider.id"], name="fk_oidc_identity_provider_id_oidc_provider", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name="fk_oidc_identity_user_id_user_account", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_oidc_identity"),
        sa.UniqueConstraint("provider_id", "subject", name="uq_oidc_identity_provider_id_subject"),
        sa.UniqueConstraint("provider_id", "user_id", name="uq_oidc_identity_provider_id_user_id"),
    )
    op.create_index("ix_oidc_identity_user_id", "oidc_identity", ["user_id"])
    op.create_table(
        "oidc_group_role",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("provider_id", sa.String(length=26), nullable=False),
        sa.Column("group_value", sa.String(length=255), nullable=False),
        sa.Column("tenant_id", sa.String(length=26), nullable=True),
        sa.Column("project_id", sa.String(length=26), nullable=True),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_oidc_group_role_project_id_project", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["oidc_provider.id"], name="fk_oidc_group_role_provider_id_oidc_provider", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_oidc_group_role_tenant_id_tenant", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_oidc_group_role"),
    )
    op.create_index("ix_oidc_group_role_provider_id", "oidc_group_role", ["provider_id"])
    for table in _GIVEN_BY_GROUPS:
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column("oidc_provider_id", sa.String(length=26), nullable=True))
            batch_op.add_column(sa.Column("oidc_group", sa.String(length=255), server_default="", nullable=False))
            batch_op.create_foreign_key(
                f"fk_{table}_oidc_provider_id_oidc_provider", "oidc_provider", ["oidc_provider_id"], ["id"], ondelete="CASCADE"
            )
            batch_op.create_index(f"ix_{table}_oidc_provider_id", ["oidc_provider_id"])
    with op.batch_alter_table("user_session") as batch_op:
        batch_op.add_column(sa.Column("oidc_provider_id", sa.String(length=26), nullable=True))
        batch_op.create_foreign_key(
            "fk_user_session_oidc_provider_id_oidc_provider", "oidc_provider", ["oidc_provider_id"], ["id"], ondelete="SET NULL"
        )
        batch_op.create_index("ix_user_session_oidc_provider_id", ["oidc_provider_id"])


def downgrade() -> None:
    op.drop_table("tenant_secret")
    _downgrade_oidc()
    with op.batch_alter_table("tenant") as batch_op:
        batch_op.drop_column("layer")
        batch_op.drop_column("require_totp")
    # the release before would take service accounts for people, and their rights would outlast the loss of their tenant
    for table, column in _OF_USERS:
        service = "SELECT id FROM user_account WHERE service_tenant_id IS NOT NULL"
        op.execute(f"DELETE FROM {table} WHERE {column} IN ({service})")  # noqa: S608  # names of our own
    op.execute("DELETE FROM user_account WHERE service_tenant_id IS NOT NULL")
    with op.batch_alter_table("user_account") as batch_op:
        batch_op.drop_index("ix_user_account_service_tenant_id")
        batch_op.drop_constraint("fk_user_account_service_tenant_id_tenant", type_="foreignkey")
        batch_op.drop_column("service_tenant_id")


def _downgrade_oidc() -> None:
    # rights that groups gave would stay for ever: the release before does not follow groups
    op.execute("DELETE FROM membership WHERE oidc_provider_id IS NOT NULL AND oidc_group <> ''")
    op.execute("DELETE FROM role_grant WHERE oidc_provider_id IS NOT NULL")
    op.execute("DELETE FROM user_session WHERE oidc_provider_id IS NOT NULL")
    for table in (*_GIVEN_BY_GROUPS, "user_session"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_index(f"ix_{table}_oidc_provider_id")
            batch_op.drop_constraint(f"fk_{table}_oidc_provider_id_oidc_provider", type_="foreignkey")
            batch_op.drop_column("oidc_provider_id")
            if table != "user_session":
                batch_op.drop_column("oidc_group")
    for table in ("oidc_group_role", "oidc_identity", "oidc_provider"):
        op.drop_table(table)
