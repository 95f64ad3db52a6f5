"""Segments of the audit's chain, each with keys of its own, and the mark of a head that is broken.

Revision ID: 0031
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0022"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_segment",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_seq", _NUMBER, nullable=False),
        sa.Column("prev_hash", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("public_key", sa.String(length=60), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("vouched", sa.String(length=100), nullable=False),
        sa.Column("code", sa.String(length=100), nullable=False),
        sa.Column("acknowledges", _NUMBER, nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_segment")),
    )
    op.add_column("audit_head", sa.Column("broken_at", _NUMBER, nullable=True))


def downgrade() -> None:
    op.drop_column("audit_head", "broken_at")
    op.drop_table("audit_segment")
