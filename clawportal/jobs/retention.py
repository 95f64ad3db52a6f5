"""Drops what is older than it is to be kept, feature by feature."""

from __future__ import annotations

import logging

from clawportal.contracts.features import Feature
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
