"""Facts that happened: `Event` as a hook hears of them, and `record` to append one in the transaction of a change.

`EventRow` are the facts as they are stored, to be read like other rows (`visible`): up to `settled()`, where one follows them by
their numbers.

`EventBus` is how replicas tell each other; `portal.bus` is the one of a portal, and a plugin may bring another (`EVENT_BUS`).
"""

from __future__ import annotations

from clawportal.contracts.bus import CLUSTERS, DUE, FACTS, EventBus, News
from clawportal.contracts.events import Event
from clawportal.models import EventRow
from clawportal.services.events.event_log import record, settled

__all__ = [
    "CLUSTERS",
    "DUE",
    "FACTS",
    "Event",
    "EventBus",
    "EventRow",
    "News",
    "record",
    "settled",
]
