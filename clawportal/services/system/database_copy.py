"""A copy of an SQLite database beside it, made before its tables change: the way back from an upgrade that went wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from clawportal import clock

KEPT = 5
"""Copies; older ones are deleted when a new one is made."""


class NoCopy(Exception):
    """The copy could not be written, so nothing was changed; the message says what it needs."""


def make(database: Path) -> Path | None:
    """Copy what is committed, while others may write; None where there is nothing to copy. All of it or nothing."""
    if not database.exists() or database.stat().st_size == 0:
        return None
    copy = database.with_name(f"{database.name}.before-{clock.now():%Y%m%dT%H%M%S.%fZ}")
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        partial.touch(mode=0o600)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
        partial.rename(copy)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        size = database.stat().st_size / 1024**2
        raise NoCopy(
            f"{database.name} could not be copied before its tables change, and was left as it is: {error}. "
            f"The copy needs {size:.0f} MiB in {database.parent}."
        ) from error
    _forget_old(database)
    return copy


def made(database: Path) -> list[Path]:
    """The copies that are kept, oldest first."""
    return sorted(path for path in database.parent.glob(f"{database.name}.before-*") if path.suffix != ".partial")


def _forget_old(database: Path) -> None:
    for path in made(database)[:-KEPT]:
        path.unlink(missing_ok=True)
    for path in database.parent.glob(f"{database.name}.before-*.partial"):  # of a process that was killed
        path.unlink(missing_ok=True)
