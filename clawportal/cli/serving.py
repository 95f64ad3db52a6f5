"""`clawportal serve`: sees that everything is in place, then becomes the web server.

What it takes to prepare (settings, new tables, the first user) must not stay in memory for the life of the portal: a child makes
the tables, and this process ends by replacing itself with the small master of `clawportal.cli.master`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from clawportal import client_addresses, paths
from clawportal.cli import tables_ready
from clawportal.cli.startup_errors import UNUSABLE, Unusable
from clawportal.disk_reserve import DiskRoom
from clawportal.settings import Settings

LOCK_WAIT = 10.0
PORT_WAIT = 5.0


def serve(settings: Settings) -> NoReturn:
    """Prepare, then serve until a signal. Claws go on when the portal ends."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    DiskRoom(settings.data_dir, settings.reserve_mib << 20).make_way()
    _lock(settings.data_dir)
    if unfinished := paths.unfinished_restore(settings.data_dir):
        raise Unusable(unfinished)
    _check_keys(settings)
    _may_listen(settings)
    if not tables_ready.ready(settings):
        _prepare()
    place = f"{client_addresses.bracketed(settings.host)}:{settings.port}"
    click.echo(f"clawportal listens on http://{place}   data: {settings.data_dir}   stop: Ctrl+C", err=True)
    plan = {
        "bind": place,
        "threads": settings.threads,
        "lasting": settings.max_viewers,
        "hops": settings.trusted_proxies,
        "exclusive": settings.database.startswith("sqlite"),
    }
    os.execv(sys.executable, paths.program("clawportal.cli.master", json.dumps(plan)))


def _may_listen(settings: Settings) -> None:
    """Tried before gunicorn does, which has many words for it. A portal that is just ending is waited for."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise Unusable(f"CLAWPORTAL_HOST cannot be {settings.host!r}: this machine knows no such name or address.") from error
    end = time.monotonic() + PORT_WAIT
    while (refused := _refused(family, kind, address)) and refused.errno == errno.EADDRINUSE and time.monotonic() < end:
        time.sleep(0.2)
    if refused:
        place = f"{client_addresses.bracketed(settings.host)}:{settings.port}"
        raise Unusable(f"{place} cannot be listened on: {refused.strerror}. Choose another with --port or --host.")


def _refused(family: int, kind: int, address: tuple[Any, ...]) -> OSError | None:
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error
    return None


def _lock(folder: Path) -> None:
    """The data folder for this portal alone, until its last process ends; a portal that is just ending is waited for."""
    handle = os.open(folder / "portal.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(handle, True)  # the lock passes on to the master and its worker
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() > end:
                raise click.ClickException(
                    f"Another portal uses {folder}. Stop it, or choose another folder with --data-dir."
                ) from error
            time.sleep(0.2)


def _check_keys(settings: Settings) -> None:
    """Here for SQLite, where nothing else would look before the server is up; otherwise making the tables does."""
    file = settings.data_dir / paths.KEYRING_FILE
    if not file.exists() and tables_ready.ready(settings):
        from clawportal.keyring import missing

        raise Unusable(str(missing(file)))


def _prepare() -> None:
    done = subprocess.run(paths.program("clawportal.cli.server", "db", "upgrade", "--first-start"), check=False)
    if done.returncode == UNUSABLE:
        sys.exit(UNUSABLE)  # it said why
    if done.returncode:
        raise click.ClickException("The database could not be prepared; the lines above say why.")
