"""The web server: a gunicorn master that stays small, and one threaded worker for pages, sockets and background work.

Run by `clawportal serve` in its own place. It imports only gunicorn and the loop of `clawportal.wire`; Flask, tables and settings
are the worker's.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.errors import AppImportError

from clawportal.cli.startup_errors import words_of
from clawportal.wire.worker import Worker

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # gunicorn's heartbeat file must not be on a disk that may stall


def _give_memory_back() -> None:
    """By default the C library keeps a pool of memory for each of many threads, and keeps large pieces that were freed once: two
    pools are enough, and what is large goes back to the system at once."""
    arena_max, mmap_threshold = -8, -3  # of <malloc.h>
    with contextlib.suppress(AttributeError):  # another C library than glibc has no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(arena_max, 2)
        mallopt(mmap_threshold, 128 * 1024)  # its default, which no longer grows


_CLIENTS = ("aiohttp", "redis", "requests", "websocket")


def _load_sockets_without_clients() -> None:
    """Socket.IO's library takes each client library that is installed, for clients and queues that this server has none of: 20 MB
    and a quarter of a second. Who needs one of them later imports it as ever."""
    hidden = [name for name in _CLIENTS if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # not to be had
    try:
        importlib.import_module("socketio")
    finally:
        for name in hidden:
            del sys.modules[name]


def _spare_the_collector() -> None:
    """What is loaded by now stays for good. Walking it again stops all threads, each time for longer than a page takes."""
    gc.collect()
    gc.freeze()


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn, embedded."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        super().__init__()

    def load_config(self) -> None:
        Worker.hops, Worker.lasting = self.plan["hops"], self.plan["lasting"]
        for name, value in {
            "bind": self.plan["bind"],
            "worker_class": Worker,
            "workers": 1,
            "threads": self.plan["threads"],
            "timeout": 120,
            "graceful_timeout": 5,
            "keepalive": 30,
            "sendfile": False,  # it would wait for its reader without our deadlines
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
        _load_sockets_without_clients()
        from clawportal.app import create_app

        _give_memory_back()
        try:
            return create_app()
        except Exception as error:
            raise AppImportError(f"Error: {words_of(error)}") from error  # gunicorn prints it, and ends

    def _begin(self, worker: Any) -> None:
        from clawportal.app import start_jobs

        app = worker.app.callable
        _stop_live_pages_on_sigterm(app.extensions["clawportal"].stopping)
        start_jobs(app, exclusive=self.plan["exclusive"])
        worker.listen_also(self.plan["bind"].rpartition(":")[0], _further_ports(app))
        _spare_the_collector()

    def _end(self, _server: Any, worker: Any) -> None:
        from clawportal.app import stop_jobs

        if worker.app.callable is not None:
            stop_jobs(worker.app.callable)


def _further_ports(app: Any) -> list[int]:
    """Those of features."""
    from clawportal.contracts.extensions import LISTENERS

    portal = app.extensions["clawportal"]
    with app.app_context():
        return [port for ports in portal.registry.targets(LISTENERS) for port in ports(portal)]


def _stop_live_pages_on_sigterm(stopping: threading.Event) -> None:
    """Open websockets would hold up the end of the worker until it is killed; told at once, they close."""
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        # not here: a handler runs in the middle of anything, and must not wait for a lock
        threading.Thread(target=stopping.set, name="stopping", daemon=True).start()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, end)


def main() -> None:
    """The one argument is the plan as JSON; nothing in it is secret."""
    Server(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
