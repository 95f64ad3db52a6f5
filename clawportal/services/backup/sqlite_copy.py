"""A snapshot of a SQLite database that is in use, by its online backup; and putting one in its place."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from clawportal.services.backup.archive import PIECE, BackupError

STREAM = "sqlite"
_PAGES = 2048
"""Copied at a time; others get their turn in between."""


def snapshot(source: Path, target: Path, tell: Callable[[int], None]) -> None:
    """A whole copy of one moment. Nobody is locked out: who writes meanwhile writes into the log, and is not in the copy."""
    with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, isolation_level=None)) as live:
        live.execute("PRAGMA busy_timeout=15000")
        live.execute("BEGIN")  # holds the moment: without it, each write of others would begin the copy anew
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        size = live.execute("PRAGMA page_size").fetchone()[0]
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(handle)
        with closing(sqlite3.connect(target)) as copy:
            live.backup(copy, pages=_PAGES, progress=lambda _, left, total: tell((total - left) * size))
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whatever reads it
            _whole(copy, "The database of this portal")


def _whole(connection: sqlite3.Connection, what: str) -> None:
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise BackupError(f"{what} is damaged: {found}.")


def read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def room_for(source: Path) -> int:
    """Bytes that a snapshot takes."""
    log = source.with_name(source.name + "-wal")
    return source.stat().st_size + (log.stat().st_size if log.exists() else 0)


def versions(file: Path, tables: Iterable[str]) -> dict[str, list[str]]:
    """What the tables of versions say."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        query = 'SELECT version_num FROM "{}" ORDER BY 1'
        return {name: _column(connection, query.format(name)) for name in tables}


def tables(file: Path) -> list[str]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return _column(connection, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1")


def _column(connection: sqlite3.Connection, query: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query)]


# ---- back again


def restore(target: Path, pieces: Iterable[bytes]) -> None:
    """A database that is not there yet. It is checked before anybody may open it."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    with closing(sqlite3.connect(target)) as connection:
        _whole(connection, "The database in this backup")


def remove(target: Path) -> None:
    for name in (target.name, f"{target.name}-wal", f"{target.name}-shm", f"{target.name}-journal"):
        target.with_name(name).unlink(missing_ok=True)
