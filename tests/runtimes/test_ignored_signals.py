"""A portal that was started in the background ignores Ctrl-C; what it starts must hear it: children inherit what is ignored."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import Place, Ref, RunState, Runtime
from clawportal.contracts.workloads import Image, Process, Workload
from clawportal_process.driver import ProcessDriver
from clawportal_process.launch import NURSERY
from tests.kubernetes.double.api import KubeDouble

HEARS = (
    "import signal, sys, time; deaf = [str(one) for one in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM) "
    "if signal.getsignal(one) == signal.SIG_IGN]; print('deaf', deaf, flush=True); time.sleep(float(sys.argv[1]))"
)


@pytest.fixture
def ignoring() -> Iterator[None]:
    """As `make test &` in a script, or `clawportal serve &`."""
    NURSERY.close()
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGQUIT)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)
    NURSERY.close()


@pytest.fixture(params=["process", "kubernetes"])
def runtime(request: pytest.FixtureRequest, ignoring: None, tmp_path: Path) -> Iterator[Runtime]:
    if request.param == "process":
        found = ProcessDriver().connect(Place("c1", "Test", {}, str(tmp_path)))
        yield found
        found.kill(Ref("one", "one", "t-1"))
        found.close()
        return
    from clawportal_kubernetes.driver import KubernetesDriver

    with KubeDouble() as double:
        settings = double.settings()
        secrets = {"kubeconfig": settings.pop("kubeconfig")}
        found = KubernetesDriver().connect(Place("c1", "Test", settings, str(tmp_path), secrets=secrets))
        yield found
        found.close()


def test_what_is_started_hears_ctrl_c(runtime: Runtime) -> None:
    ref = Ref("one", "one", "t-1")
    process = Process("main", (sys.executable, "-I", "-S", "-c", HEARS, "600"))
    image = Image("python:3", {}) if "images" in runtime.capabilities else None
    runtime.apply(ref, Workload(processes=(process,), image=image, stop_grace=2.0), {})
    _eventually(lambda: runtime.inspect(ref).state is RunState.RUNNING)
    lines = _eventually(lambda: [line.text for line in runtime.logs(ref) if line and "deaf" in line.text])
    assert lines == ["deaf []"], "the claw"
    for tty in (False, True):
        session = runtime.exec(ref, (sys.executable, "-I", "-S", "-c", HEARS, "600"), tty=tty)
        said = b""
        until = time.monotonic() + 20
        while b"]" not in said and time.monotonic() < until:
            piece = session.receive(1.0)
            said += piece[1] if piece else b""
        assert b"deaf []" in said, f"a command, with a terminal: {tty}"
        if tty:
            session.send(b"\x03")
            with pytest.raises(EOFError):
                for _ in range(20):
                    session.receive(1.0)
        session.close()


def _eventually(found: Any) -> Any:
    until = time.monotonic() + 30
    while not (answer := found()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return answer
