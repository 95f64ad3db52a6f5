"""One upgrade of a database at a time, whoever begins it; a lock of a process that was killed is gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, text

log = logging.getLogger(__name__)

_KEY = {"space": 0x636C6177, "number": 1}
"""Of PostgreSQL's advisory lock: two numbers, so that it meets none that has one."""
_PAUSE = 0.5
LONGEST_WAIT = 3600.0
"""Seconds. An upgrade that takes longer hangs."""
_WAITING = "Another process works on the tables of this database; waiting for it."


@contextlib.contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Wait until nobody else migrates this database, then keep others waiting."""
    with _file_lock(engine) if engine.dialect.name == "sqlite" else _advisory_lock(engine):
        yield


@contextlib.contextmanager
def _file_lock(engine: Engine) -> Iterator[None]:
    database = engine.url.database
    if not database or database == ":memory:":
        yield
        return
    file = Path(f"{database}.upgrade.lock")
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.warning(_WAITING)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _advisory_lock(engine: Engine) -> Iterator[None]:
    """Held by a transaction that does nothing else, so that it also works through a pooler of connections.

    Whoever waits asks again and again, each time in a transaction of its own: one that stayed open while it waits would hold a
    snapshot that `CREATE INDEX CONCURRENTLY` of the one that works waits for, and neither would ever go on. The one that works
    holds the lock in a transaction that is idle for as long as the upgrade takes; the server must not end it for that.
    """
    with engine.connect() as connection:
        until, told = time.monotonic() + LONGEST_WAIT, False
        while not _taken(connection):
            if time.monotonic() > until:
                raise TimeoutError(
                    "Another process works on the tables of this database and does not end. See what it waits for."
                )
            if not told:
                log.warning(_WAITING)
                told = True
            time.sleep(_PAUSE)
        yield


def _taken(connection: Connection) -> bool:
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    if connection.scalar(text("SELECT pg_try_advisory_xact_lock(:space, :number)"), _KEY):
        return True
    connection.rollback()
    return False
