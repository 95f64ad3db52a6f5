"""Names of time zones."""

from __future__ import annotations

from clawportal.timezones import check, suggestion

__all__ = [
    "check",
    "suggestion",
]
