"""Names as they are compared, beside the names: one rule for accounts and searches on every database.

Accounts that are the same by the rule and exist already stay, and are named: all but the first get their id behind the folded name.

Revision ID: 0071
Revises: 0061
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

from clawportal.folding import fold, searched, skeleton

revision = "0071"
down_revision = "0061"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.runtime.migration")


def upgrade() -> None:
    op.add_column("user_account", sa.Column("folded", sa.String(length=330), nullable=True))
    op.add_column("user_account", sa.Column("skeleton", sa.String(length=330), nullable=True))
    for table in ("user_account", "tenant", "cluster"):
        op.add_column(table, sa.Column("searched", sa.Text(), nullable=True))
    _fill_accounts()
    for table in ("tenant", "cluster"):
        _fill_searched(table)
    with op.batch_alter_table("user_account") as batch_op:
        for name in ("folded", "skeleton"):
            batch_op.alter_column(name, existing_type=sa.String(length=330), nullable=False)
        batch_op.alter_column("searched", existing_type=sa.Text(), nullable=False)
        batch_op.create_unique_constraint(batch_op.f("uq_user_account_folded"), ["folded"])
        batch_op.create_index(batch_op.f("ix_user_account_skeleton"), ["skeleton"])
    for table in ("tenant", "cluster"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column("searched", existing_type=sa.Text(), nullable=False)


def _fill_accounts() -> None:
    columns = [sa.column(name) for name in ("id", "name", "display_name", "created_at", "folded", "skeleton", "searched")]
    table = sa.table("user_account", *columns)
    connection, known = op.get_bind(), dict[str, str]()
    for row in connection.execute(sa.select(table).order_by(table.c.created_at, table.c.id)).all():
        folded = fold(row.name)
        if folded in known:
            log.warning("the accounts %s and %s are the same by the rule for names; both stay", known[folded], row.name)
            folded = f"{folded}#{row.id}"
        known.setdefault(folded, row.name)
        values = {"folded": folded, "skeleton": skeleton(row.name), "searched": searched(row.name, row.display_name or "")}
        connection.execute(sa.update(table).where(table.c.id == row.id).values(values))


def _fill_searched(name: str) -> None:
    table = sa.table(name, *(sa.column(column) for column in ("id", "name", "title", "searched")))
    connection = op.get_bind()
    for row in connection.execute(sa.select(table)).all():
        values = {"searched": searched(row.name, row.title or "")}
        connection.execute(sa.update(table).where(table.c.id == row.id).values(values))


def downgrade() -> None:
    with op.batch_alter_table("user_account") as batch_op:
        batch_op.drop_index(batch_op.f("ix_user_account_skeleton"))
        batch_op.drop_constraint(batch_op.f("uq_user_account_folded"), type_="unique")
        for name in ("folded", "skeleton", "searched"):
            batch_op.drop_column(name)
    for table in ("tenant", "cluster"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_column("searched")
