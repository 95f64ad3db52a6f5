"""From create to running: one echo claw beside the same process started by hand, and a hundred at once."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import clawportal_echo
from bench.portal import Portal, free_port

ROUNDS = 7
CROWD = 100


def run() -> list[dict[str, Any]]:
    by_hand = statistics.median(_by_hand() for _ in range(ROUNDS))
    with Portal() as portal:
        _portal_one(portal, "warm-up")
        one = statistics.median(_portal_one(portal, f"one-{number}") for number in range(ROUNDS))
        crowd = _crowd(portal)
    return [
        {"what": "echo by hand, start to first answer", "seconds": round(by_hand, 3)},
        {
            "what": "echo through the portal, create to running",
            "seconds": round(one, 3),
            "more than by hand": round(one - by_hand, 3),
        },
        {
            "what": f"{CROWD} echo claws created at once, all running",
            "seconds": round(crowd, 1),
            "per second": round(CROWD / crowd, 1),
        },
    ]


def _by_hand() -> float:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = Path(folder, "echo.json")
        config.write_text(json.dumps({"host": "127.0.0.1", "port": port}))
        program = Path(clawportal_echo.__file__).with_name("claw.py")
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-I", "-S", str(program), str(config)], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port), 1) as connection:
                        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                        if b"200" in connection.recv(64):
                            return time.perf_counter() - begin
                except OSError:
                    time.sleep(0.005)
        finally:
            process.terminate()
            process.wait(10)


def _create(portal: Portal, name: str) -> str:
    return str(portal.call("POST", "/api/v1/instances", {"name": name, "adapter": "echo"})["id"])


def _portal_one(portal: Portal, name: str) -> float:
    begin = time.perf_counter()
    instance_id = _create(portal, name)
    while portal.call("GET", f"/api/v1/instances/{instance_id}")["phase"] != "running":
        if time.perf_counter() - begin > 30:
            raise RuntimeError("it does not start")
        time.sleep(0.01)
    return time.perf_counter() - begin


def _crowd(portal: Portal) -> float:
    begin = time.perf_counter()
    wanted = {_create(portal, f"crowd-{number}") for number in range(CROWD)}
    while True:
        running = portal.call("GET", "/api/v1/instances?limit=1&phase=running&q=crowd-")["total"]
        if running == len(wanted):
            return time.perf_counter() - begin
        if time.perf_counter() - begin > 120:
            raise RuntimeError(f"only {running} of {CROWD} run after two minutes")
        time.sleep(0.25)
