"""Shell scripts that change files in an instance, for a place that runs commands there, and entries as `stat` tells them."""

from __future__ import annotations

from clawportal.file_scripts import (
    EXISTS,
    FIND,
    MISSING,
    MOVE,
    NOT_A_FOLDER,
    REMOVE,
    STEP,
    UNSAFE,
    clamped,
    entry,
    entry_of,
    found,
    passed_over,
    pattern,
    room,
)

__all__ = [
    "EXISTS",
    "FIND",
    "MISSING",
    "MOVE",
    "NOT_A_FOLDER",
    "REMOVE",
    "STEP",
    "UNSAFE",
    "clamped",
    "entry",
    "entry_of",
    "found",
    "passed_over",
    "pattern",
    "room",
]
