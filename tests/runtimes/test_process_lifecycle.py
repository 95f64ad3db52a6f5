"""Start, stop, kill and what an instance leaves behind, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clawportal.contracts.runtimes import Observed, Ref, RunState
from clawportal.contracts.workloads import Workload
from clawportal.errors import Conflict, GiveUp, Retry
from tests.runtimes.process_helpers import (
    DAEMON,
    SLEEPER,
    STUBBORN,
    connect,
    eventually,
    exists,
    exited,
    python,
    ready,
    runtime_in,
    texts,
    workload,
)

ONE = Ref("one")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Any]:
    with runtime_in(tmp_path / "place") as found:
        yield found


def run_folder(runtime: Any, ref: Ref = ONE) -> Path:
    return Path(runtime.layout(ref, ()).home).parent / "run"


def state(runtime: Any, ref: Ref = ONE) -> dict[str, Any]:
    return json.loads((run_folder(runtime, ref) / "state.json").read_text())


def test_starts_and_stops(runtime: Any) -> None:
    plan = workload()
    assert runtime.inspect(ONE).state is RunState.ABSENT
    seen = runtime.apply(ONE, plan, {})
    assert (seen.state, seen.digest) == (RunState.RUNNING, plan.digest())
    assert exists(seen.pid) and seen.started_at is not None
    ready(runtime, ONE)
    began = time.monotonic()
    runtime.stop(ONE, 10)
    assert time.monotonic() - began < 8
    end = exited(runtime, ONE)
    assert (end.exit_code, end.exit_signal, end.reason) == (None, signal.SIGTERM, "Stopped")
    assert end.exited_at is not None and not exists(seen.pid)
    assert time.monotonic() - began < 30
    again = runtime.apply(ONE, plan, {})
    assert again.state is RunState.RUNNING and again.incarnation != seen.incarnation


def test_stop_and_kill_of_nothing_are_fine(runtime: Any) -> None:
    runtime.stop(ONE, 1)
    runtime.kill(ONE)
    runtime.remove(ONE, keep_data=False)
    assert runtime.observe() == []


def test_one_that_ignores_sigterm_is_killed_after_the_grace(runtime: Any) -> None:
    seen = runtime.apply(ONE, workload(STUBBORN), {})
    ready(runtime, ONE)
    began = time.monotonic()
    runtime.stop(ONE, 0.7)
    end = exited(runtime, ONE)
    assert 0.6 < time.monotonic() - began < 5
    assert (end.exit_signal, end.reason) == (signal.SIGKILL, "Stopped")
    assert "did not end when asked" in end.message and not exists(seen.pid)


def test_a_dead_portal_does_not_lengthen_the_grace(tmp_path: Path) -> None:
    """The supervisor alone keeps the time."""
    with runtime_in(tmp_path) as runtime:
        runtime.apply(ONE, workload(STUBBORN), {})
        ready(runtime, ONE)
        runtime.stop(ONE, 0.5)
        supervisor = state(runtime)["pid"]
        eventually(lambda: not exists(supervisor), "the supervisor has ended without being looked at")


def test_kill_ends_at_once(runtime: Any) -> None:
    seen = runtime.apply(ONE, workload(STUBBORN), {})
    ready(runtime, ONE)
    runtime.stop(ONE, 300)
    runtime.kill(ONE)
    end = runtime.inspect(ONE)
    assert (end.state, end.exit_signal, end.reason) == (RunState.EXITED, signal.SIGKILL, "Killed")
    assert not exists(seen.pid)


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 3), (78, 78)])
def test_one_that_exits_at_once_leaves_its_code_and_words(runtime: Any, code: int, expected: int) -> None:
    runtime.apply(ONE, workload(f"print('last words'); raise SystemExit({code})"), {})
    end = exited(runtime, ONE)
    assert (end.exit_code, end.exit_signal, end.reason) == (expected, None, "")
    assert texts(runtime, ONE) == ["last words"]


def test_a_crash_by_signal_is_told_as_signal(runtime: Any) -> None:
    runtime.apply(ONE, workload("import os; os.kill(os.getpid(), 11)"), {})
    end = exited(runtime, ONE)
    assert (end.exit_code, end.exit_signal) == (None, 11)


def test_what_cannot_be_executed_says_so(runtime: Any) -> None:
    plan = workload()
    missing = replace(plan, processes=(replace(plan.processes[0], argv=("/nowhere/claw",)),))
    end = exited(runtime, runtime.apply(ONE, missing, {}).ref)
    assert (end.exit_code, end.reason) == (127, "CannotStart")
    assert "/nowhere/claw" in end.message and "No such file" in end.message
    assert any("/nowhere/claw" in text for text in texts(runtime, ONE, "portal"))


def test_when_one_process_ends_the_others_are_ended(runtime: Any) -> None:
    plan = Workload(
        processes=(python(SLEEPER, name="gateway"), python("import time; time.sleep(0.3); raise SystemExit(7)", name="side")),
        stop_grace=5,
    )
    seen = runtime.apply(ONE, plan, {})
    end = exited(runtime, ONE)
    assert (end.exit_code, end.reason) == (7, "")
    assert not exists(seen.pid)


def test_a_tree_with_a_daemon_is_sampled_and_stopped(runtime: Any) -> None:
    runtime.apply(ONE, workload(DAEMON), {})
    ready(runtime, ONE)
    daemon = int((Path(runtime.layout(ONE, ()).work) / "daemon.pid").read_text())
    (sample,) = runtime.sample()
    assert sample.processes == 2 and sample.memory_bytes > 5_000_000
    assert exists(daemon)
    runtime.stop(ONE, 0.5)
    exited(runtime, ONE)
    assert not exists(daemon)


def test_a_daemon_does_not_outlive_a_claw_that_ends_by_itself(runtime: Any) -> None:
    runtime.apply(ONE, workload(DAEMON.rsplit("time.sleep(600)", 1)[0] + "sys.exit(4)"), {})
    end = exited(runtime, ONE)
    assert end.exit_code == 4
    daemon = int((Path(runtime.layout(ONE, ()).work) / "daemon.pid").read_text())
    assert not exists(daemon)


def test_cpu_of_reaped_children_counts(runtime: Any) -> None:
    code = """
    import os, time
    if os.fork() == 0:
        until = time.process_time() + 0.4
        while time.process_time() < until: pass
        os._exit(0)
    os.wait(); print('ready', flush=True); time.sleep(600)
    """
    runtime.apply(ONE, workload(code), {})
    ready(runtime, ONE)
    (sample,) = runtime.sample()
    assert 0.35 <= sample.cpu_seconds < 5 and sample.processes == 1


def test_apply_twice_is_one_start(runtime: Any) -> None:
    first = runtime.apply(ONE, workload(), {})
    assert runtime.apply(ONE, workload(), {}) == first
    with pytest.raises(Conflict, match="Stop it first"):
        runtime.apply(ONE, workload(STUBBORN), {})
    assert runtime.inspect(ONE) == first


def test_two_threads_and_two_portals_start_it_once(tmp_path: Path) -> None:
    with runtime_in(tmp_path) as runtime:
        others = [runtime, connect(tmp_path), connect(tmp_path), runtime]
        with ThreadPoolExecutor(4) as pool:
            seen = list(pool.map(lambda each: each.apply(ONE, workload(), {}), others))
        assert len({each.incarnation for each in seen}) == 1
        assert sum(SLEEPER.encode() in line for line in _command_lines(tmp_path)) == 1


def _command_lines(folder: Path) -> list[bytes]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                if f"HOME={folder}".encode() in environment:
                    found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return found


def test_apply_while_it_stops_asks_to_come_again(runtime: Any) -> None:
    runtime.apply(ONE, workload(STUBBORN), {})
    ready(runtime, ONE)
    runtime.stop(ONE, 60)
    eventually(lambda: (run_folder(runtime) / "stopping").exists(), "the stop has arrived")
    with pytest.raises(Retry) as caught:
        runtime.apply(ONE, workload(STUBBORN), {})
    assert caught.value.reason == "Stopping"


def test_files_can_change_without_a_restart(runtime: Any) -> None:
    first = runtime.apply(ONE, workload(), {})
    changed = workload(memory_bytes=999_000_000)
    runtime.write_files(ONE, changed)
    seen = runtime.inspect(ONE)
    assert (seen.incarnation, seen.digest) == (first.incarnation, changed.digest())
    assert runtime.apply(ONE, changed, {}) == seen
    runtime.kill(ONE)
    assert runtime.apply(ONE, workload(), {}).digest == workload().digest()


def test_remove_refuses_what_runs_and_keeps_data_when_told(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    with pytest.raises(Conflict, match="still runs"):
        runtime.remove(ONE, keep_data=False)
    runtime.kill(ONE)
    kept = Path(runtime.layout(ONE, ()).work) / "memory.txt"
    kept.write_text("remember")
    runtime.remove(ONE, keep_data=True)
    assert runtime.inspect(ONE).state is RunState.ABSENT and runtime.observe() == []
    runtime.apply(ONE, workload(), {})
    assert kept.read_text() == "remember"
    runtime.kill(ONE)
    (kept.parent / "locked").mkdir(mode=0o000)
    runtime.remove(ONE, keep_data=False)
    runtime.remove(ONE, keep_data=False)
    assert not kept.parent.parent.exists() and not list(
        (runtime.base / "trash").glob("*") if (runtime.base / "trash").exists() else ()
    )


PORTAL = """
import sys, time
from clawportal.contracts.runtimes import Place, Ref
from clawportal.contracts.workloads import Process, Workload
from clawportal_process.driver import ProcessDriver
runtime = ProcessDriver().connect(Place("here", "", {}, sys.argv[1]))
plan = Workload(processes=(Process("main", (sys.executable, "-I", "-S", "-u", "-c", sys.argv[2])),))
print(runtime.apply(Ref("one"), plan, {}).incarnation, flush=True)
time.sleep(600)
"""


def test_a_claw_survives_the_kill_of_the_portal_and_is_adopted(tmp_path: Path) -> None:
    portal = subprocess.Popen(
        [sys.executable, "-c", PORTAL, str(tmp_path), SLEEPER], stdout=subprocess.PIPE, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert portal.stdout
    incarnation = portal.stdout.readline().strip()
    assert incarnation
    os.killpg(portal.pid, signal.SIGKILL)
    portal.wait(10)
    portal.stdout.close()
    with runtime_in(tmp_path) as runtime:
        seen = runtime.inspect(ONE)
        assert (seen.state, seen.incarnation) == (RunState.RUNNING, incarnation)
        assert [each.incarnation for each in runtime.observe()] == [incarnation]
        assert runtime.apply(ONE, workload(), {}).incarnation == incarnation
        assert runtime.sample()[0].processes == 1
        ready(runtime, ONE)
        runtime.stop(ONE, 5)
        assert exited(runtime, ONE).reason == "Stopped"
        assert not exists(seen.pid)


def test_a_reused_pid_is_not_taken_for_the_claw(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    runtime.kill(ONE)
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL)
    try:
        forged = {
            **state(runtime),
            "pid": stranger.pid,
            "start": 1,
            "processes": [{"name": "main", "pid": stranger.pid, "start": 1}],
        }
        (run_folder(runtime) / "state.json").write_text(json.dumps(forged))
        assert runtime.inspect(ONE).state is RunState.EXITED
        assert runtime.sample() == []
        runtime.stop(ONE, 0)
        runtime.kill(ONE)
        assert runtime.apply(ONE, workload(), {}).state is RunState.RUNNING
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_restarted_machine_is_told_as_such(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    runtime.kill(ONE)
    folder = run_folder(runtime)
    (folder / "exit.json").unlink()
    (folder / "state.json").write_text(json.dumps({**state(runtime), "boot": "another", "pid": os.getpid()}))
    seen = runtime.inspect(ONE)
    assert (seen.state, seen.reason) == (RunState.EXITED, "MachineRestarted")


def test_a_killed_supervisor_is_noticed_and_its_leftovers_are_ended(runtime: Any) -> None:
    seen = runtime.apply(ONE, workload(DAEMON.replace("print(", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(")), {})
    ready(runtime, ONE)
    daemon = int((Path(runtime.layout(ONE, ()).work) / "daemon.pid").read_text())
    os.kill(state(runtime)["pid"], signal.SIGKILL)
    end = exited(runtime, ONE)
    assert end.reason == "SupervisorLost" and end.exited_at is not None
    assert runtime.inspect(ONE) == end and runtime.observe()[0].exited_at == end.exited_at
    assert exists(seen.pid) and exists(daemon)
    again = runtime.apply(ONE, workload(), {})
    assert again.state is RunState.RUNNING
    assert not exists(seen.pid) and not exists(daemon)


@pytest.mark.parametrize("end", ["stop", "kill", "remove"])
def test_leftovers_go_with_any_ending(runtime: Any, end: str) -> None:
    seen = runtime.apply(ONE, workload(STUBBORN), {})
    ready(runtime, ONE)
    os.kill(state(runtime)["pid"], signal.SIGKILL)
    exited(runtime, ONE)
    {
        "stop": lambda: runtime.stop(ONE, 1),
        "kill": lambda: runtime.kill(ONE),
        "remove": lambda: runtime.remove(ONE, keep_data=False),
    }[end]()
    assert not exists(seen.pid)


def test_a_hanging_supervisor_does_not_save_the_claw_from_kill(runtime: Any) -> None:
    seen = runtime.apply(ONE, workload(STUBBORN), {})
    ready(runtime, ONE)
    supervisor = state(runtime)["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    runtime.kill(ONE)
    end = runtime.inspect(ONE)
    assert (end.state, end.reason) == (RunState.EXITED, "Killed")
    assert not exists(seen.pid) and not exists(supervisor)


def test_memory_limit_ends_the_tree_with_the_reason(runtime: Any) -> None:
    runtime.apply(
        ONE,
        workload("import time; block = bytearray(b'x') * 80_000_000; print('ready'); time.sleep(600)", memory_bytes=50 << 20),
        {},
    )
    runtime.apply(Ref("two"), workload("import time; print('ready'); time.sleep(600)", memory_bytes=50 << 20), {})
    ready(runtime, ONE)
    ready(runtime, Ref("two"))
    runtime.sample()
    end = exited(runtime, ONE)
    assert end.reason == "OutOfMemory" and "50 MiB" in end.message
    assert runtime.inspect(Ref("two")).state is RunState.RUNNING


def test_watch_tells_starts_and_exits_within_moments(tmp_path: Path) -> None:
    with runtime_in(tmp_path) as runtime:
        runtime.apply(ONE, workload(), {})
        seen: list[tuple[float, Observed]] = []
        done = threading.Event()

        def look() -> None:
            for change in runtime.watch(done.is_set):
                if change is not None:
                    seen.append((time.monotonic(), change))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            time.sleep(0.3)
            two = Ref("two")
            runtime.apply(two, workload("import time; time.sleep(0.3)"), {})
            eventually(
                lambda: any(change.ref == two and change.state is RunState.EXITED for _, change in seen), "the exit of two"
            )
            began = time.monotonic()
            runtime.kill(ONE)
            eventually(
                lambda: any(change.ref == ONE and change.state is RunState.EXITED for _, change in seen), "the exit of one"
            )
            assert seen[-1][0] - began < 1
            assert next(change.state for _, change in seen if change.ref == two) is RunState.RUNNING
            other = connect(tmp_path)
            other.apply(ONE, workload(), {})
            eventually(
                lambda: seen[-1][1].ref == ONE and seen[-1][1].state is RunState.RUNNING, "the start by another portal", 10
            )
        finally:
            done.set()
            thread.join(5)
        assert not thread.is_alive()


def test_nothing_of_a_half_told_spec_is_started(tmp_path: Path) -> None:
    """A portal that dies while it hands the spec over."""
    import socket

    from clawportal_process import launch

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nursery = subprocess.Popen(launch.command("nursery", []), stdin=theirs, env={})
    theirs.close()
    answer, answer_in = os.pipe()
    with tempfile.TemporaryFile() as spec:
        spec.write((1000).to_bytes(8, "big") + b"half")
        spec.seek(0)
        socket.send_fds(ours, [os.fsencode(tmp_path)], [spec.fileno(), answer_in])
    os.close(answer_in)
    assert os.read(answer, 100) == b""
    os.close(answer)
    ours.close()
    assert nursery.wait(10) == 0, "it ends with the portal"
    assert not list(tmp_path.iterdir())


def test_a_killed_nursery_is_replaced(runtime: Any) -> None:
    from clawportal_process import launch

    runtime.apply(ONE, workload(), {})
    nursery = launch.NURSERY._process
    assert nursery is not None
    nursery.kill()
    nursery.wait()
    assert runtime.apply(Ref("two"), workload(), {}).state is RunState.RUNNING
    assert runtime.inspect(ONE).state is RunState.RUNNING


def test_bad_input_is_refused_in_words(runtime: Any) -> None:
    with pytest.raises(GiveUp) as caught:
        runtime.apply(Ref("../else"), workload(), {})
    assert caught.value.reason == "InvalidId"
    with pytest.raises(GiveUp) as caught:
        runtime.apply(ONE, Workload(), {})
    assert caught.value.reason == "NothingToRun"
    with pytest.raises(GiveUp) as caught:
        runtime.apply(ONE, Workload(processes=(python("pass", env={"A": "x\0y"}),)), {})
    assert caught.value.reason == "InvalidValue"
    with pytest.raises(GiveUp) as caught:
        runtime.apply(ONE, Workload(processes=(python("pass", secret_env={"KEY": "model_api_key"}),)), {})
    assert caught.value.reason == "SecretMissing" and "model_api_key" in caught.value.message


def test_many_at_once(runtime: Any) -> None:
    refs = [Ref(f"m{number}") for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda ref: runtime.apply(ref, workload(), {}), refs))
    assert [seen.state for seen in runtime.observe()] == [RunState.RUNNING] * 20
    assert len(runtime.sample()) == 20
    for ref in refs:
        runtime.stop(ref, 5)
    eventually(lambda: all(seen.state is RunState.EXITED for seen in runtime.observe()), "all have ended")


def test_unknown_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        connect(tmp_path, settings={"log_filez": 3})
