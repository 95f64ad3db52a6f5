"""Small passes over what one process keeps: measurements not written yet, and room on its disk."""

from __future__ import annotations

from clawportal.engine import metric_history
from clawportal.engine.portal import Portal


def write_measurements(portal: Portal) -> None:
    portal.recorder.flush()
    metric_history.condense_once(portal.recorder)


def keep_room(portal: Portal) -> None:
    portal.room.keep()
