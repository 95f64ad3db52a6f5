"""From a key to its echo: in a terminal of this machine alone, in a console of the portal, and in a container of an engine."""

from __future__ import annotations

import os
import pty
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import simple_websocket

from bench.portal import Portal

KEYS = 100
PATIENCE = 30.0
GOAL_MS = 50
SHELL = ("/bin/sh", "-c", "stty raw -echo; echo ready; exec cat")


def run() -> list[dict[str, Any]]:
    rows = [_terminal(), _portal()]
    return [*rows, *_docker()]


def _measured(what: str, send: Callable[[bytes], object], receive: Callable[[], bytes]) -> dict[str, Any]:
    """The shell is one that gives each key back, so that nothing but the way counts. A pause between keys, as people make."""
    said = b""
    while b"ready" not in said:
        said += receive()
    times = []
    for _ in range(KEYS):
        begin = time.perf_counter()
        send(b"x")
        while b"x" not in receive():
            pass
        times.append((time.perf_counter() - begin) * 1000)
        time.sleep(0.03)
    p95 = statistics.quantiles(times, n=20)[-1]
    return {"what": what, "p50 ms": round(statistics.median(times), 1), "p95 ms": round(p95, 1), "worst ms": round(max(times), 1)}


def _goal(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, f"p95 < {GOAL_MS} ms": "met" if row["p95 ms"] < GOAL_MS else "missed"}


def _terminal() -> dict[str, Any]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(SHELL, stdin=theirs, stdout=theirs, start_new_session=True)
    try:
        return _measured("a terminal, no portal", lambda data: os.write(ours, data), lambda: os.read(ours, 4096))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def _portal() -> dict[str, Any]:
    with Portal() as portal:
        claw = str(portal.call("POST", "/api/v1/instances", {"name": "typist", "adapter": "echo"})["id"])
        end = time.monotonic() + PATIENCE
        while portal.call("GET", f"/api/v1/instances/{claw}")["phase"] != "running":
            if time.monotonic() > end:
                raise RuntimeError("the claw does not start")
            time.sleep(0.1)
        url = f"ws://127.0.0.1:{portal.port}/api/v1/instances/{claw}/console?columns=80&rows=24"
        line = simple_websocket.Client.connect(url, headers={"Authorization": f"Bearer {portal.token}"})
        try:
            line.send(f"exec {SHELL[0]} -c '{SHELL[2]}'\n".encode())
            return _goal(_measured("a console of the portal, this machine", line.send, lambda: _bytes(line.receive(PATIENCE))))
        finally:
            line.close()


def _bytes(piece: bytes | str | None) -> bytes:
    if piece is None:
        raise TimeoutError("nothing came back")
    return piece if isinstance(piece, bytes) else piece.encode()


def _docker() -> list[dict[str, Any]]:
    """A command of the runtime beside the engine's own; none where no engine can be started."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "docker"))
    import engine as engines

    if why := engines.why_not():
        return [{"what": f"Docker: {why}"}]
    with engines.own_engine() as daemon, engines.connected(daemon.url) as client:
        quiet = client.create_host_config(network_mode="none")
        box = client.create_container(engines.IMAGE, ["sleep", "600"], host_config=quiet)["Id"]
        client.start(box)
        try:
            return [_engine(client, box), _runtime(client, box)]
        finally:
            client.remove_container(box, force=True)


def _engine(client: Any, box: str) -> dict[str, Any]:
    made = client.exec_create(box, list(SHELL), stdin=True, tty=True)
    sock = client.exec_start(made["Id"], tty=True, socket=True)
    inner = getattr(sock, "_sock", sock)
    inner.settimeout(PATIENCE)
    try:
        return _measured("an engine's exec, no portal", inner.sendall, lambda: inner.recv(4096))
    finally:
        sock.close()


def _runtime(client: Any, box: str) -> dict[str, Any]:
    from clawportal_docker.streams import Exec

    made = client.exec_create(box, list(SHELL), stdin=True, tty=True)
    session = Exec(client, made["Id"], client.exec_start(made["Id"], tty=True, socket=True), tty=True, end=lambda: None)
    try:
        return _goal(_measured("a command of the Docker runtime", session.send, lambda: _piece(session)))
    finally:
        session.close()


def _piece(session: Any) -> bytes:
    found = session.receive(PATIENCE)
    if found is None:
        raise TimeoutError("nothing came back")
    return bytes(found[1])
