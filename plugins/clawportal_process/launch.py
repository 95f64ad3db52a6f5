"""Starts a supervisor so that it has nothing in common with the portal: no session, no descriptor, no environment."""

from __future__ import annotations

import atexit
import marshal
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry

_CODE = (
    "import sys; package = type(sys)('clawportal_process'); package.__path__ = [sys.argv.pop(1)];"
    "sys.modules['clawportal_process'] = package; from clawportal_process import nursery; nursery.main()"
)
"""The package without its `__init__`, which would load the portal."""
ANSWER_SECONDS = 30.0
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@cache
def python() -> str:
    """The interpreter for supervisors and virtual environments. A single-file binary is none itself: it needs one from PATH."""
    if not getattr(sys, "frozen", False):
        return sys.executable
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found and _new_enough(found):
            return found
    raise GiveUp(
        _n("PythonMissing"),
        _m("No Python 3.11 or newer was found in PATH."),
        _m("Install Python 3.11 or newer (Debian: apt install python3-venv)."),
    )


def _new_enough(path: str) -> bool:
    command = [path, "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def command(mode: str, arguments: Sequence[str]) -> list[str]:
    """Not `nursery.py` as a script: a module is compiled once, a script at each start."""
    return [python(), "-X", "utf8", "-I", "-S", "-c", _CODE, str(Path(__file__).parent), mode, *arguments]


class Nursery:
    """The process that forks supervisors. It ends with the portal; the supervisors do not."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._owner = 0
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def request(self, run: Path, spec: int, answer: int) -> None:
        """Hand over a folder and two descriptors; a nursery that somebody killed is replaced."""
        with self._guard:
            for attempt in (1, 2):
                try:
                    socket.send_fds(self._open(), [os.fsencode(run)], [spec, answer])
                    return
                except OSError as error:
                    self._close()
                    if attempt == 2:
                        raise Retry(_n("MachineError"), _m("The supervisor cannot be started: %(error)s", error=error)) from error

    def _open(self) -> socket.socket:
        if self._channel is None or self._owner != os.getpid():  # a forked worker needs one of its own
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    command("nursery", []), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    cwd="/", env={}, start_new_session=True,
                )  # fmt: skip
            self._channel, self._owner = ours, os.getpid()
        return self._channel

    def close(self) -> None:
        with self._guard:
            self._close()

    def _close(self) -> None:
        if self._channel is not None and self._owner == os.getpid():
            self._channel.close()
            if self._process is not None:
                self._process.wait()
        self._channel = self._process = None


NURSERY = Nursery()
atexit.register(NURSERY.close)


def start(run: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Start a supervisor in `run` and wait until its processes run. The spec, with its secrets, is in memory only."""
    raw = marshal.dumps(dict(spec), 2)
    answer, answer_in = os.pipe()
    memory = os.memfd_create("spec")
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(len(raw).to_bytes(8, "big") + raw)
        os.lseek(memory, 0, os.SEEK_SET)
        NURSERY.request(run, memory, answer_in)
    except BaseException:
        os.close(answer)
        raise
    finally:
        os.close(memory)
        os.close(answer_in)
    with os.fdopen(answer, "rb", buffering=0) as pipe:
        return _answer(pipe.fileno())


def _answer(handle: int) -> dict[str, Any]:
    if not select.select([handle], [], [], ANSWER_SECONDS)[0]:
        raise Retry(
            _n("Starting"), _m("The supervisor has not answered yet; this machine may be very busy."), timedelta(seconds=2)
        )
    raw = os.read(handle, 65536)
    if not raw:
        raise Retry(_n("SupervisorLost"), _m("The supervisor ended before the claw was started."), timedelta(seconds=2))
    answer: dict[str, Any] = marshal.loads(raw)  # noqa: S302  # from our own supervisor, through a pipe that nobody else has
    return answer
