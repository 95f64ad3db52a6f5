"""Starts a supervisor so that it has nothing in common with the portal: no session, no descriptor, no environment."""

from __future__ import annotations

import marshal
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from clawportal.errors import GiveUp, Retry

_CODE = "import sys; sys.path.append(sys.argv.pop(1)); import supervisor; supervisor.main()"
ANSWER_SECONDS = 30.0
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@cache
def python() -> str:
    """The interpreter for supervisors and virtual environments. A single-file binary is none itself: it needs one from PATH."""
    if not getattr(sys, "frozen", False):
        return sys.executable
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found and _new_enough(found):
            return found
    raise GiveUp("PythonMissing", "No Python 3.11 or newer was found in PATH.", "Install Python 3.11 or newer (Debian: apt install python3-venv).")


def _new_enough(path: str) -> bool:
    command = [path, "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def command(mode: str, arguments: Sequence[str]) -> list[str]:
    """Not `supervisor.py` as a script: a module is compiled once, a script at each start."""
    return [python(), "-X", "utf8", "-I", "-S", "-c", _CODE, str(Path(__file__).parent), mode, *arguments]


def start(run: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Start a supervisor in `run` and wait until its processes run. The spec, with its secrets, goes through a pipe only."""
    raw = marshal.dumps(dict(spec), 2)
    process = subprocess.Popen(
        command("supervise", [str(run)]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd="/", env={}, start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout
    with process.stdin as pipe_in, process.stdout as pipe_out:
        try:
            pipe_in.write(len(raw).to_bytes(8, "big") + raw)
            pipe_in.close()
        except BrokenPipeError:
            pass  # it says why below, or nothing at all
        process.wait()  # the one that detaches; the supervisor itself is its child
        return _answer(pipe_out.fileno())


def _answer(handle: int) -> dict[str, Any]:
    if not select.select([handle], [], [], ANSWER_SECONDS)[0]:
        raise Retry("Starting", "The supervisor has not answered yet; this machine may be very busy.", timedelta(seconds=2))
    raw = os.read(handle, 65536)
    if not raw:
        raise Retry("SupervisorLost", "The supervisor ended before the claw was started.", timedelta(seconds=2))
    answer: dict[str, Any] = marshal.loads(raw)
    return answer
