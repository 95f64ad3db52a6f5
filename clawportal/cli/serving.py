"""`clawportal serve`: gunicorn with one threaded worker, which serves pages, sockets and background work.

The master stays small: it imports neither Flask nor the tables. Whatever needs them before the start (new tables, the first
user) is done by a child that ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import IO, Any

import click
from gunicorn.app.base import BaseApplication

from clawportal import paths
from clawportal.settings import Settings

LOCK_WAIT = 10.0
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # gunicorn's heartbeat file must not be on a disk that may stall


def serve(settings: Settings) -> None:
    """Prepare, then serve until a signal. Claws go on when the portal ends."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(settings.data_dir)
    if not _tables_ready(settings):
        _prepare()
    click.echo(
        f"clawportal listens on http://{settings.host}:{settings.port}   data: {settings.data_dir}   stop: Ctrl+C", err=True
    )
    try:
        Server(settings, exclusive=settings.database.startswith("sqlite")).run()
    finally:
        lock.close()


def _lock(folder: Path) -> IO[str]:
    """The data folder for this portal alone; a portal that is just ending is waited for."""
    stream = (folder / "portal.lock").open("w")
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream
        except OSError as error:
            if time.monotonic() > end:
                raise click.ClickException(
                    f"Another portal uses {folder}. Stop it, or choose another folder with --data-dir."
                ) from error
            time.sleep(0.2)


def _tables_ready(settings: Settings) -> bool:
    """Whether tables and first user are there, told without loading the portal. Only SQLite can be asked so cheaply."""
    file = settings.data_dir / "clawportal.db"
    if settings.database_url or not file.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            users = connection.execute("SELECT count(*) FROM user_account").fetchone()
    except sqlite3.Error:
        return False
    return version is not None and version[0] == newest_revision() and users[0] > 0


def newest_revision() -> str:
    """The head of the migrations: the one that no other follows."""
    texts = [file.read_text() for file in (paths.resource("migrations") / "versions").glob("*.py")]
    revisions = {found[1] for text in texts if (found := re.search(r"^revision = ['\"](\w+)['\"]", text, re.MULTILINE))}
    followed = {found[1] for text in texts if (found := re.search(r"^down_revision = ['\"](\w+)['\"]", text, re.MULTILINE))}
    heads = revisions - followed
    if len(heads) != 1:
        raise click.ClickException(f"The migrations have {len(heads)} ends; there must be one. Install clawportal again.")
    return heads.pop()


def _prepare() -> None:
    done = subprocess.run([sys.executable, "-m", "clawportal.cli.server", "db", "upgrade", "--first-start"], check=False)
    if done.returncode:
        raise click.ClickException("The database could not be prepared; the lines above say why.")


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn, embedded."""

    def __init__(self, settings: Settings, *, exclusive: bool) -> None:
        self.settings = settings
        self.exclusive = exclusive
        super().__init__()

    def load_config(self) -> None:
        settings = self.settings
        for name, value in {
            "bind": f"{settings.host}:{settings.port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": settings.threads + settings.max_viewers,
            "timeout": 120,
            "graceful_timeout": 5,
            "keepalive": 30,
            "control_socket_disable": True,
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "proc_name": "clawportal",
            "loglevel": "warning",
            "post_worker_init": self._begin,
            "worker_int": lambda worker: None,
            "worker_exit": self._end,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from clawportal.app import create_app

        return create_app(self.settings)

    def _begin(self, worker: Any) -> None:
        from clawportal.app import start_jobs

        app = worker.app.callable
        _stop_live_pages_on_sigterm(app.extensions["clawportal"].stopping)
        start_jobs(app, exclusive=self.exclusive)

    def _end(self, _server: Any, worker: Any) -> None:
        from clawportal.app import stop_jobs

        if worker.app.callable is not None:
            stop_jobs(worker.app.callable)


def _stop_live_pages_on_sigterm(stopping: threading.Event) -> None:
    """Open websockets would hold up the end of the worker until it is killed; told at once, they close."""
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        # not here: a handler runs in the middle of anything, and must not wait for a lock
        threading.Thread(target=stopping.set, name="stopping", daemon=True).start()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, end)
