"""Runs `clawportal` in forks of a process that has imported it: a fresh Python needs most of a command's time for that.

What runs is a process of its own all the same, with its own environment, folder, streams and process group, to be waited for and
killed. That a fresh Python starts the portal is what `PortalProcess` and the tests of the commands' own imports show.

    python -m tests.commands SOCKET          serves until its standard input ends
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
_MOST = 1 << 20


class Command:
    """One that runs. Its output goes into files, so that it never waits for a reader; `stdin` is all that it can read."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], stdin: str = "") -> None:
        self.returncode: int | None = None
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # as long as it runs
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        self._line.connect(_server().address)
        spec = json.dumps({"words": words, "environment": environment}).encode()
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode())
            given.seek(0)
            socket.send_fds(self._line, [spec], [given.fileno(), self._out.fileno(), self._err.fileno()])
        self.pid = int(self._line.recv(64))

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            return self.wait(0)
        return None

    def wait(self, timeout: float = 120) -> int:
        if self.returncode is None:
            self._line.settimeout(timeout)
            self.returncode = int(self._line.recv(64))
            self._line.close()
        return self.returncode

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it wrote to both streams, once it has ended."""
        self.wait(timeout)
        return _read(self._out), _read(self._err)

    def kill(self) -> None:
        """With all that it started, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait()


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def run(*words: str, environment: dict[str, str], stdin: str = "", timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`; a command that does not end in time is killed, and fails the test."""
    command = Command(words, environment, stdin)
    try:
        out, err = command.communicate(timeout)
    finally:
        command.kill()
    return subprocess.CompletedProcess(words, command.wait(), out, err)


class _Server:
    """The process that forks; one for each worker of pytest, and gone with it."""

    def __init__(self) -> None:
        self.address = str(Path(tempfile.mkdtemp(prefix="commands-")) / "socket")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CLAWPORTAL_", "CLAW_"))}
        environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}"
        self._process = subprocess.Popen([sys.executable, "-m", "tests.commands", self.address], cwd=ROOT, env=environment,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the process that forks commands did not start"


@cache
def _server() -> _Server:
    return _Server()


# ---- the process that forks


def serve(address: str) -> None:
    import_all()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    print("ready", flush=True)
    waited: list[Any] = [listener, 0]
    while True:
        ready = select.select(waited, [], [])[0]
        if 0 in ready:
            Path(address).unlink()
            Path(address).parent.rmdir()
            return
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _keep(line)
        line.close()


def import_all() -> None:
    """What commands import only when they need it."""
    from alembic import command, context

    from clawportal import app, declarations, pluginmanager, realtime
    from clawportal.cli import server

    assert all((app, command, context, realtime, server)), "for what they import"
    for feature in pluginmanager.load(pluginmanager.BUNDLED).features:
        for name in (*feature.models, *feature.api, *feature.pages):
            importlib.import_module(name)
        for target in (*feature.commands, *(job.run for job in feature.jobs), *feature.prepare):
            declarations.resolve(target)


def _keep(line: socket.socket) -> None:
    """Forks the command, waits for it, and tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(line, _MOST, 3)
    spec = json.loads(message)
    pid = os.fork()
    if pid == 0:
        line.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number, inheritable=True)
            os.close(stream)
        _become(spec["words"], spec["environment"])
    line.send(str(pid).encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.send(str(code).encode())
    os._exit(0)


def _become(words: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(":") if path and path not in sys.path]
    sys.argv = ["clawportal", *words]
    from clawportal.cli.server import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
