"""What this machine has to give: cores, memory, disk, addresses."""

from __future__ import annotations

import errno
import os
import platform
import socket
from functools import cache
from pathlib import Path

from clawportal.sdk.runtimes import Capacity

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def capacity(folder: Path) -> Capacity:
    memory = _meminfo()
    total = min([memory["MemTotal"], *_cgroup_limits()])
    disk = os.statvfs(folder)
    return Capacity(
        cpu_cores=float(len(os.sched_getaffinity(0))),
        memory_bytes=total,
        memory_available=min(memory.get("MemAvailable", total), total),
        disk_bytes=disk.f_blocks * disk.f_frsize,
        disk_available=disk.f_bavail * disk.f_frsize,
    )


@cache
def version() -> str:
    """Such as `Linux 6.12.1 (Debian GNU/Linux 13)`."""
    kernel = f"{platform.system()} {platform.release()}"
    try:
        return f"{kernel} ({platform.freedesktop_os_release()['PRETTY_NAME']})"
    except (OSError, KeyError):
        return kernel


def _meminfo() -> dict[str, int]:
    with open("/proc/meminfo", encoding="ascii") as file:
        pairs = (line.split(":", 1) for line in file)
        return {name: int(rest.split()[0]) * 1024 for name, rest in pairs}


def _cgroup_limits() -> list[int]:
    """A container may have less than the machine. Values near 2**63 mean no limit."""
    found = []
    for path in _LIMITS:
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return [value for value in found if value > 0]


@cache
def addresses() -> tuple[tuple[socket.AddressFamily, str], ...]:
    """Where a listener of a claw could stand."""
    four = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"))
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM):
            return (*four, (socket.AF_INET6, "::1"), (socket.AF_INET6, "::"))
    except OSError:
        return four


def can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    """SO_REUSEADDR: connections that only linger from a claw that has ended do not count, a listener does."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL
    return True
