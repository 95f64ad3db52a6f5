"""Events, operations and audit entries say which project, person and thing they are about, and who else may read them.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = ("event", "operation", "audit_entry")
_WITH_SUBJECT = ("event", "operation")


def upgrade() -> None:
    # column by column: a table that is made anew on SQLite would lose the triggers of the audit
    for table in _TABLES:
        op.add_column(table, sa.Column("project_id", sa.String(length=26), nullable=True))
        op.add_column(table, sa.Column("person_id", sa.String(length=26), nullable=True))
        op.add_column(table, sa.Column("read_permission", sa.String(length=80), server_default="", nullable=False))
    for table in _WITH_SUBJECT:
        op.add_column(table, sa.Column("subject_type", sa.String(length=40), server_default="", nullable=False))
        op.add_column(table, sa.Column("subject_id", sa.String(length=100), server_default="", nullable=False))


def downgrade() -> None:
    for table in _WITH_SUBJECT:
        op.drop_column(table, "subject_id")
        op.drop_column(table, "subject_type")
    for table in _TABLES:
        op.drop_column(table, "read_permission")
        op.drop_column(table, "person_id")
        op.drop_column(table, "project_id")
