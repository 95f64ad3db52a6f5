"""Reads processes from /proc by raw bytes, because a fleet is looked at every few seconds and libraries take ten times as long.

A process is named by pid and start time everywhere: the pid alone is given to somebody else sooner or later.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Row(NamedTuple):
    """What one line of /proc/<pid>/stat says."""

    state: bytes
    parent: int
    ticks: int
    """Of CPU: own, and of the children that were reaped."""
    own_ticks: int
    start: int
    rss_bytes: int


@cache
def boot_id() -> str:
    """Changes when the machine restarts: start times count from there."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def row(pid: int | str) -> Row | None:
    """None for a process that does not exist."""
    try:
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        raw = os.read(handle, 1024)
    except OSError:  # it ended between the two calls
        return None
    finally:
        os.close(handle)
    part = raw[raw.rfind(b")") + 2 :].split(b" ", 22)
    own = int(part[11]) + int(part[12])
    return Row(part[0], int(part[1]), own + int(part[13]) + int(part[14]), own, int(part[19]), int(part[21]) * PAGE)


def alive(pid: int, start: int) -> bool:
    """Whether exactly this process runs. A zombie does not; a portal that is PID 1 inherits and reaps them here."""
    found = row(pid)
    if found is None or found.start != start:
        return False
    if found.state == b"Z":
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
    return found.state not in (b"Z", b"X")


def table() -> dict[int, Row]:
    """All processes of the machine in one pass."""
    rows = ((int(name), row(name)) for name in os.listdir("/proc") if name.isdigit())
    return {pid: found for pid, found in rows if found is not None}


def by_parent(rows: Mapping[int, Row]) -> dict[int, list[int]]:
    below: dict[int, list[int]] = defaultdict(list)
    for pid, found in rows.items():
        below[found.parent].append(pid)
    return below


def descendants(root: int, below: Mapping[int, list[int]]) -> list[int]:
    """All below `root`, without it."""
    found: list[int] = []
    todo = [root]
    while todo:
        children = below.get(todo.pop(), ())
        found += children
        todo += children
    return found


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory with shared pages counted once (PSS): dear to read, but fair enough to end somebody for it."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                total += next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
        except (OSError, StopIteration):
            continue
    return total


def marked(markers: Iterable[bytes]) -> dict[int, int]:
    """Processes whose environment holds all markers (`NAME=value`): pid -> start time. Only what this user may read."""
    wanted = set(markers)
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        if wanted <= set(environment.split(b"\0")):
            seen = row(name)
            if seen is not None and seen.state != b"Z":
                found[int(name)] = seen.start
    return found


def send(pid: int, start: int, number: signal.Signals) -> bool:
    """Signal exactly this process; the descriptor makes sure that the pid is not somebody else's by then."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not alive(pid, start):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def wait_gone(pid: int, start: int, seconds: float) -> bool:
    """Whether it ended within the time."""
    until = time.monotonic() + seconds
    while alive(pid, start):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
