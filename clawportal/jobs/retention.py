"""Drops what is older than the settings say: events, finished operations, rows of deleted instances, sessions that ended."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import delete

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.engine import metric_history
from clawportal.engine.portal import Portal
from clawportal.models import Instance
from clawportal.services.audit import chain, trail
from clawportal.services.events import event_log
from clawportal.services.fleet import operations
from clawportal.services.identity import sessions, throttle
from clawportal.services.system import trusted_clock

log = logging.getLogger(__name__)


def forget_once(portal: Portal) -> None:
    """Nothing goes while the clock is not believed: by a wrong one, everything is old."""
    chain.turn()
    if ahead := trusted_clock.look():
        log.warning("%s Correct the clock, or run: clawportal audit confirm-clock", trusted_clock.sentence(ahead))
        return
    event_log.forget_old(portal)
    operations.forget_old(portal)
    trail.forget_old(portal.settings.audit_days)
    sessions.forget_old()
    throttle.forget_old()
    metric_history.forget_old()
    with transaction():
        limit = clock.now() - timedelta(days=portal.settings.destroyed_days)
        db.session.execute(delete(Instance).where(Instance.destroyed_at < limit))
