"""Drops what is older than it is to be kept, feature by feature."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import delete

from clawportal import clock
from clawportal.contracts.features import Feature
from clawportal.db import db, transaction
from clawportal.declarations import resolve
from clawportal.engine.portal import Portal
from clawportal.services.system import trusted_clock

log = logging.getLogger(__name__)


def forget_once(portal: Portal) -> None:
    """Nothing goes while the clock is not believed: by a wrong one, everything is old."""
    if ahead := trusted_clock.look():
        log.warning("%s Correct the clock, or run: clawportal audit confirm-clock", trusted_clock.sentence(ahead))
        return
    for feature in portal.registry.features:
        try:
            _forget(portal, feature)
        except Exception:  # each feature for itself
            log.exception("what is too old of %s could not be dropped", feature.name)


def _forget(portal: Portal, feature: Feature) -> None:
    for target in feature.forget:
        resolve(target)(portal)
    for resource in feature.resources:
        if resource.keep_days is not None:
            _forget_rows(resource.table, resource.keep_days)


def _forget_rows(name: str, days: int) -> None:
    table = db.metadata.tables[name]
    with transaction():
        db.session.execute(delete(table).where(table.c.created_at < clock.now() - timedelta(days=days)))
