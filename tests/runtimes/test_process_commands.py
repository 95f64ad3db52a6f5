"""What is particular to commands, files, events and disk use on this machine; the conformance suite has the rest."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import ExecSession, Ref
from clawportal.contracts.workloads import Workload
from clawportal.errors import Conflict, GiveUp
from clawportal_process import commands, history, plain
from clawportal_process.disk import DiskUse
from tests.runtimes.process_helpers import SLEEPER, eventually, exists, exited, python, ready, runtime_in, texts, workload

ONE = Ref("one")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Any]:
    with runtime_in(tmp_path / "place") as found:
        yield found


def run_folder(runtime: Any) -> Path:
    return Path(runtime.layout(ONE, ()).home).parent / "run"


def output(session: ExecSession) -> bytes:
    """All of it, to the end."""
    found, until = bytearray(), time.monotonic() + 30
    while time.monotonic() < until:
        try:
            piece = session.receive(1.0)
        except EOFError:
            return bytes(found)
        found += piece[1] if piece else b""
    raise AssertionError(f"no end; it said {bytes(found)[-500:]!r}")


def heard(session: ExecSession, text: bytes) -> bytes:
    found, until = bytearray(), time.monotonic() + 30
    while text not in found:
        assert time.monotonic() < until, bytes(found)
        piece = session.receive(1.0)
        found += piece[1] if piece else b""
    return bytes(found)


# ---- commands


def test_a_command_belongs_to_the_tree_of_the_claw(runtime: Any) -> None:
    """What it uses is measured with the claw, it ends with it, and nothing of it is left in the folder."""
    runtime.apply(ONE, workload(), {})
    ready(runtime, ONE)
    before = runtime.sample()[0].processes
    code = "import os, time; held = b'x' * (60 << 20); print(os.getpid(), flush=True); time.sleep(600)"
    session = runtime.exec(ONE, python(code).argv)
    pid = int(heard(session, b"\n"))
    eventually(lambda: runtime.sample()[0].memory_bytes > 60 << 20, "its memory counts")
    assert runtime.sample()[0].processes == before + 1
    assert not list(run_folder(runtime).glob("exec.*"))
    runtime.stop(ONE, 5)
    exited(runtime, ONE)
    assert not exists(pid)
    output(session)
    assert session.exit_code == 137
    session.close()


def test_the_memory_limit_holds_for_commands_too(runtime: Any) -> None:
    runtime.apply(ONE, Workload(processes=(python(SLEEPER),), memory_bytes=64 << 20), {})
    ready(runtime, ONE)
    session = runtime.exec(ONE, python("import time; held = b'x' * (120 << 20); time.sleep(600)").argv)
    eventually(lambda: runtime.sample() == [], "the instance is ended")
    assert exited(runtime, ONE).reason == "OutOfMemory"
    session.close()


def test_the_portals_death_ends_a_command(runtime: Any) -> None:
    """The supervisor hears that nobody holds the channel any more, with all that the command has put into the background."""
    runtime.apply(ONE, workload(), {})
    ready(runtime, ONE)
    session = runtime.exec(ONE, ("/bin/sh", "-c", "sleep 600 & echo $!; echo $$; exec sleep 600"))
    first, second = _two_numbers(session)
    session._channel.close()  # as the kernel does it for a process that was killed
    eventually(lambda: not exists(first) and not exists(second), "both are gone")
    session.close()


def _two_numbers(session: ExecSession) -> tuple[int, int]:
    found = b""
    while found.count(b"\n") < 2:
        found += heard(session, b"\n")
    first, second = map(int, found.split())
    return first, second


def test_a_command_that_answers_while_it_is_fed_does_not_block(runtime: Any) -> None:
    """Three megabytes into `cat` before anything is read."""
    runtime.apply(ONE, workload(), {})
    session = runtime.exec(ONE, ("cat",))
    data = os.urandom(3 << 20)
    session.send(data)
    session.close_input()
    assert output(session) == data and session.exit_code == 0
    with pytest.raises(OSError):
        session.send(b"more")
    session.close()


def test_what_is_typed_does_not_wait_for_the_output_that_is_awaited(runtime: Any) -> None:
    """Each answer can only come while somebody is already waiting for it, as in a console."""
    runtime.apply(ONE, workload(), {})
    session = runtime.exec(ONE, ("cat",))
    for line in (b"one\n", b"two\n", b"three\n"):
        awaited: list[Any] = []
        listener = threading.Thread(target=lambda heard=awaited: heard.append(session.receive(30.0)), daemon=True)
        listener.start()
        eventually(lambda: session._receiving == 1, "somebody waits")
        session.send(line)
        listener.join(30)
        assert awaited == [("stdout", line)]
    session.close()


def test_closing_ends_whoever_waits_and_whoever_types(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    session = runtime.exec(ONE, ("sleep", "600"))
    ended: list[type[BaseException]] = []

    def until_it_ends(work: Callable[[], object]) -> None:
        try:
            work()
        except (EOFError, OSError) as error:
            ended.append(type(error))

    works = (lambda: session.receive(60.0), lambda: session.send(b"x" * (1 << 20)))
    threads = [threading.Thread(target=until_it_ends, args=(work,), daemon=True) for work in works]
    for one in threads:
        one.start()
    eventually(lambda: session._waiting == 2, "both wait")
    session.close()
    for one in threads:
        one.join(30)
    assert sorted(kind.__name__ for kind in ended) == ["BrokenPipeError", "EOFError"]


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_end(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    session = runtime.exec(ONE, ("/bin/sh", "-c", "sleep 600 & echo done"))
    began = time.monotonic()
    assert output(session) == b"done\n" and session.exit_code == 0
    assert time.monotonic() - began < 20
    session.close()


def test_a_supervisor_of_an_earlier_version_is_told(runtime: Any, tmp_path: Path) -> None:
    """It reads the line and does not come."""
    master = commands.Master(tmp_path, lambda line: True, lambda: False)
    with pytest.raises(Conflict, match="just ended"):
        commands.start(master, ["true"], tty=False, size=(80, 24))
    assert list(tmp_path.glob("exec.*")) == []
    with pytest.raises(Conflict, match="does not run"):
        commands.start(commands.Master(tmp_path, lambda line: False, lambda: True), ["true"], tty=True, size=(80, 24))
    for argv in ([], ["a\0b"]):
        with pytest.raises(GiveUp, match="NUL"):
            commands.start(master, argv, tty=False, size=(80, 24))


def test_no_descriptor_is_lost(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    ready(runtime, ONE)
    pid = json.loads((run_folder(runtime) / "state.json").read_text())["pid"]

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{pid}/fd"))

    def once(number: int) -> None:
        session = runtime.exec(ONE, ("true",) if number % 3 else ("/no/such",), tty=bool(number % 2))
        output(session)
        session.close()

    with pytest.raises(GiveUp):
        once(0)
    once(1)
    before = count()
    for number in range(12):
        try:
            once(number)
        except GiveUp:
            continue
    # fewer is well: what an earlier test left behind may be closed meanwhile
    eventually(lambda: all(now <= was for now, was in zip(count(), before, strict=True)), f"no more than before: {before}")


# ---- files


def push(runtime: Any, *entries: tarfile.TarInfo, **contents: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in entries:
            tar.addfile(info)
    runtime.push(ONE, "work", "in", [buffer.getvalue()])


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_links_inside_an_archive(runtime: Any) -> None:
    runtime.write_files(ONE, workload())
    push(runtime, entry("deep/soft", tarfile.SYMTYPE, "../first"), entry("second", tarfile.LNKTYPE, "first"), first=b"abc")
    work = Path(runtime.layout(ONE, ()).work) / "in"
    assert (work / "deep/soft").readlink() == Path("../first") and (work / "second").read_bytes() == b"abc"
    assert (work / "first").stat().st_ino == (work / "second").stat().st_ino


def test_a_push_replaces_links_and_never_follows_them(runtime: Any, tmp_path: Path) -> None:
    runtime.write_files(ONE, workload())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    work = Path(runtime.layout(ONE, ()).work) / "in"
    work.mkdir()
    (work / "kept").symlink_to(outside / "kept")
    push(runtime, kept=b"new")
    assert (outside / "kept").read_text() == "kept" and (work / "kept").read_text() == "new"
    (work / "way").symlink_to(outside)
    for refused in (
        entry("way/kept", tarfile.SYMTYPE, "x"),
        entry("way/made", tarfile.DIRTYPE),
        entry("own", tarfile.LNKTYPE, "way/kept"),
    ):
        with pytest.raises(GiveUp) as caught:
            push(runtime, refused)
        assert caught.value.reason == "UnsafePath"
    assert sorted(path.name for path in outside.iterdir()) == ["kept"]


def test_a_header_of_many_megabytes_is_refused(runtime: Any) -> None:
    """A name of 50 MB would stand in memory whole."""
    runtime.write_files(ONE, workload())
    long = entry("short", tarfile.REGTYPE)
    long.pax_headers = {"comment": "x" * (50 << 20)}
    with pytest.raises(GiveUp) as caught:
        push(runtime, long)
    assert caught.value.reason == "BadArchive"


def test_a_file_that_shrinks_while_it_is_pulled(runtime: Any) -> None:
    """The stream stays whole: what is missing is filled with zeros."""
    runtime.write_files(ONE, workload())
    big = Path(runtime.layout(ONE, ()).work) / "big"
    big.write_bytes(b"a" * (4 << 20))
    (big.parent / "later").write_text("later")
    pieces = runtime.pull(ONE, "work")
    first = next(pieces)
    os.truncate(big, 1 << 20)
    with tarfile.open(fileobj=io.BytesIO(first + b"".join(pieces))) as tar:
        assert tar.getnames() == ["big", "later"]
        assert tar.getmember("big").size == 4 << 20


def test_a_push_into_nothing_is_told(runtime: Any) -> None:
    with pytest.raises(Conflict, match="Start it once"):
        push(runtime, a=b"x")


# ---- events, runs and disk use


def test_events_are_bounded_and_in_words(runtime: Any) -> None:
    runtime.apply(ONE, workload("import sys; sys.exit(0)"), {})
    exited(runtime, ONE)
    runtime.apply(ONE, workload(), {})
    ready(runtime, ONE)
    runtime.kill(ONE)
    exited(runtime, ONE)
    runtime.apply(ONE, Workload(processes=(python(name="main", code="x"),), stop_grace=1), {})
    exited(runtime, ONE)
    told = [(event.level, event.reason, event.message) for event in runtime.events(ONE)]
    assert told == [
        ("info", "Started", "It was started."),
        ("info", "Exited", "It ended with code 0."),
        ("info", "Started", "It was started."),
        ("info", "Killed", "It was killed. It was ended by signal 9."),
        ("info", "Started", "It was started."),
        ("warning", "Exited", "It ended with code 1."),
    ]
    run = run_folder(runtime)
    for _ in range(3000):
        plain.append_line(str(run / "events"), json.dumps({"at": time.time(), "what": "started", "incarnation": "x" * 40}))
    assert sum(path.stat().st_size for path in run.glob("events*")) < 3 * plain.EVENTS_LIMIT
    assert len(runtime.events(ONE)) == 200


def test_a_lost_supervisor_is_an_event_too(runtime: Any) -> None:
    runtime.apply(ONE, workload(), {})
    ready(runtime, ONE)
    os.kill(json.loads((run_folder(runtime) / "state.json").read_text())["pid"], signal.SIGKILL)
    eventually(lambda: runtime.events(ONE)[-1].reason == "SupervisorLost", "the loss is told")
    runtime.apply(ONE, workload("print('second')\n" + SLEEPER), {})
    eventually(lambda: "second" in texts(runtime, ONE), "it runs again")
    assert texts(runtime, ONE, previous=True) == ["ready"]


def test_torn_and_foreign_lines_of_the_history_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "events").write_text('{"at": 5, "what": "started"}\n{"at": \n[1]\n{"what": "ended"}\n{"at": 6, "what": "en')
    assert [event.reason for event in history.events(tmp_path)] == ["Started"]
    assert list(history.lines_before(tmp_path, tail=None, since=None)) == []


def test_disk_use_is_measured_little_by_little(tmp_path: Path) -> None:
    use = DiskUse()
    for name in ("one", "two"):
        (tmp_path / name / "work").mkdir(parents=True)
        for number in range(300):
            (tmp_path / name / "work" / str(number)).write_bytes(b"x" * 4096)
        os.link(tmp_path / name / "work" / "1", tmp_path / name / "work" / "same again")
        assert use.known(name, tmp_path / name) is None

    def measured() -> bool:
        began = time.monotonic()
        use.go_on()
        assert time.monotonic() - began < 20
        return None not in (use.known("one", tmp_path / "one"), use.known("two", tmp_path / "two"))

    eventually(measured, "both are measured")
    found = use.known("one", tmp_path / "one")
    assert found is not None and 300 * 4096 <= found < 310 * 4096 + 65536
    use.forget("one")
    use.forget("never")


def test_the_connection_test_names_what_is_missing(runtime: Any) -> None:
    assert all(found.ok for found in runtime.diagnose())
    runtime.base.chmod(0o755)
    wrong = [found for found in runtime.diagnose() if not found.ok]
    assert [(found.name, "chmod 700" in found.remedy) for found in wrong] == [("process: folder", True)]
