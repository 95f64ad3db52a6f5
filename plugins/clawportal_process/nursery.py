"""What runs as a program beside the portal: the nursery that forks supervisors, and the guard of a command. C modules only, as
in `supervisor`."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # as in `supervisor`
import fcntl
import marshal
import os
import select
import sys

from clawportal_process import kernel
from clawportal_process.spawning import RESET, spawn
from clawportal_process.supervisor import Supervisor
from clawportal_process.tree import kill_tree

TYPE_CHECKING = False  # as in `supervisor`
if TYPE_CHECKING:
    from typing import Any


def nursery() -> None:
    """Fork a supervisor for each request of the portal, until the portal is gone.

    A fork shares nearly all its memory with its siblings and is there in a millisecond; a fresh interpreter has 3 MB of its own.
    A request is the folder to run in, with two descriptors: the spec to read, and where to answer.
    """
    import _socket
    import gc

    gc.disable()  # it would touch, and so copy, every object; nothing here makes cycles
    gc.freeze()
    channel = _socket.socket(fileno=0)
    while True:
        request, ancillary, _, _ = channel.recvmsg(8192, _socket.CMSG_SPACE(8))
        if not request:
            os._exit(0)
        handles = [int.from_bytes(data[place : place + 4], sys.byteorder) for _, _, data in ancillary for place in (0, 4)]
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for target, handle in enumerate(handles):  # the channel was 0
                os.dup2(handle, target, inheritable=False)
                os.close(handle)
            supervise(request.decode())
            os._exit(0)
        for handle in handles:
            os.close(handle)
        os.waitpid(pid, 0)  # only the one that detaches


def supervise(run: str) -> None:
    """Read the spec from standard input, detach, answer on standard output, and stay until the claw has ended."""
    spec = _read_spec()
    if os.fork():
        os._exit(0)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    kernel.prctl(kernel.PR_SET_NAME, b"claw-supervisor")  # for `ps` and `top`; /proc/<pid>/cwd says of which instance
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0, inheritable=False)
    os.dup2(null, 2, inheritable=False)
    answer = os.dup(1)
    os.dup2(null, 1, inheritable=False)
    os.umask(0o077)
    try:
        os.chdir(run)
        _lock()
        supervisor = Supervisor(spec)
        supervisor.prepare()
        supervisor.start()
        _tell(answer, {"incarnation": supervisor.incarnation, "processes": supervisor.started})
    except OSError as error:
        kill_tree()
        _tell(answer, {"errno": error.errno or 0, "error": error.strerror or str(error)})
        os._exit(1)
    try:
        supervisor.run()
    except Exception as error:  # a mistake of ours must not leave a claw without a master
        supervisor.fail(error)


def _tell(answer: int, message: dict[str, Any]) -> None:
    try:
        os.write(answer, marshal.dumps(message, 2))
    except BrokenPipeError:
        pass  # the portal died meanwhile; the next one finds us by state.json
    os.close(answer)


def _read_spec() -> dict[str, Any]:
    """Length, then marshal: half a spec must start nothing."""
    with os.fdopen(os.dup(0), "rb", buffering=0) as file:
        raw = file.readall()
    if len(raw) < 8 or int.from_bytes(raw[:8], "big") != len(raw) - 8:
        os._exit(1)
    spec: dict[str, Any] = marshal.loads(raw[8:])  # noqa: S302  # from the portal, through memory that nobody else has
    return spec


def _lock() -> None:
    """Held as long as this process lives. A second supervisor for the same folder fails here, before it starts anything."""
    fcntl.flock(os.open("alive.lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)


def guard(argv: list[str]) -> int:
    """Run a command that must not outlive the portal: when standard input ends, its whole tree is killed.

    A lock that was handed down stays with this process, so that nobody follows while a left-over tool still writes. The wall that
    the command runs behind comes in memory.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    for handle in map(int, os.environ.pop("CLAWPORTAL_LOCK_FD", "").split()):
        os.set_inheritable(handle, False)
    with os.fdopen(int(os.environ.pop("CLAWPORTAL_SPEC_FD")), "rb") as file:
        spec = marshal.loads(file.read())  # noqa: S302  # from the portal, through memory that nobody else has
    wake, wake_in = os.pipe()
    os.set_blocking(wake_in, False)
    signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parent_pipe = os.dup(0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    process = {"argv": argv, "env": dict(os.environ), "cwd": spec["cwd"]}
    signal.pthread_sigmask(signal.SIG_BLOCK, RESET)
    try:
        pid = spawn(process, spec, (0, 1, 2))
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}: {error.filename}\n".encode())
        return 127
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET)
    while True:
        ready = select.select([parent_pipe, wake], [], [])[0]
        if parent_pipe in ready:
            kill_tree()
            return 137
        os.read(wake, 64)
        code = _reap_for(pid)
        if code is not None:
            kill_tree()
            return code


def _reap_for(pid: int) -> int | None:
    """Reap all that has ended; the exit code of `pid` when it is among them."""
    code = None
    while True:
        try:
            done, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if not done:
            return code
        if done == pid:
            code = os.waitstatus_to_exitcode(status) % 256


def main() -> None:
    mode, *rest = sys.argv[1:]
    if mode == "guard":
        sys.exit(guard(rest))
    nursery()
