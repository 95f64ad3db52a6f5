"""A real portal in a process of its own, for measuring: `clawportal serve` on a fresh data folder, with a token."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

PASSWORD = "measure-me-please"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Portal:
    """`with Portal() as portal:` starts it, and ends it with every claw it left."""

    def __init__(self, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="clawportal-bench-")
        self.data_dir = Path(self._folder.name) / "data"
        self.port = free_port()
        self.environment = {
            **os.environ,
            "CLAWPORTAL_DATA_DIR": str(self.data_dir),
            "CLAWPORTAL_PORT": str(self.port),
            "CLAWPORTAL_PRACTICE_MODEL_PORT": "0",
            "CLAWPORTAL_LOG_LEVEL": "warning",
            "CLAWPORTAL_RATE_LIMIT": "",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""
        self.first_page = 0.0
        """Seconds from the start of the command to its first page, tables already there."""

    def __enter__(self) -> Self:
        self._run("db", "upgrade", "--first-start")
        self._run("user", "create", "bench", "--password-stdin", stdin=PASSWORD)
        self.start()
        self.token = self.call("POST", "/api/v1/auth/token", {"name": "bench", "password": PASSWORD, "token_name": "bench"})[
            "token"
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._remove_claws()
        finally:
            self.stop()
            self._folder.cleanup()

    def _run(self, *arguments: str, stdin: str = "") -> None:
        command = [sys.executable, "-m", "clawportal.cli.server", *arguments]
        done = subprocess.run(command, env=self.environment, input=stdin, text=True, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "clawportal.cli.server", "serve"]
        self.process = subprocess.Popen(command, env=self.environment, start_new_session=True)
        while True:
            try:
                if self.raw("GET", "/login")[0] == 200:
                    break
            except OSError:
                pass
            if time.perf_counter() - begin > 60 or self.process.poll() is not None:
                raise RuntimeError("the portal did not start")
            time.sleep(0.01)
        self.first_page = time.perf_counter() - begin

    def persons(self, count: int) -> list[str]:
        """Tokens of so many people: one person may have only so many live pages."""
        made = []
        for number in range(count):
            self._run("user", "create", f"viewer-{number}", "--password-stdin", stdin=PASSWORD)
            asked = {"name": f"viewer-{number}", "password": PASSWORD, "token_name": "bench"}
            made.append(str(self.call("POST", "/api/v1/auth/token", asked)["token"]))
        return made

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
            self.process = None

    def _remove_claws(self) -> None:
        if self.environment.get("CLAWPORTAL_JOBS") == "false":
            return  # nothing was started, and nobody would end it
        end = time.monotonic() + 120
        while items := self.call("GET", "/api/v1/instances?limit=200")["items"]:
            wanted = [item["id"] for item in items if item["phase"] not in ("deleting", "stopping")]
            if wanted:
                self.call("POST", "/api/v1/instances/bulk", {"action": "delete", "ids": wanted})
            if time.monotonic() > end:
                raise RuntimeError(f"{len(items)} claws are still there")
            time.sleep(0.5)

    def raw(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = {"Authorization": f"Bearer {self.token}"} if self.token and path.startswith("/api/") else {}
            if body is not None:
                sent["Content-Type"] = "application/json"
            connection.request(method, path, json.dumps(body) if body is not None else None, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, text = self.raw(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path} answered {status}: {text.decode()[:500]}")
        return json.loads(text) if text else None

    def processes(self) -> list[psutil.Process]:
        """What the portal itself runs: master and worker, not the claws with their supervisors."""
        assert self.process is not None
        master = psutil.Process(self.process.pid)
        return [master, *(child for child in master.children() if child.ppid() == master.pid)]

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def memory(self) -> tuple[float, float]:
        """Resident and proportional memory in MB."""
        full = [process.memory_full_info() for process in self.processes()]
        return sum(item.rss for item in full) / 1e6, sum(item.pss for item in full) / 1e6
