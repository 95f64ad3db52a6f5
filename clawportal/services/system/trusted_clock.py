"""Whether the clock went as this portal saw time pass: what is deleted for its age must not go because a clock jumped.

Within one process the wall clock has to go as the monotonic one. From one process to the next at most `APART` is believed.
What is beyond that is kept as `ahead` until the clock goes back, or somebody says that it is right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from clawportal import clock
from clawportal.db import transaction
from clawportal.messages import _m
from clawportal.services.system import portal_settings

APART = timedelta(days=3)
"""As long as a portal may have been off without anybody being asked."""
SLACK = timedelta(minutes=10)
_STATE = "retention_clock"


@dataclass
class _Last:
    """The last look of this process."""

    wall: datetime
    monotonic: float


_last: _Last | None = None


def look() -> timedelta:
    """How far the clock is ahead of what is believed; remembered for the next look."""
    global _last
    now, monotonic = clock.now(), time.monotonic()
    with transaction():
        state = portal_settings.read(_STATE) or {"seen": now.isoformat(), "ahead": 0.0}
        seen, ahead = datetime.fromisoformat(state["seen"]), timedelta(seconds=state["ahead"])
        ours = _last is not None and _last.wall == seen
        passed = timedelta(seconds=monotonic - _last.monotonic) + SLACK if ours and _last is not None else APART
        step = now - seen
        ahead = max(timedelta(), ahead + step) if step < timedelta() else ahead + max(timedelta(), step - passed)
        portal_settings.write(_STATE, {"seen": now.isoformat(), "ahead": ahead.total_seconds()})
    _last = _Last(now, monotonic)
    return ahead


def ahead() -> timedelta:
    """As of the last look."""
    return timedelta(seconds=(portal_settings.read(_STATE) or {}).get("ahead", 0.0))


def believe() -> timedelta:
    """Somebody says that the clock is right. Returns how far it was ahead."""
    global _last
    was = ahead()
    portal_settings.write(_STATE, {"seen": clock.now().isoformat(), "ahead": 0.0})
    _last = None
    return was


def sentence(by: timedelta) -> str:
    hours = f"{by.total_seconds() / 3600:.0f}"
    message = _m("The clock went %(hours)s hours further than this portal saw pass. Nothing old is deleted.", hours=hours)
    return message
