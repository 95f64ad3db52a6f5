"""Sentences of the audit can be read in other languages, and counting what a tenant may read stays quick.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_READERS = ["tenant_id", "seq", "read_permission", "person_id", "instance_id", "project_id"]


def upgrade() -> None:
    # column by column: a table that is made anew on SQLite would lose the triggers of the audit
    op.add_column("audit_entry", sa.Column("messages", sa.JSON(none_as_null=True), nullable=True))
    for table in ("event", "audit_entry"):
        op.create_index(f"ix_{table}_readers", table, _READERS)
        op.drop_index(f"ix_{table}_tenant_id_seq", table)


def downgrade() -> None:
    for table in ("event", "audit_entry"):
        op.create_index(f"ix_{table}_tenant_id_seq", table, ["tenant_id", "seq"])
        op.drop_index(f"ix_{table}_readers", table)
    op.drop_column("audit_entry", "messages")
