"""The time, in one place: always aware, always UTC, and movable so that a test can make the clock jump."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

JUMP = 5.0
"""Seconds by which wall clock and monotonic clock may drift apart before it is called a jump."""

_offset = timedelta()
_lock = threading.Lock()


def now() -> datetime:
    return datetime.now(UTC) + _offset


def travel(by: timedelta) -> None:
    """Move this process's clock, as a wrong time server or a resumed virtual machine does."""
    global _offset
    _offset += by


def _difference() -> float:
    return now().timestamp() - time.monotonic()


_known = _difference()


def jumped() -> bool:
    """Whether the clock jumped and nobody has dealt with it yet; what is measured against it means nothing meanwhile."""
    return abs(_difference() - _known) > JUMP


def take_jump() -> float:
    """Seconds that the clock jumped since the last call, 0 for none; from now on the new time counts."""
    global _known
    with _lock:
        difference = _difference()
        by, _known = difference - _known, difference
    return by if abs(by) > JUMP else 0.0
