"""What a process of a claw sees: a root that holds the system's folders, its own and its software, and nothing else.

A view is a list of plain steps, which `confine` takes before the program starts. Paths are the same inside and outside.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from clawportal_process import launch

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store",
    "/var/lib/ca-certificates",  # where SUSE keeps what /etc/ssl leads to
)  # fmt: skip
NODES = ("null", "zero", "full", "random", "urandom", "tty")
_STREAMS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_SHARED_MEMORY = "mode=1777,size=256m"
"""Its pages are not in the measured memory of any process, so that there is a limit of its own."""
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  # names that programs have built in; each claw sees its own there
_TEMPORARY_MEMORY = "mode=1777,size=64m"
NAME = "claw"
"""What the user of a claw is called inside."""

Step = tuple[Any, ...]


@cache
def software() -> tuple[str, ...]:
    """Folders of the system and of the Python that the portal and its virtual environments use, as real paths."""
    here = Path(os.path.realpath(launch.python()))
    prefixes = {str(here.parents[1])}
    if not getattr(sys, "frozen", False):  # what a program of one file has unpacked is of no use to a claw
        prefixes |= {str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix}
    wanted = {os.path.realpath(path) for path in (*_SYSTEM, *prefixes) if os.path.isdir(path)} - {"/"}
    return tuple(sorted(path for path in wanted if not any(path.startswith(f"{other}/") for other in wanted)))


def interpreter(folder: Path) -> Iterator[str]:
    """The Python behind a virtual environment. What made the environment may lie: it has to look like one."""
    with suppress(OSError):
        for line in (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            prefix = Path(os.path.realpath(value.strip())).parent
            if name.strip() == "home" and len(prefix.parts) > 1 and any(prefix.glob("lib/python3*/os.py")):
                yield str(prefix)


def without(path: str, private: Iterable[str]) -> list[str]:
    """A folder, or what it holds besides what is private."""
    inside = [one for one in private if one == path or one.startswith(f"{path}/")]
    if not inside:
        return [path]
    if path in inside:
        return []
    with os.scandir(path) as entries:  # a link is left out: what it leads to is there by its own name, or is private
        return [found for entry in entries if not entry.is_symlink() for found in without(entry.path, inside)]


def settings_of_the_system() -> tuple[list[str], list[str]]:
    """What everybody may read of `/etc`, and where its links lead out of there, such as to the name servers in `/run`."""
    readable, elsewhere = [], []
    for entry in sorted(os.scandir("/etc"), key=lambda entry: entry.name):
        with suppress(OSError):
            status = entry.stat()
            needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
            if status.st_mode & needed == needed and not stat.S_ISSOCK(status.st_mode):
                readable.append(entry.path)
                if entry.is_symlink() and stat.S_ISREG(status.st_mode):
                    elsewhere.append(os.path.realpath(entry.path))
    return readable, elsewhere


class View:
    """Steps under construction."""

    def __init__(self, steps: Iterable[Step] = (), bound: Iterable[str] = ()) -> None:
        self.steps: list[Step] = list(steps)
        self.bound: set[str] = set(bound)
        self._made = {step[1] for step in self.steps}

    def copy(self) -> View:
        return View(self.steps, self.bound)

    def add(self, *step: Any) -> None:
        if step[1] not in self._made:
            self._made.add(step[1])
            self.steps.append(step)

    def show(self, path: str, *, writable: bool = False) -> None:
        """Make it visible by this name: links on the way are laid as they are, and followed."""
        now, parts = "", path.strip("/").split("/")
        for place, part in enumerate(parts):
            now = f"{now}/{part}"
            if os.path.islink(now):
                target = os.readlink(now)
                if not self._inside(now):
                    self.add("link", now, target)
                followed = os.path.normpath(os.path.join(os.path.dirname(now), target))
                return self.show("/".join([followed, *parts[place + 1 :]]), writable=writable)
            if self._inside(now):
                continue
            if place < len(parts) - 1:
                self.add("folder", now)
            else:
                self.add("bind", now, os.path.isdir(now), writable)
                self.bound.add(now)
        return None

    def _inside(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self.bound)


def of_the_machine(readable: Iterable[str], elsewhere: Iterable[str], memory: Iterable[str] = ()) -> View:
    """What all claws of a place see. In `memory` are temporary folders that something of it is shown in."""
    view = View()
    view.add("folder", "/var")
    for name in memory:
        view.add("memory", name, _TEMPORARY_MEMORY)
    for name in ("/etc", "/sys", *readable):
        if os.path.exists(name):
            view.show(name)
    view.show("/proc", writable=True)
    for name in _SYSTEM:
        if os.path.islink(name):
            view.show(name)
    for name in ("/dev", "/run", *TEMPORARY):
        view.add("folder", name)
    view.add("link", "/var/run", "/run")
    for node in NODES:
        if os.path.exists(f"/dev/{node}"):
            view.show(f"/dev/{node}", writable=True)
    for name, target in _STREAMS.items():
        view.add("link", f"/dev/{name}", target)
    view.add("terminals", "/dev/pts")
    view.add("link", "/dev/ptmx", "pts/ptmx")
    view.add("memory", "/dev/shm", _SHARED_MEMORY)  # noqa: S108
    for name in elsewhere:
        view.show(name)
    return view


def accounts(uid: int, gid: int, home: str) -> Iterator[Step]:
    """Programs ask who they are: without an answer git, ssh and Node.js refuse to work."""
    names = _others("/etc/passwd", uid)
    yield "replace", "/etc/passwd", f"{names}{NAME}:x:{uid}:{gid}::{home}:/bin/sh\n"
    yield "replace", "/etc/group", f"{_others('/etc/group', gid)}{NAME}:x:{gid}:\n"


def _others(path: str, number: int) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "".join(f"{line}\n" for line in lines if line.split(":")[2:3] != [str(number)] and not line.startswith(f"{NAME}:"))


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run as a number without a name
        return str(uid)
