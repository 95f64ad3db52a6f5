"""People: service accounts, and second factors that an organisation asks for.

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


def upgrade() -> None:
    with op.batch_alter_table("user_account") as batch_op:
        batch_op.add_column(sa.Column("service_tenant_id", sa.String(length=26), nullable=True))
        batch_op.create_foreign_key(
            "fk_user_account_service_tenant_id_tenant", "tenant", ["service_tenant_id"], ["id"], ondelete="CASCADE"
        )
        batch_op.create_index("ix_user_account_service_tenant_id", ["service_tenant_id"])
    with op.batch_alter_table("tenant") as batch_op:
        batch_op.add_column(sa.Column("require_totp", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("tenant") as batch_op:
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
