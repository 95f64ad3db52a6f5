"""Limits that the kernel holds. Marked `cgroup2`: what needs control groups of version 2 with their controllers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import Ref
from clawportal.contracts.workloads import Workload
from clawportal_process import cgroups
from clawportal_process.cgroups import Groups, Limits
from tests.runtimes.process_helpers import SLEEPER, connect, eventually, exited, python, ready, texts, workload

ONE = Ref("one")
FORKER = """
import os, time
print('ready', flush=True)
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
        count += 1
except OSError as error:
    print('stopped at', count, error.errno, flush=True)
time.sleep(600)
"""
EATER = """
import sys, time
print('ready', flush=True)
held = []
while True:
    held.append(bytearray(b'x') * 4_000_000)
    time.sleep(0.001)
"""


def missing() -> str:
    """Why the kernel cannot hold limits for us here; empty where it can."""
    return cgroups.find("0123").why


cgroup2 = pytest.mark.cgroup2
needs = pytest.mark.skipif(bool(missing()), reason=f"no control groups of version 2 for us: {missing()}")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Any]:
    found = connect(tmp_path)
    yield found
    for name in ("one", "two"):
        found.kill(Ref(name))
        eventually(lambda name=name: found.groups.remove(name) or not os.path.isdir(found.groups.path(name)), "its group is gone")


def group(runtime: Any, file: str, name: str = "one") -> str:
    return Path(runtime.groups.path(name), file).read_text().strip()


# ---- without any


def test_without_them_it_measures_and_says_why(tmp_path: Path) -> None:
    found = connect(tmp_path, settings={"control_group": "off"})
    assert not found.groups and not {"limits.kernel", "limits.cpu"} & found.capabilities
    assert "switched off" in next(item.message for item in found.diagnose() if item.name == "process: limits")
    found.apply(ONE, workload(memory_bytes=64 << 20), {})
    ready(found, ONE)
    assert not found.groups.holds("one", found.inspect(ONE).pid)
    found.kill(ONE)
    exited(found, ONE)


@pytest.mark.parametrize("controllers", ["", "cpu pids", "cpuset io"])
def test_what_the_kernel_does_not_offer_is_named(tmp_path: Path, controllers: str) -> None:
    (tmp_path / "cgroup.controllers").write_text(controllers)
    (tmp_path / "cgroup.subtree_control").write_text("")
    found = cgroups.find("m", str(tmp_path))
    assert not found and "memory" in found.why and str(tmp_path) in found.why
    assert cgroups.find("m", str(tmp_path / "nowhere")).why.startswith("They cannot be used: No such file")


def test_the_words_of_the_kernel(tmp_path: Path) -> None:
    """Into a folder that looks like a group: what is written where."""
    found = Groups(str(tmp_path), "m")
    folder = Path(found.path("one"))
    folder.mkdir()
    for name in ("memory.max", "cpu.max", "pids.max"):  # and a kernel without swap accounting
        (folder / name).write_text("")
    found.limit("one", Limits(64 << 20, 0.5, 100))
    assert [(folder / name).read_text() for name in ("memory.max", "cpu.max", "pids.max")] == ["67108864", "50000 100000", "100"]
    found.limit("one", Limits(None, None, 7))
    assert (folder / "memory.max").read_text().startswith("max") and (folder / "cpu.max").read_text().startswith("max 100000")
    (folder / "memory.max").unlink()
    with pytest.raises(FileNotFoundError):
        found.limit("one", Limits(1, None, 7))
    Groups("", "m").limit("one", Limits(1, None, 7))


# ---- with them


@needs
@cgroup2
def test_a_claw_and_its_commands_are_in_its_group(runtime: Any) -> None:
    runtime.apply(ONE, Workload(processes=(python(SLEEPER),), memory_bytes=256 << 20, cpu_cores=0.5), {})
    ready(runtime, ONE)
    assert {"limits.kernel", "limits.cpu", "limits.processes"} <= runtime.capabilities
    pid = runtime.inspect(ONE).pid
    assert str(pid) in group(runtime, "cgroup.procs").split() and runtime.groups.holds("one", pid)
    assert group(runtime, "memory.max") == str(256 << 20) and group(runtime, "cpu.max") == "50000 100000"
    assert group(runtime, "pids.max") == "512"
    command = runtime.exec(ONE, ["/bin/cat", "/proc/self/cgroup"])
    told = b""
    try:
        while (piece := command.receive(20.0)) is not None:
            told += piece[1]
    except EOFError:
        pass
    finally:
        command.close()
    assert f"{runtime.groups.mark}-one" in told.decode()
    assert "held by the kernel" in next(item.message for item in runtime.diagnose() if item.name == "process: limits")
    runtime.write_files(ONE, Workload(processes=(python(SLEEPER),), memory_bytes=300 << 20))
    assert group(runtime, "memory.max") == str(300 << 20) and group(runtime, "cpu.max") == "max 100000", "limits follow at once"
    runtime.stop(ONE, 5.0)
    exited(runtime, ONE)
    runtime.remove(ONE, keep_data=False)
    assert not os.path.isdir(runtime.groups.path("one"))


@needs
@cgroup2
def test_the_kernel_ends_what_takes_too_much_memory(runtime: Any) -> None:
    for _ in range(2):  # the second start counts from nothing again
        runtime.apply(ONE, workload(EATER, memory_bytes=80 << 20), {})
        end = exited(runtime, ONE, 60)
        assert end.reason == "OutOfMemory" and "80 MiB" in end.message and end.exit_signal == 9
    assert runtime.inspect(ONE).reason == "OutOfMemory"


@needs
@cgroup2
def test_killed_by_hand_is_no_want_of_memory(runtime: Any) -> None:
    runtime.apply(ONE, workload(memory_bytes=80 << 20), {})
    ready(runtime, ONE)
    os.kill(runtime.inspect(ONE).pid, 9)
    assert exited(runtime, ONE).reason == ""


@needs
@cgroup2
def test_a_command_that_takes_too_much_does_not_take_the_claw_along(runtime: Any) -> None:
    runtime.apply(ONE, workload(memory_bytes=96 << 20), {})
    ready(runtime, ONE)
    command = runtime.exec(ONE, list(python(EATER).argv))
    try:
        eventually(lambda: command.exit_code is not None, "the kernel ended it", 60)
        assert command.exit_code == 128 + 9
    finally:
        command.close()
    assert runtime.inspect(ONE).state == "running"
    eventually(lambda: any("the kernel ended a command" in line for line in texts(runtime, ONE)), "its log says so")


@needs
@cgroup2
def test_cpu_and_processes_are_held(tmp_path: Path, runtime: Any) -> None:
    other = connect(tmp_path, settings={"processes": 64})
    other.apply(ONE, workload(FORKER), {})
    line = eventually(lambda: next((one for one in texts(other, ONE) if one.startswith("stopped at")), ""), "forks are refused")
    assert line.split()[2:] == ["63", "11"]
    other.kill(ONE)
    exited(other, ONE)
    assert other.groups.holds("one", 1) is False
    burn = "print('ready', flush=True)\nwhile True: pass"
    other.apply(Ref("two"), workload(burn, cpu_cores=0.2), {})
    ready(other, Ref("two"))
    stat = lambda: dict(line.split() for line in group(other, "cpu.stat", "two").splitlines())  # noqa: E731  # a line
    eventually(lambda: int(stat()["nr_throttled"]) >= 5, "it is held back")
    periods, used = int(stat()["nr_periods"]), int(stat()["usage_usec"])
    assert used <= (periods + 3) * 20_000 * 1.5, "a fifth of each period"
