"""Which version of its configuration an instance runs; and what is stopped or deleted is not said to be well.

Revision ID: 0051
Revises: 0041
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0041"
branch_labels = None
depends_on = None

_OF_WHAT_RUNS = ("Healthy", "Seen", "Placed", "Drifted")
_instance = sa.table(
    "instance", sa.column("id", sa.String), sa.column("phase", sa.String), sa.column("conditions", sa.JSON),
    sa.column("health", sa.String),
)  # fmt: skip


def upgrade() -> None:
    with op.batch_alter_table("instance") as batch_op:
        batch_op.add_column(sa.Column("applied_generation", sa.Integer(), server_default=sa.text("0"), nullable=False))
    # of what refused its configuration nobody knows which version runs
    op.execute(
        "UPDATE instance SET applied_generation = observed_generation WHERE NOT (sync = 'out-of-sync' AND reason <> 'Drifted')"
    )
    _forget_what_ran()


def _forget_what_ran() -> None:
    bind = op.get_bind()
    ended = _instance.c.phase.in_(("stopping", "stopped", "deleting", "destroyed"))
    bind.execute(sa.update(_instance).where(ended).values(health="unknown"))
    for row in bind.execute(sa.select(_instance.c.id, _instance.c.conditions).where(ended)).all():
        known: list[dict[str, Any]] = json.loads(row.conditions) if isinstance(row.conditions, str) else row.conditions or []
        kept = [entry for entry in known if entry["type"] not in _OF_WHAT_RUNS]
        if kept != known:
            bind.execute(sa.update(_instance).where(_instance.c.id == row.id).values(conditions=kept))


def downgrade() -> None:
    with op.batch_alter_table("instance") as batch_op:
        batch_op.drop_column("applied_generation")
