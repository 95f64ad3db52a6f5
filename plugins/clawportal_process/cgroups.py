"""Limits that the kernel holds: a control group (cgroup v2) for each claw, where the machine lets the portal make some.

Two ways lead to a place for them. systemd hands a part of the tree to a service (`Delegate=yes`, and `DelegateSubgroup=` so that
the portal itself does not stand in the way: a group with groups below it may hold no process). A portal that runs as root makes a
group of its own at the top. Nothing else is touched; where neither is there, the portal measures.

Supervisors stay outside: they have to tell what became of their claw. A process joins its group before it becomes the claw's, and
whatever it starts is in there too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from clawportal.sdk import _m
from clawportal.sdk.runtimes import DoctorResult

CONTROLLERS = ("cpu", "memory", "pids")
OFF, AUTO = "off", ""
_TOP = "clawportal"
_PERIOD = 100_000
"""Microseconds over which CPU time is counted: the kernel's own default."""
_LEAST_QUOTA = 1_000


@dataclass(frozen=True)
class Limits:
    """What one claw may use with all that it starts. None: as much as there is."""

    memory_bytes: int | None
    cores: float | None
    processes: int
    """Threads are counted, too."""


class Groups:
    """The groups of one place below `base`; with an empty base there are none, and every call does nothing."""

    def __init__(self, base: str, mark: str, why: str = "") -> None:
        self.base, self.mark = base, mark
        self.why = why
        """Why there are none, for people; empty where there are."""

    def __bool__(self) -> bool:
        return bool(self.base)

    def path(self, name: str) -> str:
        return f"{self.base}/{self.mark}-{name}"

    def make(self, name: str, limits: Limits) -> str:
        """An empty group with these limits for the next start of a claw; its path, or nothing where there are no groups."""
        if not self.base:
            return ""
        self.remove(name)
        path = self.path(name)
        with suppress(FileExistsError):  # something of an earlier run hangs in the kernel; the limits hold for it as well
            os.mkdir(path, 0o755)
        self.limit(name, limits)
        return path

    def limit(self, name: str, limits: Limits) -> None:
        """New limits for what may run already; one that is below what is in use makes the kernel take some back at once."""
        if not self.base or not os.path.isdir(self.path(name)):
            return
        memory = limits.memory_bytes
        quota = "max" if limits.cores is None else str(max(_LEAST_QUOTA, int(limits.cores * _PERIOD)))
        values = {
            "memory.swap.max": "max" if memory is None else "0",  # first: what is taken back must not go there
            "memory.max": "max" if memory is None else str(memory),
            "cpu.max": f"{quota} {_PERIOD}",
            "pids.max": str(limits.processes),
        }
        for file, value in values.items():
            try:
                _write(f"{self.path(name)}/{file}", value)
            except FileNotFoundError:
                if file != "memory.swap.max":  # a kernel without swap accounting has no such file
                    raise

    def finding(self) -> DoctorResult:
        """For the connection test: no fault either way, but one has to know."""
        if self.base:
            return DoctorResult(_m("process: limits"), True, _m("held by the kernel, in %(base)s", base=self.base))
        return DoctorResult(_m("process: limits"), True, _m("held by measuring: %(why)s", why=self.why))

    def holds(self, name: str, pid: int) -> bool:
        """Whether this process is in the group: a claw that was started before there were any is not."""
        if not self.base:
            return False
        found = own_path(pid)
        return found is not None and self.path(name).endswith(found) and found != "/"

    def kill(self, name: str) -> None:
        """End all that is in the group at once, whatever it forks meanwhile; kernels before 5.14 cannot."""
        if self.base:
            with suppress(OSError):
                _write(f"{self.path(name)}/cgroup.kill", "1")

    def remove(self, name: str) -> None:
        """Nothing where something still runs in it."""
        if self.base:
            with suppress(OSError):
                os.rmdir(self.path(name))


# ---- finding a place for groups


def find(mark: str, wanted: str = AUTO) -> Groups:
    """The groups of a place: below `wanted`, or where systemd or being root allows it. Never raises."""
    if wanted == OFF:
        return Groups("", mark, "They are switched off in the settings of this cluster.")
    try:
        return Groups(_prepared(wanted or _place()), mark)
    except (OSError, ValueError) as error:
        return Groups("", mark, _words(error))


def _place() -> str:
    top = unified()
    if top is None:
        raise ValueError(_m("This machine has no control groups of version 2."))
    parent = _delegated(top)
    if parent is not None:
        return parent
    if os.geteuid() == 0:
        _enable(top)
        path = f"{top}/{_TOP}"
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
        return path
    raise ValueError(_m("No control groups were handed to the portal: set Delegate= and DelegateSubgroup= in its systemd unit."))


def unified() -> str | None:
    """Where control groups of version 2 are mounted; with the old ones beside them, in a folder of their own."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if right.startswith("cgroup2 "):
                return left.split()[4]
    return None


def own_path(pid: int | str = "self") -> str | None:
    """The group of a process, as the mount has it; None where there is none, or the process is gone."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), None)
    except OSError:
        return None


def _delegated(top: str) -> str | None:
    """The group above our own, if systemd gave it away and nothing runs in it itself."""
    own = own_path()
    if own is None or own == "/":
        return None
    parent = os.path.dirname(top + own)
    try:
        given = os.getxattr(parent, "user.delegate") == b"1" and os.access(f"{parent}/cgroup.procs", os.W_OK)
    except OSError:
        return None
    return parent if given else None


def _prepared(base: str) -> str:
    """With the controllers switched on for what is made below."""
    _enable(base)
    missing = [name for name in CONTROLLERS if name not in _read(f"{base}/cgroup.subtree_control").split()]
    if missing:
        raise ValueError(_m("The kernel does not offer %(join)s in %(base)s.", join=[*missing], base=base))
    trial = f"{base}/trial-{os.getpid()}"
    os.mkdir(trial, 0o755)
    os.rmdir(trial)
    return base


def _enable(path: str) -> None:
    there = _read(f"{path}/cgroup.controllers").split()
    if missing := [name for name in CONTROLLERS if name not in there]:
        raise ValueError(
            _m(
                "The kernel does not offer %(names)s in %(path)s: they may belong to control groups of version 1.",
                names=missing,
                path=path,
            )
        )
    on = _read(f"{path}/cgroup.subtree_control").split()
    if wanted := [f"+{name}" for name in CONTROLLERS if name not in on]:
        _write(f"{path}/cgroup.subtree_control", " ".join(wanted))


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return _m("They cannot be used: %(strerror)s: %(filename)s.", strerror=error.strerror, filename=error.filename)
    return str(error)


def _read(file: str) -> str:
    with open(file, "rb", buffering=0) as handle:
        return handle.read(65536).decode("ascii", "replace")


def _write(file: str, text: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, file) from None
    finally:
        os.close(handle)
