"""From a line that a claw writes to the event in a browser, with many browsers at one log: a real server, a real claw."""

from __future__ import annotations

import json
import multiprocessing
import selectors
import socket
import sys
import time
from datetime import datetime
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Ping, RejectConnection, Request, TextMessage

from bench.portal import Portal

VIEWERS = (1, 200)
LINES_PER_SECOND = 10
SECONDS = 20.0
WARM_UP = 2.0
GOAL_MS = 500
EACH = 50
"""Viewers that are one person."""


def run() -> list[dict[str, Any]]:
    with Portal() as portal:
        instance_id, tokens = _claw(portal), portal.persons(-(-max(VIEWERS) // EACH))
        return [_measure(portal, instance_id, viewers, tokens) for viewers in VIEWERS]


def _claw(portal: Portal) -> str:
    wanted = {"name": "fanout", "adapter": "echo", "spec": {"settings": {"log_every": 1 / LINES_PER_SECOND}}}
    instance_id = str(portal.call("POST", "/api/v1/instances", wanted)["id"])
    end = time.monotonic() + 30
    while portal.call("GET", f"/api/v1/instances/{instance_id}")["phase"] != "running":
        if time.monotonic() > end:
            raise RuntimeError("the claw does not start")
        time.sleep(0.1)
    return instance_id


def _measure(portal: Portal, instance_id: str, viewers: int, tokens: list[str]) -> dict[str, Any]:
    """One round; viewers live in a process of their own, so that they do not slow the server by Python's lock."""
    ready, results = multiprocessing.Event(), multiprocessing.Queue()  # type: ignore[var-annotated]  # of plain dicts
    process = multiprocessing.Process(target=_watch, args=(portal.port, tokens, instance_id, viewers, ready, results))
    process.start()
    try:
        if not ready.wait(60):
            raise RuntimeError("the viewers could not connect")
        time.sleep(WARM_UP)
        cpu, begin = portal.cpu_seconds(), time.monotonic()
        time.sleep(SECONDS / 2)
        readers = _readers(portal, instance_id)
        time.sleep(SECONDS / 2)
        used = (portal.cpu_seconds() - cpu) / (time.monotonic() - begin)
        memory, threads = portal.memory()[0], sum(process.num_threads() for process in portal.processes())
        got: dict[str, Any] = results.get(timeout=60)
    finally:
        process.terminate()
        process.join(10)
    return {
        "what": f"{viewers} viewers of one log, {LINES_PER_SECOND} lines/s", **got, "readers": readers,
        "CPU %": round(100 * used, 1), "RSS MB": round(memory), "threads": threads,
        f"p99 < {GOAL_MS} ms": "met" if got["p99 ms"] < GOAL_MS else "missed",
    }  # fmt: skip


def _readers(portal: Portal, instance_id: str) -> int:
    """How often the portal has the claw's log open."""
    files = [file.path for process in portal.processes() for file in process.open_files()]
    return sum(1 for path in files if instance_id in path and path.endswith("/run/log"))


# ---- the viewers


class _Viewer:
    """As little of Socket.IO as a viewer needs."""

    def __init__(self, port: int, token: str, instance_id: str) -> None:
        self.instance_id = instance_id
        self.lines: list[float] = []
        self.joined = False
        self.wire = WSConnection(ConnectionType.CLIENT)
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        target, proof = "/socket.io/?EIO=4&transport=websocket", [(b"Authorization", f"Bearer {token}".encode())]
        self.socket.sendall(self.wire.send(Request(host=f"127.0.0.1:{port}", target=target, extra_headers=proof)))
        self._token = token

    def read(self, began: float) -> None:
        data = self.socket.recv(65536)
        now = time.time()
        if not data:
            raise RuntimeError("the server closed a viewer's connection")
        self.wire.receive_data(data)
        text = ""
        for event in self.wire.events():
            if isinstance(event, RejectConnection):
                raise RuntimeError(f"a viewer was refused: {event.status_code}")
            if isinstance(event, AcceptConnection):
                continue
            if isinstance(event, Ping):
                self.socket.sendall(self.wire.send(event.response()))
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    self._message(text, now, began)
                    text = ""

    def _message(self, text: str, now: float, began: float) -> None:
        if text.startswith("0"):
            self.say("40/logs," + json.dumps({"token": self._token}))
        elif text.startswith("40/logs"):
            self.say("42/logs," + json.dumps(["join", {"instance_id": self.instance_id, "tail": 10}]))
        elif text == "2":
            self.say("3")
        elif text.startswith("42/logs,"):
            name, data = json.loads(text.removeprefix("42/logs,"))
            if name == "problem":
                raise RuntimeError(data["detail"])
            self.joined = True
            if data["dropped"]:
                raise RuntimeError(f"{data['dropped']} lines were dropped for a viewer")
            times = (datetime.fromisoformat(line[0]).timestamp() for line in data["lines"])
            self.lines.extend(now - at for at in times if at >= began)

    def say(self, text: str) -> None:
        self.socket.sendall(self.wire.send(TextMessage(data=text)))


def _watch(port: int, tokens: list[str], instance_id: str, count: int, ready: Any, results: Any) -> None:
    try:
        results.put(_watched(port, tokens, instance_id, count, ready))
    except Exception as error:
        sys.exit(f"viewers: {error}")


def _watched(port: int, tokens: list[str], instance_id: str, count: int, ready: Any) -> dict[str, Any]:
    selector = selectors.DefaultSelector()
    viewers: list[_Viewer] = []
    begin = time.monotonic()
    forever = float("inf")
    for number in range(count):
        viewer = _Viewer(port, tokens[number // EACH], instance_id)
        viewers.append(viewer)
        selector.register(viewer.socket, selectors.EVENT_READ, viewer)
        _turn(selector, 0.0, forever)
    while not all(viewer.joined for viewer in viewers):
        _turn(selector, 0.5, forever)
    connected = time.monotonic() - begin
    ready.set()
    warm = time.monotonic() + WARM_UP
    while time.monotonic() < warm:
        _turn(selector, 0.2, forever)
    began, end = time.time(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        _turn(selector, 0.2, began)
    late = sorted(moment for viewer in viewers for moment in viewer.lines)
    expected = SECONDS * LINES_PER_SECOND * count
    if len(late) < 0.9 * expected:
        raise RuntimeError(f"only {len(late)} of {expected:.0f} lines arrived")
    return {
        "lines": len(late), "p50 ms": round(1000 * late[len(late) // 2]), "p99 ms": round(1000 * late[int(len(late) * 0.99)]),
        "worst ms": round(1000 * late[-1]), "connect all s": round(connected, 1),
    }  # fmt: skip


def _turn(selector: selectors.BaseSelector, timeout: float, began: float) -> None:
    for key, _ in selector.select(timeout):
        key.data.read(began)


if __name__ == "__main__":
    from bench.__main__ import main

    sys.argv = [sys.argv[0], "fanout"]
    main()
