"""Facts that happened: `Event` as a hook hears of them, and `record` to append one in the transaction of a change."""

from __future__ import annotations

from clawportal.contracts.events import Event
from clawportal.services.events.event_log import record

__all__ = [
    "Event",
    "record",
]
