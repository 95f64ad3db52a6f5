"""Instances are held to a version of a configuration template.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("config_version_id", sa.String(length=26), nullable=True))
    op.add_column("instance", sa.Column("config_variables", sa.JSON(), nullable=True))
    op.create_index(op.f("ix_instance_config_version_id"), "instance", ["config_version_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_instance_config_version_id"), "instance")
    op.drop_column("instance", "config_variables")
    op.drop_column("instance", "config_version_id")
