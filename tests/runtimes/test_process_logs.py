"""Logs of the process runtime: read back, followed, rotated, flooded, and on a full disk."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import LogLine, Ref, RunState
from clawportal_process.logs import read_lines
from tests.runtimes.process_helpers import eventually, exited, ready, runtime_in, texts, workload

ONE = Ref("one")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Any]:
    with runtime_in(tmp_path / "place", settings={"log_lines_per_second": 1_000_000, "log_file_mb": 1, "log_files": 3}) as found:
        yield found


def run_folder(runtime: Any) -> Path:
    return Path(runtime.layout(ONE, ()).home).parent / "run"


def test_both_streams_with_time_and_source(runtime: Any) -> None:
    before = datetime.now(UTC)
    runtime.apply(ONE, workload("import sys; print('out ü'); sys.stderr.write('err\\r\\nno line end')"), {})
    exited(runtime, ONE)
    lines = list(runtime.logs(ONE))
    assert {(line.stream, line.source, line.text) for line in lines} == {
        ("stdout", "main", "out ü"), ("stderr", "main", "err"), ("stderr", "main", "no line end"),
    }  # fmt: skip
    assert all(before <= line.at <= datetime.now(UTC) for line in lines)


def test_odd_bytes_and_long_lines_come_back_whole(runtime: Any) -> None:
    runtime.apply(
        ONE, workload("import sys; sys.stdout.buffer.write(b'\\xff\\x00ok\\n\\n' + b'long ' * 20000 + b'\\nend\\n')"), {}
    )
    exited(runtime, ONE)
    assert texts(runtime, ONE) == ["\ufffd\x00ok", "", "long " * 20000, "end"]
    assert texts(runtime, ONE, tail=2) == ["long " * 20000, "end"]


def test_tail_and_since(runtime: Any) -> None:
    runtime.apply(ONE, workload("for n in range(5000): print(n)\nimport time; time.sleep(0.3); print('late')"), {})
    exited(runtime, ONE)
    everything = texts(runtime, ONE)
    assert everything == [*map(str, range(5000)), "late"]
    assert texts(runtime, ONE, tail=3) == ["4998", "4999", "late"]
    assert texts(runtime, ONE, tail=0) == []
    assert texts(runtime, ONE, tail=10**6) == everything
    last = list(runtime.logs(ONE))[-1]
    assert texts(runtime, ONE, since=last.at - timedelta(milliseconds=100)) == ["late"]
    assert texts(runtime, ONE, since=last.at + timedelta(seconds=1)) == []
    assert texts(runtime, ONE, tail=2, since=last.at) == ["late"]


def test_the_log_is_kept_over_a_restart(runtime: Any) -> None:
    for _ in range(2):
        runtime.apply(ONE, workload("print('here')"), {})
        exited(runtime, ONE)
    assert texts(runtime, ONE) == ["here", "here"]


def test_rotation_is_bounded_and_tail_reads_across(runtime: Any) -> None:
    runtime.apply(ONE, workload("for n in range(60000): print(f'{n:06d}', 'x' * 60)"), {})
    exited(runtime, ONE)
    found = sorted(path.name for path in run_folder(runtime).glob("log*"))
    assert found == ["log", "log.1", "log.2"]
    assert sum((run_folder(runtime) / name).stat().st_size for name in found) < 3.5 * 1_000_000
    numbers = [int(text[:6]) for text in texts(runtime, ONE)]
    assert numbers == list(range(numbers[0], 60000)) and len(numbers) > 15000
    assert [int(text[:6]) for text in texts(runtime, ONE, tail=14000)] == list(range(46000, 60000))


def test_tail_does_not_read_everything(runtime: Any) -> None:
    runtime.apply(ONE, workload("print('start')"), {})
    exited(runtime, ONE)
    line = b"2026-11-23T01:10:28.123456Z stdout main F " + b"y" * 900 + b"\n"
    with open(run_folder(runtime) / "log", "ab") as file:
        file.write(line * 100_000)
    began = time.process_time()
    assert len(texts(runtime, ONE, tail=100)) == 100
    assert time.process_time() - began < 0.1


def test_follow_goes_on_over_rotation_without_loss(runtime: Any) -> None:
    """Two rotations while a slow viewer reads."""
    code = "import time\nfor n in range(30000):\n    print(f'{n:06d}', 'x' * 50)\n    if n % 1000 == 0: time.sleep(0.05)"
    seen: list[int] = []
    beats = 0
    runtime.apply(ONE, workload("import time; time.sleep(0.9)\n" + code), {})
    until = time.monotonic() + 40
    for line in runtime.logs(ONE, tail=0, follow=True, stop=lambda: time.monotonic() > until or bool(seen and seen[-1] == 29999)):
        if line is None:
            beats += 1
        else:
            seen.append(int(line.text[:6]))
    assert seen == list(range(30000))
    assert beats >= 1


def test_follow_beats_while_nothing_comes_and_stops_when_asked(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    ready(runtime, ONE)
    began = time.monotonic()
    stream = runtime.logs(ONE, tail=1, follow=True, stop=lambda: time.monotonic() - began > 2)
    assert next(stream).text == "ready"
    gaps, last = [], time.monotonic()
    for line in stream:
        assert line is None
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
    assert len(gaps) >= 2 and max(gaps) <= 1.0
    assert time.monotonic() - began < 30


def test_follow_of_nothing_waits_for_the_first_line(runtime: Any) -> None:
    found: list[LogLine] = []
    done = threading.Event()

    def look() -> None:
        for line in runtime.logs(ONE, follow=True, stop=done.is_set):
            if line is not None:
                found.append(line)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        runtime.apply(ONE, workload(), {})
        eventually(lambda: [line.text for line in found] == ["ready"], "the line arrives", 5)
    finally:
        done.set()
        thread.join(5)


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    good = b"2026-11-23T01:10:28.123456Z stdout main F good\n"
    (tmp_path / "log").write_bytes(good + b"2026-11-23T01:10:28.1234\n" + b"\n" + good + b"2026-11-23T01:10:28.123456Z stdo")
    for options in ({"tail": None}, {"tail": 10}):
        lines = list(read_lines(tmp_path, since=None, follow=False, stop=lambda: False, **options))
        assert [line.text for line in lines if line] == ["good", "good"]


FLOOD = "import os, sys\nfor n in range(10**9): sys.stdout.write(f'line {n}\\n')"


def test_a_flood_is_bounded_counted_and_told(tmp_path: Path) -> None:
    with runtime_in(tmp_path, settings={"log_lines_per_second": 100}) as runtime:
        runtime.apply(ONE, workload(FLOOD), {})
        told = eventually(lambda: texts(runtime, ONE, "portal"), "the log says that lines were dropped")
        assert "lines were dropped: more than 100 lines a second" in told[0] and int(told[0].split()[0]) > 0
        before = _cpu(runtime)
        time.sleep(1.5)
        assert _cpu(runtime) - before < 0.6, "a flood must not cost a core"
        runtime.stop(ONE, 5)
        exited(runtime, ONE)
        written = len(texts(runtime, ONE, "stdout"))
        assert 500 <= written < 15_000
        lines = texts(runtime, ONE, "stdout")
        dropped = sum(int(text.split()[0]) for text in texts(runtime, ONE, "portal"))
        numbers = [int(text.split()[1]) for text in lines if text.removeprefix("line ").isdigit()]
        last = max(numbers[-20:])  # the very last line may be torn, and then look like an early one
        assert len(numbers) > 20 and last - numbers[-20] < 20, "its last words are there, one after the other"
        assert abs(last + 1 - written - dropped) <= 2, "every line is either there or counted"


def _cpu(runtime: Any) -> float:
    """Of the supervisor itself."""
    import json

    pid = json.loads((run_folder(runtime) / "state.json").read_text())["pid"]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_supervisor_memory_stays_small_in_a_flood_without_line_ends(tmp_path: Path) -> None:
    with runtime_in(tmp_path, settings={"log_lines_per_second": 100_000, "log_file_mb": 1}) as runtime:
        runtime.apply(ONE, workload("import sys\nwhile True: sys.stdout.buffer.write(b'z' * 1000000)"), {})
        time.sleep(1.5)
        import json

        pid = json.loads((run_folder(runtime) / "state.json").read_text())["pid"]
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 16_000_000
        runtime.kill(ONE)  # so that no file is renamed while it is measured
        eventually(lambda: runtime.inspect(ONE).state is not RunState.RUNNING, "it has ended")
        assert sum(path.stat().st_size for path in run_folder(runtime).glob("log*")) < 6_000_000


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_neither_stops_nor_blocks_the_claw(tiny_disk: Path) -> None:
    """The claw goes on, the loss is told when there is room again, and the end can be written even without any room."""
    with runtime_in(tiny_disk, settings={"log_lines_per_second": 1_000_000}) as runtime:
        code = "import time\nn = 0\nwhile True:\n    print('x' * 80, flush=True); n += 1\n    if n % 500 == 0: time.sleep(0.02)"
        seen = runtime.apply(ONE, workload(code), {})
        eventually(lambda: os.statvfs(tiny_disk).f_bavail == 0, "the disk is full")
        time.sleep(0.3)
        assert runtime.inspect(ONE) == seen
        (run_folder(runtime) / "log").write_bytes(b"")
        told = eventually(lambda: texts(runtime, ONE, "portal"), "the loss is told")
        assert "lines were dropped: no space left on device" in told[0]
        eventually(lambda: os.statvfs(tiny_disk).f_bavail == 0, "the disk is full again")
        runtime.stop(ONE, 5)
        end = exited(runtime, ONE)
        assert (end.state, end.reason) == (RunState.EXITED, "Stopped")


def test_starting_on_a_full_disk_says_so(tiny_disk: Path) -> None:
    from clawportal.errors import Retry

    with runtime_in(tiny_disk) as runtime:
        (tiny_disk / "ballast").write_bytes(b"")
        with open(tiny_disk / "ballast", "wb", buffering=0) as file:
            try:
                while file.write(b"b" * 4096):
                    pass
            except OSError:
                pass
        with pytest.raises(Retry) as caught:
            runtime.apply(ONE, workload(), {})
        assert caught.value.reason == "DiskFull" and "Free some space" in caught.value.message
        (tiny_disk / "ballast").unlink()
        assert runtime.apply(ONE, workload(), {}).state is RunState.RUNNING
