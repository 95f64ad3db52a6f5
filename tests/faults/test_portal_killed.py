"""The portal is killed at any moment: the next one goes on to the right end, adopts what runs, and starts nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.core.world import World, eventually
from tests.faults.child import Child
from tests.faults.portal_process import with_software
from tests.faults.wheels import make_wheel

ROOT = Path(__file__).parents[2]
CODE = """
import pathlib, sys, time
def main():
    if "--version" in sys.argv:
        print("tiny 1.0")
"""


class Victim(Child):
    """A portal in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__("tests.faults.portal_process", str(folder))
        assert self.hear() == "ready"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "portal"


@pytest.fixture
def victim(folder: Path) -> Iterator[Victim]:
    made = Victim(folder)
    yield made
    made.kill()


@pytest.fixture
def successor(folder: Path) -> Iterator[Callable[[], World]]:
    """The next portal on the same folder."""
    made: list[World] = []

    def make() -> World:
        world = World(folder, start=False, create=False)
        with_software(world)
        world.start()
        made.append(world)
        return world

    yield make
    for world in made:
        world.close()


def processes_of(instance_id: str) -> list[int]:
    """Top processes of the claw, by the path of its program."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(instance_id in part and part.endswith("claw.py") for part in command) and "-c" not in command:
            found.append(process.pid)
    return found


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.25, 0.5])
def test_during_create(victim: Victim, successor: Callable[[], World], delay: float) -> None:
    one = victim.ask("create", "one", settings={"startup_delay": 0.3})
    time.sleep(delay)
    victim.kill()
    world = successor()
    world.until(one, "running", 30)
    assert len(processes_of(one)) == 1 and world.counts(one)["starts"] == 1
    assert [row.state for row in world.ops(one)] == ["succeeded"]


def test_running_claws_are_adopted(victim: Victim, successor: Callable[[], World]) -> None:
    ids = [victim.ask("create", f"claw-{number}") for number in range(3)]
    for one in ids:
        victim.ask("until", one, "running")
    pids = [victim.ask("pid", one) for one in ids]
    victim.kill()
    assert all(processes_of(one) for one in ids), "claws survive their portal"
    world = successor()
    for one, pid in zip(ids, pids, strict=True):
        seen = world.until(one, "running")
        assert world.pid(one) == pid and processes_of(one) == [pid] and seen.restart_count == 0
    world.press("stop", ids[0])
    world.until(ids[0], "stopped")
    assert processes_of(ids[0]) == []


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_during_stop(victim: Victim, successor: Callable[[], World], delay: float) -> None:
    one = victim.ask("create", "one", settings={"ignore_sigterm": True})
    victim.ask("until", one, "running")
    victim.ask("press", "stop", one)
    time.sleep(delay)
    victim.kill()
    world = successor()
    world.until(one, "stopped", 30)
    assert processes_of(one) == [] and not world.open_ops(one)


@pytest.mark.parametrize("delay", [0.0, 0.15])
def test_during_delete(victim: Victim, successor: Callable[[], World], folder: Path, delay: float) -> None:
    one = victim.ask("create", "one")
    victim.ask("until", one, "running")
    victim.ask("press", "delete", one)
    time.sleep(delay)
    victim.kill()
    world = successor()
    world.until(one, lambda s: s.destroyed_at, 30)
    assert processes_of(one) == [] and not (folder / "clusters/local/instances" / one).exists()
    world.until(world.create("one"), "running")


def test_during_restart(victim: Victim, successor: Callable[[], World]) -> None:
    one = victim.ask("create", "one")
    victim.ask("until", one, "running")
    pid = victim.ask("pid", one)
    victim.ask("press", "restart", one)
    victim.kill()
    world = successor()
    world.until(one, lambda s: s.phase == "running" and s.settled and s.restarts_done == 1, 30)
    assert world.pid(one) != pid and len(processes_of(one)) == 1 and not world.open_ops(one)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.3, 2.5])
def test_during_install(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, successor: Callable[[], World], delay: float
) -> None:
    make_wheel(tmp_path / "shelf", "tiny", "1.0", {"tiny.py": CODE}, "[console_scripts]\ntiny = tiny:main\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    victim = Victim(folder)
    try:
        one = victim.ask("create", "one", adapter="quiet")
        time.sleep(delay)
    finally:
        victim.kill()
    world = successor()
    world.until(one, "running", 60)
    assert [row.state for row in world.installs()] == ["succeeded"] and not world.open_ops(one)


@pytest.mark.slow
def test_the_real_server(tmp_path: Path, folder: Path) -> None:
    """`clawportal serve`, killed with its whole process group and started again."""
    import socket
    import urllib.request

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "CLAWPORTAL_DATA_DIR": str(folder),
        "CLAWPORTAL_PORT": str(port), "CLAWPORTAL_RESYNC_SECONDS": "1", "CLAWPORTAL_MAX_VIEWERS": "5",
    }  # fmt: skip

    def serve() -> subprocess.Popen[bytes]:
        with (tmp_path / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "clawportal.cli.server", "serve"], cwd=ROOT, env=environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

        def answers() -> bool:
            assert process.poll() is None, (tmp_path / "serve.log").read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                    return bool(answer.status < 500)
            except OSError:
                return False

        eventually(answers, "the server answers", 40, 0.2)
        return process

    def kill(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    first = serve()
    eyes = World(folder, start=False, create=False)
    second = None
    try:
        one = eyes.create("one")  # written by another process: the server finds it by itself
        eyes.until(one, "running", 40)
        pid = eyes.pid(one)
        kill(first)
        assert processes_of(one) == [pid]
        second = serve()
        eyes.press("restart", one)
        eyes.until(one, lambda s: s.phase == "running" and s.settled and s.restarts_done == 1, 40)
        assert eyes.pid(one) != pid and len(processes_of(one)) == 1
    finally:
        for process in (first, second):
            if process is not None:
                kill(process)
        eyes.close()
