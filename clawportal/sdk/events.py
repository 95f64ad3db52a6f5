"""A fact that happened, as a hook hears of it."""

from __future__ import annotations

from clawportal.contracts.events import Event

__all__ = [
    "Event",
]
