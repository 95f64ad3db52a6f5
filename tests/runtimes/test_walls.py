"""The parts of the wall around a claw, each with real processes: files, ports, signals, sockets, system calls, users."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clawportal.errors import GiveUp
from clawportal_process import guarded, identity, kernel, landlock, seccomp, views
from tests.ordinary_user import no_mounts
from tests.runtimes.process_helpers import eventually

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
needs_scopes = pytest.mark.skipif(landlock.version() < 6, reason="Landlock here knows no scopes of signals and sockets")
needs_filter = pytest.mark.skipif(not seccomp.possible(), reason="the numbers of this machine's system calls are not known")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives others a user")


def behind(wall: Mapping[str, Any], code: str, *arguments: str) -> dict[str, Any]:
    """What a program behind a wall reports as JSON; errors by their name."""
    program = PRELUDE + textwrap.dedent(code) + "\nprint(json.dumps(told))"
    argv = [sys.executable, "-I", "-S", "-c", program, *arguments]
    outcome = guarded.run(argv, env={"PATH": os.environ["PATH"]}, cwd=Path("/"), wall=wall, timeout=30)
    assert outcome.code == 0, outcome
    return json.loads(outcome.lines[-1])


PRELUDE = """
import ctypes, errno, json, os, signal, socket, sys
told = {}
def attempt(name, action):
    try:
        action()
        told[name] = 'done'
    except OSError as error:
        told[name] = errno.errorcode[error.errno]
"""


def domain(*rules: tuple[Path | str, int], ports: tuple[int, ...] = ()) -> dict[str, Any]:
    system = [(path, landlock.READ) for path in (*views.software(), "/etc", "/proc", "/dev")]
    return {"landlock": [(str(path), rights) for path, rights in (*system, *rules)], "ports": list(ports)}


# ---- Landlock


@needs_landlock
def test_files_outside_of_the_domain_are_out_of_reach(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    found = behind(
        domain((own, landlock.WRITE)),
        """
        own, other = sys.argv[1:]
        attempt('read own', lambda: open(own + '/file').read())
        attempt('write own', lambda: open(own + '/new', 'w').write('x'))
        attempt('rename own', lambda: os.rename(own + '/new', own + '/newer'))
        attempt('read other', lambda: open(other + '/file').read())
        attempt('list other', lambda: os.listdir(other))
        attempt('write other', lambda: open(other + '/new', 'w'))
        attempt('truncate other', lambda: os.truncate(other + '/file', 0))
        attempt('move out', lambda: os.rename(own + '/newer', other + '/newer'))
        attempt('link in', lambda: os.link(other + '/file', own + '/linked'))
        os.symlink(other + '/file', own + '/lure')
        attempt('by a link', lambda: open(own + '/lure').read())
        attempt('unlink other', lambda: os.unlink(other + '/file'))
        attempt('write system', lambda: open('/usr/clawportal-test', 'w'))
        """,
        str(own),
        str(other),
    )
    assert {name for name, how in found.items() if how == "done"} == {"read own", "write own", "rename own"}
    assert (other / "file").read_text() == "x"


@needs_landlock
@pytest.mark.skipif(landlock.version() < 4, reason="Landlock here knows no ports")
def test_only_its_own_ports(free_tcp_ports: tuple[int, int]) -> None:
    own, other = free_tcp_ports
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = behind(
            domain(ports=(own,)),
            """
            own, other, server = map(int, sys.argv[1:])
            attempt('own', lambda: socket.create_server(('127.0.0.1', own)).close())
            attempt('other', lambda: socket.create_server(('127.0.0.1', other)).close())
            attempt('any', lambda: socket.create_server(('127.0.0.1', 0)).close())
            attempt('call', lambda: socket.create_connection(('127.0.0.1', server)).close())
            """,
            *map(str, (own, other, server.getsockname()[1])),
        )
    assert found == {"own": "done", "other": "EACCES", "any": "EACCES", "call": "done"}


@pytest.fixture
def free_tcp_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@needs_scopes
def test_signals_memory_and_abstract_sockets_of_others() -> None:
    name = f"clawportal-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        found = behind(
            domain(),
            """
            pid, name = int(sys.argv[1]), sys.argv[2]
            attempt('signal', lambda: os.kill(pid, 0))
            attempt('folder', lambda: os.readlink(f'/proc/{pid}/cwd'))  # as for environ, which root reads by CAP_PERFMON
            attempt('memory', lambda: open(f'/proc/{pid}/mem', 'rb'))
            attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + name))
            child = os.fork()
            if not child: signal.pause()
            attempt('own child', lambda: os.kill(child, signal.SIGKILL))
            os.waitpid(child, 0)
            """,
            str(os.getpid()),
            name,
        )
    assert found == {"signal": "EPERM", "folder": "EACCES", "memory": "EACCES", "abstract": "EPERM", "own child": "done"}


# ---- system calls


@needs_filter
@pytest.mark.parametrize("sockets", [True, False])
def test_the_filter(sockets: bool, tmp_path: Path) -> None:
    path = Path(f"/tmp/clawportal-test-{os.getpid()}")  # short: the path of a socket holds 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        try:
            found = behind(
                {"filter": seccomp.program(os.uname().machine, unix_sockets=sockets)},
                """
                libc = ctypes.CDLL(None, use_errno=True)
                def call(number):
                    if libc.syscall(number, 1, 0, 0, 0, 0) == -1: raise OSError(ctypes.get_errno(), '')
                attempt('ring', lambda: call(425))
                attempt('keys', lambda: call({'x86_64': 250, 'aarch64': 219}[os.uname().machine]))
                attempt('pair', lambda: socket.socketpair())
                attempt('internet', lambda: socket.socket(socket.AF_INET).close())
                attempt('unix', lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1]))
                """,
                str(path),
            )
        finally:
            path.unlink()
    last = "done" if sockets else "EACCES"
    assert found == {"ring": "EPERM", "keys": "EPERM", "pair": "done", "internet": "done", "unix": last}


@needs_filter
def test_limits_and_priorities_of_others() -> None:
    """Landlock has no rule for them; with one user for all, a claw could end the portal by `prlimit`."""
    found = behind(
        {"filter": seccomp.program(os.uname().machine, others=False, shared_memory=False)},
        """
        import resource
        pid = int(sys.argv[1])
        attempt('limit', lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))
        attempt('priority', lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
        attempt('cores', lambda: os.sched_setaffinity(pid, {0}))
        attempt('policy', lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)))
        attempt('own limit', lambda: resource.prlimit(0, resource.RLIMIT_CORE, (0, 0)))
        attempt('own priority', lambda: os.setpriority(os.PRIO_PROCESS, 0, 19))
        libc = ctypes.CDLL(None, use_errno=True)
        def memory():
            if libc.shmget(1234, 4096, 0o1600) == -1: raise OSError(ctypes.get_errno(), '')
        attempt('shared memory', memory)
        """,
        str(os.getpid()),
    )
    refused = dict.fromkeys(("limit", "priority", "cores", "policy", "shared memory"), "EPERM")
    assert found == {**refused, "own limit": "done", "own priority": "done"}


def test_nobody_gains_privileges() -> None:
    found = behind(
        {}, "told['new'] = [line.split()[1] for line in open('/proc/self/status') if line.startswith('NoNewPrivs')][0]"
    )
    assert found == {"new": "1"}


def test_what_cannot_be_confined_does_not_run(tmp_path: Path) -> None:
    """A wall that fails half-way must not leave a program outside of it."""
    wall = {"view": [["replace", "/nowhere/at/all", "x"]], "stage": str(tmp_path), "inside": None}
    argv = [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]
    outcome = guarded.run(argv, env={}, cwd=tmp_path, wall=wall, timeout=30)
    assert outcome.code == 127 and not (tmp_path / "ran").exists()


# ---- views


def test_what_is_private_is_cut_out_of_a_readable_folder(tmp_path: Path) -> None:
    for path in ("a/data/keys", "a/bin", "b"):
        (tmp_path / path).mkdir(parents=True)
    private = [str(tmp_path / "a/data")]
    assert views.without(str(tmp_path / "b"), private) == [str(tmp_path / "b")]
    assert views.without(str(tmp_path / "a/data"), private) == []
    assert sorted(views.without(str(tmp_path), private)) == [str(tmp_path / "a/bin"), str(tmp_path / "b")]


def test_an_environment_cannot_name_any_folder_as_its_interpreter(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text(f"home = {tmp_path}/secrets/bin\n")
    (tmp_path / "secrets/bin").mkdir(parents=True)
    assert list(views.interpreter(tmp_path)) == []
    (tmp_path / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    assert list(views.interpreter(tmp_path)) == [os.path.realpath(sys.base_prefix)]


def test_links_are_shown_as_links(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    view = views.View()
    view.show(str(tmp_path / "link/deep"))
    assert ("link", str(tmp_path / "link"), "real") in view.steps
    assert view.steps[-1] == ("bind", str(tmp_path / "real/deep"), True, False)


# ---- users


def test_numbers_stay_and_are_not_given_out_twice(tmp_path: Path) -> None:
    first, second = (identity.Users(tmp_path, (70_000, 70_003)) for _ in range(2))
    one = first.of("one")
    assert second.of("one") == one == identity.Users(tmp_path, (70_000, 70_003)).of("one")
    taken = {one, second.of("two"), first.of("three"), first.of("four")}
    assert taken == {70_000, 70_001, 70_002, 70_003}
    with pytest.raises(GiveUp) as caught:
        second.of("five")
    assert caught.value.reason == "NoUserLeft"
    first.release("one")
    assert second.of("five") == one


@pytest.mark.parametrize("text", ["0-5", "9-5", "-", "a-b", "5", "1-4294967295"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        identity.parse(text)


@needs_root
def test_a_hostile_tree_is_handed_over_without_what_is_not_its(tmp_path: Path) -> None:
    outside, tree = tmp_path / "keyring.json", tmp_path / "one"
    outside.write_text("secret")
    for root in ("home", "work"):
        (tree / root / "deep").mkdir(parents=True)
    (tree / "home/mine").write_text("mine")
    os.link(tree / "home/mine", tree / "work/also-mine")
    os.link(outside, tree / "work/deep/stolen")
    (tree / "home/lure").symlink_to(outside)
    (tree / "home/away").symlink_to(tmp_path)
    (tree / "work/program").write_text("x")
    (tree / "work/program").chmod(0o4755)
    assert identity.hand_over(tree, ("home", "work"), 70_000) == ["stolen"]
    assert outside.stat().st_uid == 0 == tmp_path.stat().st_uid
    for path in ("home", "home/deep", "home/mine", "home/lure", "work/also-mine", "work/program"):
        assert (tree / path).lstat().st_uid == 70_000, path
    assert (tree / "work/program").stat().st_mode & 0o7000 == 0


@needs_root
@pytest.mark.skipif(no_mounts(), reason="this root may not mount")
def test_a_process_is_who_it_is_said_to_be(tmp_path: Path) -> None:
    view = [list(step) for step in views.of_the_machine(views.software(), ()).steps]  # the interpreter may lie in /root
    found = behind(
        {"user": (70_000, 70_000), "view": view, "stage": str(tmp_path), "inside": None},
        """
        status = dict(line.rstrip().partition(':\\t')[::2] for line in open('/proc/self/status'))
        told.update(ids=[os.getuid(), os.getgid(), os.getgroups()], caps=status['CapEff'] + status['CapPrm'])
        attempt('root', lambda: os.setuid(0))
        attempt('again', lambda: open('/dev/stdout', 'w').close())
        """,
    )
    assert found == {"ids": [70_000, 70_000, []], "caps": "0" * 32, "root": "EPERM", "again": "done"}


def test_a_confined_tool_ends_with_its_portal(tmp_path: Path) -> None:
    """The wall stands between them, and still nothing is left behind."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    program = (
        "import sys; from pathlib import Path; from clawportal_process import guarded\n"
        "say = lambda line: print(line, flush=True)\n"
        "guarded.run([sys.executable, '-c', sys.argv[1]], env={}, cwd=Path('/'), wall={}, on_line=say)"
    )
    portal = subprocess.Popen([sys.executable, "-c", program, code], stdout=subprocess.PIPE, text=True)
    assert portal.stdout
    pid = int(portal.stdout.readline())
    portal.send_signal(signal.SIGKILL)
    portal.wait(10)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the tool has ended")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("umount2", (b"/nowhere-at-all", 0), "umount2 /nowhere-at-all"),
        ("mount", (b"none", b"/nowhere-at-all", b"tmpfs", 0, None), "mount none /nowhere-at-all tmpfs"),
        ("prctl", (99_999, 0, 0, 0, 0), "prctl"),
        ("syscall", (99_999,), "system call 99999"),
    ],
)
def test_what_the_kernel_refuses_is_raised_and_named(name: str, arguments: tuple[Any, ...], told: str) -> None:
    """A wall of which a part was refused must not pass for one: not every function answers -1 in the whole register."""
    with pytest.raises(OSError) as refused:
        kernel.call(name, *arguments)
    assert refused.value.filename == told
