"""The processes below a supervisor. C modules only, as in `supervisor`."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # as in `supervisor`
import os
import time


def children(pid: int) -> list[int]:
    """Direct children, of every thread of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.read(65536).split())
    except (OSError, ValueError):
        pass
    return found


def descendants(root: int) -> list[int]:
    """All below `root`, parents first. Daemons are among them: the supervisor is their reaper."""
    found: list[int] = []
    todo = [root]
    while todo:
        below = children(todo.pop())
        found += below
        todo += below
    return found


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def kill_tree() -> None:
    """End everything below this process and reap it. Goes on until nothing is left, whatever forks meanwhile."""
    while True:
        signal_all(descendants(os.getpid()), signal.SIGKILL)
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                return
