"""What a sign-in provider gave names its source in words, instead of referring to the provider's table.

Revision ID: 0091
Revises: 0071
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0091"
down_revision = "0071"
branch_labels = None
depends_on = None

_PREFIX = "oidc:"
_TITLED = ("membership", "user_session")
_TABLES = ("membership", "role_grant", "user_session")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("source", sa.String(length=120), server_default="", nullable=False))
    for table in _TITLED:
        op.add_column(table, sa.Column("source_title", sa.String(length=200), server_default="", nullable=False))
    for table in ("membership", "role_grant"):
        op.alter_column(table, "oidc_group", new_column_name="source_group", existing_type=sa.String(length=255))
    op.add_column("user_session", sa.Column("vouched", sa.Boolean(), server_default=sa.false(), nullable=False))
    _name_sources()
    for table in _TABLES:
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_index(f"ix_{table}_oidc_provider_id")
            batch_op.drop_constraint(f"fk_{table}_oidc_provider_id_oidc_provider", type_="foreignkey")
            batch_op.drop_column("oidc_provider_id")
            batch_op.create_index(f"ix_{table}_source", ["source"])


def _name_sources() -> None:
    provider = sa.table("oidc_provider", sa.column("id"), sa.column("title"), sa.column("second_factor"))
    for name in _TABLES:
        table = sa.table(name, *(sa.column(column) for column in ("oidc_provider_id", "source", "source_title", "vouched")))
        values: dict[str, sa.ColumnElement[object]] = {"source": sa.literal(_PREFIX).concat(table.c.oidc_provider_id)}
        mine = provider.c.id == table.c.oidc_provider_id
        if name in _TITLED:
            values["source_title"] = sa.select(provider.c.title).where(mine).scalar_subquery()
        if name == "user_session":
            values["vouched"] = sa.select(provider.c.second_factor).where(mine).scalar_subquery()
        op.execute(sa.update(table).where(table.c.oidc_provider_id.is_not(None)).values(**values))


def downgrade() -> None:
    for table in _TABLES:
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column("oidc_provider_id", sa.String(length=26), nullable=True))
    for name in _TABLES:
        table = sa.table(name, sa.column("oidc_provider_id"), sa.column("source"))
        provider_id = sa.func.substr(table.c.source, len(_PREFIX) + 1)
        op.execute(sa.update(table).where(table.c.source.startswith(_PREFIX)).values(oidc_provider_id=provider_id))
    for table in _TABLES:
        with op.batch_alter_table(table) as batch_op:
            batch_op.create_foreign_key(
                f"fk_{table}_oidc_provider_id_oidc_provider", "oidc_provider", ["oidc_provider_id"], ["id"],
                ondelete="SET NULL" if table == "user_session" else "CASCADE",
            )  # fmt: skip
            batch_op.create_index(f"ix_{table}_oidc_provider_id", ["oidc_provider_id"])
            batch_op.drop_index(f"ix_{table}_source")
            for column in (
                "source",
                *(["source_title"] if table in _TITLED else []),
                *(["vouched"] if table == "user_session" else []),
            ):
                batch_op.drop_column(column)
            if table != "user_session":
                batch_op.alter_column("source_group", new_column_name="oidc_group", existing_type=sa.String(length=255))
