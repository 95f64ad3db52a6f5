"""Tables of signing in: sessions, second factor, wrong tries; and limits of API tokens.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _user() -> list[sa.schema.SchemaItem]:
    return [sa.Column("user_id", sa.String(length=26), nullable=False)]


def _owner(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_user_id_user_account")
    return sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "user_session",
        sa.Column("id", sa.String(length=26), nullable=False),
        *_user(),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=300), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        _owner("user_session"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_session")),
    )
    op.create_index(op.f("ix_user_session_user_id"), "user_session", ["user_id"])
    op.create_index(op.f("ix_user_session_expires_at"), "user_session", ["expires_at"])
    op.create_table(
        "user_otp",
        *_user(),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("enabled_at", sa.DateTime(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        _owner("user_otp"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_otp")),
    )
    op.create_table(
        "backup_code",
        *_user(),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        _owner("backup_code"),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name=op.f("pk_backup_code")),
    )
    op.create_table(
        "known_address",
        *_user(),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        _owner("known_address"),
        sa.PrimaryKeyConstraint("user_id", "address", name=op.f("pk_known_address")),
    )
    op.create_index(op.f("ix_known_address_last_at"), "known_address", ["last_at"])
    op.create_table(
        "wrong_tries",
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("purpose", "subject", "address", name=op.f("pk_wrong_tries")),
    )
    op.create_index(op.f("ix_wrong_tries_last_at"), "wrong_tries", ["last_at"])
    with op.batch_alter_table("api_token", schema=None) as batch:
        batch.add_column(sa.Column("scopes", sa.JSON(none_as_null=True), nullable=True))
        batch.add_column(sa.Column("addresses", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    # the earlier release does not know limits of tokens: a limited one would become one that may do everything
    op.execute("DELETE FROM api_token WHERE scopes IS NOT NULL OR addresses IS NOT NULL")
    with op.batch_alter_table("api_token", schema=None) as batch:
        batch.drop_column("addresses")
        batch.drop_column("scopes")
    for table in ("wrong_tries", "known_address", "backup_code", "user_otp", "user_session"):
        op.drop_table(table)
