"""What people are told of

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

USER = ["user_account.id"]

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notifications_place",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications_place")),
    )
    op.create_table(
        "notifications_choice",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("interest", sa.String(length=60), nullable=False),
        sa.Column("way", sa.String(length=10), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], USER, name=op.f("fk_notifications_choice_user_id_user_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "interest", "way", name=op.f("pk_notifications_choice")),
    )
    op.create_table(
        "notifications_delivery",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("way", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], USER, name=op.f("fk_notifications_delivery_user_id_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications_delivery")),
    )
    op.create_index("ix_notifications_delivery_state_due_at", "notifications_delivery", ["state", "due_at"])
    op.create_index("ix_notifications_delivery_user_id", "notifications_delivery", ["user_id", "created_at"])

    op.create_table(
        "notifications_line",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("interest", sa.String(length=60), nullable=False),
        sa.Column("about", sa.String(length=100), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.String(length=26), nullable=True),
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("first_at", sa.DateTime(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("read_at", sa.DateTime(), nullable=True),
        sa.Column("shown", sa.Boolean(), nullable=False),
        sa.Column("email_due", sa.Boolean(), nullable=False),
        sa.Column("webhook_due", sa.Boolean(), nullable=False),
        sa.Column("followed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], USER, name=op.f("fk_notifications_line_user_id_user_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications_line")),
    )
    op.create_index(
        "ix_notifications_line_email_due",
        "notifications_line",
        ["user_id"],
        sqlite_where=sa.text("email_due = 1"),
        postgresql_where=sa.text("email_due"),
    )
    op.create_index("ix_notifications_line_user_id_about", "notifications_line", ["user_id", "about"])
    op.create_index("ix_notifications_line_user_id_at", "notifications_line", ["user_id", "at", "id"])
    op.create_index(
        "ix_notifications_line_webhook_due",
        "notifications_line",
        ["user_id"],
        sqlite_where=sa.text("webhook_due = 1"),
        postgresql_where=sa.text("webhook_due"),
    )

    op.create_table(
        "notifications_person",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("wanted_email", sa.String(length=254), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("code_at", sa.DateTime(), nullable=True),
        sa.Column("code_tries", sa.Integer(), nullable=False),
        sa.Column("webhook", sa.String(length=300), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("every_minutes", sa.Integer(), nullable=False),
        sa.Column("mailed_at", sa.DateTime(), nullable=True),
        sa.Column("called_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], USER, name=op.f("fk_notifications_person_user_id_user_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_notifications_person")),
    )
    op.create_table(
        "notifications_muted",
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_notifications_muted_instance_id_instance"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], USER, name=op.f("fk_notifications_muted_user_id_user_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "instance_id", name=op.f("pk_notifications_muted")),
    )
    op.create_index("ix_notifications_muted_instance_id", "notifications_muted", ["instance_id"])


def downgrade() -> None:
    for name in ("muted", "person", "line", "delivery", "choice", "place"):
        op.drop_table(f"notifications_{name}")
