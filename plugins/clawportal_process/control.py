"""Tells a supervisor what to do, and ends processes of whom it is known when they began."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from clawportal_process import proc


def command(run: Path, text: str) -> bool:
    """Whether a supervisor listens. The pipe cannot lead to another process, as a pid could."""
    try:
        handle = os.open(run / "control", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(handle, text.encode())
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def kill_all(pids: Mapping[int, int]) -> None:
    for pid, start in pids.items():
        proc.send(pid, start, signal.SIGKILL)
    for pid, start in pids.items():
        proc.wait_gone(pid, start, 1.0)
