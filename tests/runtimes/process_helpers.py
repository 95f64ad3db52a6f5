"""Small real claws and waits for the tests of the process runtime."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clawportal.contracts.runtimes import Observed, Place, Ref, RunState, Runtime
from clawportal.contracts.workloads import File, Process, Workload
from clawportal_process.driver import ProcessDriver

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        devnull = os.open("/dev/null", os.O_RDWR)
        for handle in (0, 1, 2):
            os.dup2(devnull, handle)
        with open("daemon.new", "w") as file:
            file.write(str(os.getpid()))
        os.rename("daemon.new", "daemon.pid")
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists("daemon.pid"):
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(600)
"""


def python(code: str, *arguments: str, name: str = "main", **fields: Any) -> Process:
    return Process(name, (sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(code), *arguments), **fields)


def workload(code: str = SLEEPER, *, files: tuple[File, ...] = (), **fields: Any) -> Workload:
    return Workload(processes=(python(code),), files=files, **fields)


def connect(folder: Path, *, settings: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Any:
    return ProcessDriver().connect(Place("here", "This machine", settings or {}, str(folder), environment or {}))


def eventually(found: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true answer; the test fails when the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = found()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def texts(runtime: Runtime, ref: Ref, stream: str = "", **options: Any) -> list[str]:
    lines = [line for line in runtime.logs(ref, **options) if line is not None]
    return [line.text for line in lines if stream in ("", line.stream)]


def ready(runtime: Runtime, ref: Ref) -> None:
    eventually(lambda: "ready" in texts(runtime, ref), f"{ref} says that it is ready")


def exited(runtime: Runtime, ref: Ref, seconds: float = 20.0) -> Observed:
    eventually(lambda: runtime.inspect(ref).state is RunState.EXITED, f"{ref} has ended", seconds)
    return runtime.inspect(ref)


def exists(pid: int) -> bool:
    """Running, not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextmanager
def runtime_in(folder: Path, **options: Any) -> Iterator[Any]:
    """A runtime whose instances are gone afterwards, whatever the test did."""
    runtime = connect(folder, **options)
    try:
        yield runtime
    finally:
        for entry in (folder / "instances").iterdir():
            runtime.kill(Ref(entry.name))
        runtime.close()
