"""Where a delivery goes

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notifications_delivery", sa.Column("address", sa.String(length=254), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("notifications_delivery", "address")
