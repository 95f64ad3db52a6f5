"""The socket of an engine on another machine, brought here by the portal's own SSH client: Docker's, or Podman's by its path."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO
from urllib.parse import urlsplit

from clawportal.sdk import _m
from clawportal.sdk.errors import Unavailable

DOCKER = "/var/run/docker.sock"
PATIENCE = 20.0
"""Seconds for a sign-in over there."""
_AGAIN = 2.0
_OPTIONS = (
    "BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3", "ConnectTimeout=15",
    "StreamLocalBindUnlink=yes", "StreamLocalBindMask=0177", "ControlMaster=no", "ControlPath=none",
)  # fmt: skip


class Forward:
    """`ssh -L` as long as it is open; begun anew where it ends. Keys and known hosts are those of the portal's user."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._folder = tempfile.mkdtemp(prefix="claw-ssh-")
        self.socket = f"{self._folder}/engine.sock"
        there = parts.path if len(parts.path) > 1 else DOCKER
        options = [part for option in _OPTIONS for part in ("-o", option)]
        options += ["-l", parts.username] if parts.username else []
        options += ["-p", str(parts.port)] if parts.port else []
        self._argv = ["ssh", "-N", "-T", *options, "-L", f"{self.socket}:{there}", "--", str(parts.hostname)]
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # as long as this
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"ssh {parts.hostname}", daemon=True)

    def address(self) -> str:
        """Where the engine is reached on this machine. Unavailable in the words of ssh where there is no way."""
        with self._lock:
            if self._process is None:
                self._start()
                self._thread.start()
        until = time.monotonic() + PATIENCE
        while not os.path.exists(self.socket):
            process = self._process
            if process is None or process.poll() is not None or time.monotonic() > until:
                raise Unavailable(
                    _m("The container engine cannot be reached by SSH: %(_said)s", _said=self._said() or _m("no answer in time"))
                )
            time.sleep(0.05)
        return f"unix://{self.socket}"

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._words, start_new_session=True
            )
        except OSError as error:
            raise Unavailable(
                _m("The container engine cannot be reached by SSH: there is no ssh here (%(strerror)s).", strerror=error.strerror)
            ) from error

    def _keep(self) -> None:
        while not self._closed.is_set():
            assert self._process is not None
            self._process.wait()
            if self._closed.wait(_AGAIN):
                return
            with self._lock, suppress(Unavailable):
                if not self._closed.is_set():
                    self._words.seek(0)
                    self._words.truncate()
                    self._start()

    def _said(self) -> str:
        self._words.seek(0)
        return self._words.read(4000).decode(errors="replace").strip()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            process = self._process
            if process is not None and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        shutil.rmtree(self._folder, ignore_errors=True)
