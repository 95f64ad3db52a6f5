"""Gunicorn's own threaded worker beside ours, in one run: answers under hostile connections, plain speed, and live viewers.

Each is asked for a page by somebody else while the connections of the row are open. The file limit is what the shell gives.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from bench import fanout
from bench.portal import Portal

THREADS, VIEWERS = 64, 600
WATCHED = 500
SERVERS = {
    "gthread": ["-k", "gthread", "--threads", str(THREADS + VIEWERS)],
    "ours": ["-k", "clawportal.wire.worker.Worker", "--threads", str(THREADS)],
}
CLOSE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
KEEP = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
HALF_BODY = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
HOSTILE = {
    "20 closed answers, socket open": (20, CLOSE), "500 closed answers, socket open": (500, CLOSE), "400 idle": (400, KEEP),
    "4,000 idle": (4000, KEEP), "664 half heads": (664, HALF_HEAD), "664 half bodies": (664, HALF_BODY),
}  # fmt: skip
SETTLE = 5.0
PATIENCE = 35.0
"""Seconds that an answer is waited for."""


class Server(Portal):
    """As `Portal`, but with gunicorn called by hand, so that both workers are started alike."""

    def __init__(self, options: list[str]) -> None:
        super().__init__(CLAWPORTAL_JOBS="true", CLAWPORTAL_MAX_VIEWERS=str(VIEWERS))
        self.options = options
        self.environment["MALLOC_ARENA_MAX"] = "2"  # as `clawportal serve` sets it; what is kept free is no figure of a worker

    def start(self) -> None:
        begin = time.perf_counter()
        bind = ["-b", f"127.0.0.1:{self.port}", "-w", "1", "--timeout", "120", "--graceful-timeout", "5", "--keep-alive", "30"]
        command = [sys.executable, "-m", "gunicorn", *bind, *self.options, "--log-level", "error", "wsgi:app"]
        self.process = subprocess.Popen(command, env=self.environment, start_new_session=True)
        while not self._answers():
            if time.perf_counter() - begin > 60 or self.process.poll() is not None:
                raise RuntimeError("the portal did not start")
            time.sleep(0.05)
        self.first_page = time.perf_counter() - begin

    def _answers(self) -> bool:
        try:
            return self.raw("GET", "/login")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        """What hangs is not waited for."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
            self.process = None


def run() -> list[dict[str, Any]]:
    columns = {name: _measured(options) for name, options in SERVERS.items()}
    rows = dict.fromkeys(row for found in columns.values() for row in found)
    return [{"what": row, **{name: found.get(row, "") for name, found in columns.items()}} for row in rows]


def _measured(options: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with Server(options) as portal:
        found |= _plain(portal)
        for name, (count, says) in HOSTILE.items():
            wait = _under(portal, count, says)
            found[f"{name}: next answer s"] = wait
            if isinstance(wait, str) or wait > 1:  # so that the next row begins with a rested server
                portal.stop()
                portal.start()
        portal.stop()
        portal.start()  # both begin alike, whatever the rows above did to one of them
        try:
            found |= _viewers(portal)
        except Exception as error:  # a machine that is too busy for so many; the other rows stand
            found[f"{WATCHED} viewers"] = f"not measured: {error or type(error).__name__}"
    return found


def _plain(portal: Portal) -> dict[str, Any]:
    cpu, begin = portal.cpu_seconds(), time.monotonic()
    time.sleep(10)
    idle = 100 * (portal.cpu_seconds() - cpu) / (time.monotonic() - begin)
    rates = {path: _rate(portal.port, path) for path in ("/healthz", "/login")}
    return {
        "idle CPU %": round(idle, 2), "idle RSS MB": round(portal.memory()[0]),
        **{f"{path}, 4 keep-alive clients, requests/s": round(rate) for path, rate in rates.items()},
    }  # fmt: skip


def _rate(port: int, path: str, seconds: float = 5.0, clients: int = 4) -> float:
    with multiprocessing.Pool(clients) as pool:
        return sum(pool.starmap(_ask_for, [(port, path, seconds)] * clients)) / seconds


def _ask_for(port: int, path: str, seconds: float) -> int:
    connection, count, end = HTTPConnection("127.0.0.1", port), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        connection.request("GET", path)
        connection.getresponse().read()
        count += 1
    return count


def _under(portal: Portal, count: int, says: bytes) -> float | str:
    with _open(portal.port, count, says):
        wait = _wait(portal.port)
    return f"> {PATIENCE:g}" if wait >= PATIENCE else round(wait, 3)


@contextmanager
def _open(port: int, count: int, says: bytes) -> Iterator[None]:
    made = []
    try:
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", port), 5)
            made.append(one)
            one.sendall(says)
        time.sleep(SETTLE if says == KEEP else 0)  # they are idle once they have been answered
        yield
    except TimeoutError:  # not even accepted any more
        yield
    finally:
        for one in made:
            one.close()


def _wait(port: int) -> float:
    begin = time.monotonic()
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()
    except OSError:
        return PATIENCE
    return time.monotonic() - begin


def _viewers(portal: Portal) -> dict[str, Any]:
    """Many people at one log."""
    instance_id = fanout._claw(portal)
    got = fanout._measure(portal, instance_id, WATCHED, portal.persons(WATCHED // fanout.EACH))
    names = ("p50 ms", "p99 ms", "worst ms", "CPU %", "RSS MB", "threads", "connect all s")
    return {f"{WATCHED} viewers, {name}": got[name] for name in names}


if __name__ == "__main__":
    from bench.__main__ import main

    sys.argv = [sys.argv[0], "serving"]
    main()
