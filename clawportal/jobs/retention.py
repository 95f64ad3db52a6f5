"""Drops what is older than the settings say: events, finished operations, rows of deleted instances, sessions that ended."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import delete

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.models import Instance
from clawportal.services import audit, audit_chain, ledger, operations, series, sessions, throttle, trusted_clock
from clawportal.services.portal import Portal

log = logging.getLogger(__name__)


def forget_once(portal: Portal) -> None:
    """Nothing goes while the clock is not believed: by a wrong one, everything is old."""
    audit_chain.turn()
    if ahead := trusted_clock.look():
        log.warning("%s Correct the clock, or run: clawportal audit confirm-clock", trusted_clock.sentence(ahead))
        return
    ledger.forget_old(portal)
    operations.forget_old(portal)
    audit.forget_old(portal.settings.audit_days)
    sessions.forget_old()
    throttle.forget_old()
    series.forget_old()
    with transaction():
        limit = clock.now() - timedelta(days=portal.settings.destroyed_days)
        db.session.execute(delete(Instance).where(Instance.destroyed_at < limit))
