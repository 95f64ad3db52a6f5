"""The time, in one place: always aware, always UTC, and movable so that a test can make the clock jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_offset = timedelta()


def now() -> datetime:
    return datetime.now(UTC) + _offset


def travel(by: timedelta) -> None:
    """Move this process's clock, as a wrong time server or a resumed virtual machine does."""
    global _offset
    _offset += by
