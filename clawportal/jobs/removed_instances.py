"""Drops the rows of instances that were deleted long ago."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.models import Instance


def forget_old(portal: Portal) -> None:
    with transaction():
        limit = clock.now() - timedelta(days=portal.settings.destroyed_days)
        db.session.execute(delete(Instance).where(Instance.destroyed_at < limit))
