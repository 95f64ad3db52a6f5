"""Findings about this machine as a place for claws."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from clawportal.sdk import _m
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import DoctorResult
from clawportal_process import launch, machine

_ENOUGH = 2 * 1024**3
_ENOUGH_MEMORY = 256 * 1024**2
_ENOUGH_FILES = 4096


def checks(data_dir: str) -> Iterable[DoctorResult]:
    return [_kernel(), _venv(), _disk(data_dir)]


def place_checks(base: Path) -> list[DoctorResult]:
    """Beside the above: what an instance needs when it runs."""
    return [_kernel(), _venv(), _disk(str(base)), _private(base), _memory(), _descriptors(), _ports()]


def _private(base: Path) -> DoctorResult:
    """Written to for a moment: a file system may be read-only although its modes say otherwise."""
    try:
        with tempfile.TemporaryFile(dir=base) as file:
            file.write(b"x")
            file.flush()
        fine = stat.S_IMODE(base.stat().st_mode) & 0o066 == 0
    except OSError as error:
        return DoctorResult(
            _m("process: folder"), False, f"{base}: {error.strerror}", _m("Make the folder writable for the portal's user.")
        )
    message = _m("can be written, by the portal's user alone") if fine else _m("%(base)s can be read by others", base=base)
    return DoctorResult(_m("process: folder"), fine, message, "" if fine else _m("chmod 700 %(base)s", base=base))


def _memory() -> DoctorResult:
    found = machine.capacity(Path("/"))
    fine = found.memory_available >= _ENOUGH_MEMORY
    free = _m(
        "%(memory_available)s of %(memory_bytes)s MiB available",
        memory_available=f"{found.memory_available / 1024**2:.0f}",
        memory_bytes=f"{found.memory_bytes / 1024**2:.0f}",
    )
    return DoctorResult(
        _m("process: memory"), fine, free, "" if fine else _m("End something, or give the machine more: a claw needs 256 MiB.")
    )


def _descriptors() -> DoctorResult:
    """A supervisor holds a few for each claw, the portal two for each that it watches."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    fine = hard == resource.RLIM_INFINITY or hard >= _ENOUGH_FILES
    message = _m("without limit") if hard == resource.RLIM_INFINITY else _m("up to %(hard)s for each process", hard=hard)
    return DoctorResult(
        _m("process: open files"), fine, message, "" if fine else _m("Raise it: LimitNOFILE=65536 in the service's unit.")
    )


def _ports() -> DoctorResult:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return DoctorResult(_m("process: ports"), True, _m("claws can listen on this machine"))
    except OSError as error:
        return DoctorResult(
            _m("process: ports"),
            False,
            _m("nothing can listen on 127.0.0.1: %(strerror)s", strerror=error.strerror),
            _m("Bring the loopback device up."),
        )


def _kernel() -> DoctorResult:
    try:
        os.close(os.pidfd_open(os.getpid()))
        fine = Path(f"/proc/self/task/{os.getpid()}/children").exists()
    except (OSError, AttributeError):
        fine = False
    message = (
        _m("processes can be watched and followed") if fine else _m("the kernel lacks pidfd or /proc/<pid>/task/<tid>/children")
    )
    return DoctorResult(_m("process: kernel"), fine, message, "" if fine else _m("Use Linux 5.4 or newer with /proc mounted."))


def _venv() -> DoctorResult:
    remedy = _m("Debian and Ubuntu: apt install python3-venv")
    try:
        python = launch.python()
    except GiveUp as problem:
        return DoctorResult(_m("process: python"), False, problem.message, problem.remedy)
    found = subprocess.run([python, "-I", "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode == 0
    message = (
        _m("%(python)s can make virtual environments", python=python)
        if found
        else _m("%(python)s lacks the modules venv or ensurepip", python=python)
    )
    return DoctorResult(_m("process: python"), found, message, "" if found else remedy)


def _disk(data_dir: str) -> DoctorResult:
    try:
        found = os.statvfs(data_dir)
    except OSError as error:
        return DoctorResult(
            _m("process: disk"), False, f"{data_dir}: {error.strerror}", _m("Create the folder or choose another data folder.")
        )
    free = found.f_bavail * found.f_frsize
    fine = free >= _ENOUGH
    return DoctorResult(
        _m("process: disk"),
        fine,
        _m("%(free)s GiB free", free=f"{free / 1024**3:.1f}"),
        "" if fine else _m("Free some space: a claw takes 0.4 to 1 GiB."),
    )
