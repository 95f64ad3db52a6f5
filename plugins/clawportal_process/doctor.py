"""Findings about this machine as a place for claws."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from clawportal.errors import GiveUp
from clawportal.types import DoctorResult
from clawportal_process import launch

_ENOUGH = 2 * 1024**3


def checks(data_dir: str) -> Iterable[DoctorResult]:
    return [_kernel(), _venv(), _disk(data_dir)]


def _kernel() -> DoctorResult:
    try:
        os.close(os.pidfd_open(os.getpid()))
        fine = Path(f"/proc/self/task/{os.getpid()}/children").exists()
    except (OSError, AttributeError):
        fine = False
    message = "processes can be watched and followed" if fine else "the kernel lacks pidfd or /proc/<pid>/task/<tid>/children"
    return DoctorResult("process: kernel", fine, message, "" if fine else "Use Linux 5.4 or newer with /proc mounted.")


def _venv() -> DoctorResult:
    remedy = "Debian and Ubuntu: apt install python3-venv"
    try:
        python = launch.python()
    except GiveUp as problem:
        return DoctorResult("process: python", False, problem.message, problem.remedy)
    found = subprocess.run([python, "-I", "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode == 0
    message = f"{python} can make virtual environments" if found else f"{python} lacks the modules venv or ensurepip"
    return DoctorResult("process: python", found, message, "" if found else remedy)


def _disk(data_dir: str) -> DoctorResult:
    try:
        found = os.statvfs(data_dir)
    except OSError as error:
        return DoctorResult(
            "process: disk", False, f"{data_dir}: {error.strerror}", "Create the folder or choose another data folder."
        )
    free = found.f_bavail * found.f_frsize
    fine = free >= _ENOUGH
    return DoctorResult(
        "process: disk", fine, f"{free / 1024**3:.1f} GiB free", "" if fine else "Free some space: a claw takes 0.4 to 1 GiB."
    )
