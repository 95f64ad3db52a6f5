"""The page of a claw through the portal beside the same through nginx, and beside the claw itself, by turns in one run.

How much longer a small answer takes, how many bytes of a large one pass in a second, and what a WebSocket takes for a word.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.portal import Portal, free_port

ASKED, WORDS, ROUNDS = 300, 300, 5
LARGE = 256 * 1024 * 1024
GOAL_MS, GOAL_SHARE = 10.0, 0.5
WAYS = ("the claw itself", "nginx", "the portal")


def run() -> list[dict[str, Any]]:
    if shutil.which("nginx") is None:
        return [{"what": "there is no nginx here; on Debian: apt-get install nginx-light"}]
    with Portal() as portal:
        claw = _running(portal)
        (work,) = portal.data_dir.rglob(f"*{claw['id']}*/work")
        (work / "small.txt").write_text("hello")
        with (work / "large.bin").open("wb") as file:
            file.truncate(LARGE)
        ports = {item["name"]: item["number"] for item in portal.call("GET", f"/api/v1/instances/{claw['id']}")["ports"]}
        with _nginx(ports["http"], _token(claw["id"])) as proxy:
            to = _ways(portal, claw, ports["http"], proxy)
            return [*_rows(to)]


def _running(portal: Portal) -> dict[str, Any]:
    made = portal.call("POST", "/api/v1/instances", {"name": "parrot", "adapter": "echo"})
    end = time.monotonic() + 60
    while (found := portal.call("GET", f"/api/v1/instances/{made['id']}"))["phase"] != "running":
        if time.monotonic() > end:
            raise RuntimeError("the claw does not run")
        time.sleep(0.2)
    return dict(found)


def _token(instance_id: str) -> str:
    """As it stands in the environment of the claw."""
    import psutil

    for process in psutil.process_iter():
        try:
            environ = process.environ()
        except psutil.Error:
            continue
        if "ECHO_TOKEN" in environ and any(instance_id in value for value in environ.values()):
            return environ["ECHO_TOKEN"]
    raise RuntimeError("the claw has no token")


@contextmanager
def _nginx(upstream: int, token: str) -> Iterator[int]:
    """A plain proxy that puts the token in, as the portal does."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="clawportal-nginx-") as folder:
        scratch = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        server = (
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; "
            f'proxy_set_header Authorization "Bearer {token}"; proxy_set_header Upgrade $http_upgrade; '
            f"proxy_set_header Connection $http_connection; proxy_max_temp_file_size 0; }} }}"
        )
        text = f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}} http {{ access_log off; {scratch} {server} }}"
        Path(folder, "nginx.conf").write_text(text)
        process = subprocess.Popen(["nginx", "-p", folder, "-e", f"{folder}/log", "-c", f"{folder}/nginx.conf"])
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _ways(portal: Portal, claw: dict[str, Any], direct: int, proxy: int) -> dict[str, tuple[int, dict[str, str]]]:
    """Port and headers of each way."""
    given = portal.call("POST", f"/api/v1/instances/{claw['id']}/apps/http/ticket")
    parts = urlsplit(given["url"])
    host = {"Host": parts.netloc}
    head, _ = _asked(portal.port, f"{parts.path}?{parts.query}", host)
    cookie = next(line.partition(": ")[2].partition(";")[0] for line in head.split("\r\n") if line.startswith("Set-Cookie"))
    token = {"Authorization": f"Bearer {_token(claw['id'])}", "Host": "x"}
    through = {**host, "Cookie": cookie, "Origin": given["origin"]}
    return dict(zip(WAYS, ((direct, token), (proxy, {"Host": "x"}), (portal.port, through)), strict=True))


def _asked(port: int, target: str, headers: dict[str, str]) -> tuple[str, int]:
    """The head of an answer, and how many bytes followed it."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), 60) as line:
        line.sendall("\r\n".join(lines).encode())
        room, received, head = bytearray(1 << 20), 0, b""
        while count := line.recv_into(room):
            if b"\r\n\r\n" not in head:
                head += room[:count]
            received += count
    text = head.partition(b"\r\n\r\n")[0].decode("latin-1")
    return text, received - len(text) - 4


def _rows(to: dict[str, tuple[int, dict[str, str]]]) -> Iterator[dict[str, Any]]:
    for what, measure, unit in (
        ("a small answer, p50 ms", _small, "ms"), ("a word over a WebSocket, p50 ms", _word, "ms"),
        ("a large answer, MB/s", _large, "rate"),
    ):  # fmt: skip
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:  # by turns, so that what else the machine does meets all of them
                found[way].append(measure(*to[way]))
        best = {way: (min if unit == "ms" else max)(values) for way, values in found.items()}
        row: dict[str, Any] = {"what": what, **{way: round(best[way], 2 if unit == "ms" else 0) for way in WAYS}}
        if unit == "ms":
            added = best["the portal"] - best["the claw itself"]
            yield {**row, "added ms": round(added, 2), "goal": f"<= {GOAL_MS:g} ms: {'met' if added <= GOAL_MS else 'missed'}"}
        else:
            share = best["the portal"] / best["nginx"]
            yield {**row, "of nginx": round(share, 2), "goal": f">= {GOAL_SHARE}: {'met' if share >= GOAL_SHARE else 'missed'}"}


def _small(port: int, headers: dict[str, str]) -> float:
    return _median(lambda: _asked(port, "/files/small.txt", headers), ASKED)


def _large(port: int, headers: dict[str, str]) -> float:
    begin = time.perf_counter()
    _, count = _asked(port, "/files/large.bin", headers)
    if count != LARGE:
        raise RuntimeError(f"{count} bytes came instead of {LARGE}")
    return LARGE / (time.perf_counter() - begin) / 1e6


def _word(port: int, headers: dict[str, str]) -> float:
    asked = {
        **headers, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }  # fmt: skip
    lines = ["GET /socket HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items()), "", ""]
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall("\r\n".join(lines).encode())
        if not line.recv(4096).startswith(b"HTTP/1.1 101"):
            raise RuntimeError("there is no WebSocket")
        frame = b"\x81\x81\x00\x00\x00\x00x"
        return _median(lambda: (line.sendall(frame), line.recv(4096)), WORDS)


def _median(do: Callable[[], object], times: int) -> float:
    measured = []
    for _ in range(times):
        begin = time.perf_counter()
        do()
        measured.append((time.perf_counter() - begin) * 1000)
    return statistics.median(measured)
