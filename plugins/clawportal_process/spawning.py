"""Starts one process of a claw behind its wall. C modules only, as in `supervisor`."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # as in `supervisor`
import fcntl
import os
import resource

from clawportal_process import confine, kernel

TYPE_CHECKING = False  # as in `supervisor`
if TYPE_CHECKING:
    from typing import Any

RESET = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGCHLD,
)  # fmt: skip


def spawn(process: dict[str, Any], spec: dict[str, Any], streams: tuple[int, int, int]) -> int:
    """Start one process in its own session, with these as its standard streams. OSError says why it cannot be executed."""
    confine.hand_over(spec["wall"], streams)
    report, child_report = os.pipe()
    parent = os.getpid()
    pid = os.fork()  # signals are blocked here: one that comes before the exec must not meet our handlers
    if pid == 0:
        try:
            _become(process, spec, streams, parent)
        except OSError as error:
            os.write(child_report, b"%d %s" % (error.errno or 0, str(error.filename or process["argv"][0]).encode()))
        finally:
            os._exit(127)
    os.close(child_report)
    with os.fdopen(report, "rb", buffering=0) as file:
        answer = file.read(4096)
    if answer:
        os.waitpid(pid, 0)
        number, _, name = answer.partition(b" ")
        raise OSError(int(number), os.strerror(int(number)), name.decode("utf-8", "replace"))
    return pid


def _become(process: dict[str, Any], spec: dict[str, Any], streams: tuple[int, int, int], parent: int) -> None:
    os.setsid()
    _join(spec.get("cgroup", ""))
    signal.set_wakeup_fd(-1)
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    os.umask(spec.get("umask", 0o077))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = spec["open_files"] if hard == resource.RLIM_INFINITY else min(spec["open_files"], hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for target, handle in enumerate(streams):
        if handle == target:
            os.set_inheritable(target, True)  # /dev/null
        else:
            os.dup2(handle, target)
    if process.get("terminal"):
        fcntl.ioctl(0, process["terminal"], 0)  # TIOCSCTTY, whose number differs between machines
    confine.enter(spec["wall"])
    # after the wall, because the kernel forgets this when a process becomes somebody else
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)  # without its supervisor a claw has no log and no master: it should end
    if os.getppid() != parent:
        os._exit(127)
    os.chdir(process["cwd"])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvpe(process["argv"][0], process["argv"], process["env"])  # no shell is the point


def _join(group: str) -> None:
    """The control group that holds the limits of the claw, see `cgroups`. Without it nothing is started."""
    if group:
        handle = os.open(f"{group}/cgroup.procs", os.O_WRONLY)
        os.write(handle, b"0")
        os.close(handle)


def oom_kills(group: str) -> int:
    """How many processes of a group the kernel has ended for want of memory."""
    try:
        with open(f"{group}/memory.events", "rb", buffering=0) as file:
            return sum(int(line[9:]) for line in file.read(4096).splitlines() if line.startswith(b"oom_kill "))
    except (OSError, ValueError):
        return 0
