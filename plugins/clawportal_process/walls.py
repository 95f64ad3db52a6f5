"""Builds the wall around the processes of a claw by one of the methods: its user, its view of the files, its rules."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clawportal_process import identity, landlock, seccomp, views
from clawportal_process.identity import Users
from clawportal_process.methods import Method, Own

_MANAGED = ("instances", "artifacts", "probe")
"""Folders of a place in which each entry has its own owner and mode."""


class Walls:
    """How the walls of one place are built: users, views, rules. Any method can be asked for."""

    def __init__(
        self,
        base: Path,
        *,
        private: Iterable[str],
        users: str,
        readable: Iterable[str] = (),
        shared: Iterable[str] = (),
    ) -> None:
        self.base = base
        self.private = tuple(sorted({os.path.realpath(path) for path in (str(base), *private)}))
        self.readable, self.shared = tuple(readable), tuple(shared)
        self.root = os.geteuid() == 0
        self.users = Users(base, identity.parse(users) if users else identity.available())
        self._common: tuple[views.View, list[tuple[str, int]]] | None = None

    def user(self, owner: str, method: Method) -> int | None:
        """The user that it runs as; None for the portal's own."""
        return self.users.of(owner) if method.user else None

    def release(self, owner: str) -> None:
        """Nothing of it is left."""
        if self.root:
            self.users.release(owner)

    def wall(self, own: Own, method: Method) -> dict[str, Any]:
        """For `confine.enter`."""
        uid = self.user(own.owner, method)
        found: dict[str, Any] = {"user": (uid, uid) if uid is not None else None}
        if method.view:
            found |= self._view(own, method, uid)
        if method.landlock:
            found |= {"landlock": self._rules(own, method), "ports": list(own.ports)}
            found["filter"] = seccomp.program(
                os.uname().machine, unix_sockets=method.sockets, others=method.user, shared_memory=method.user or method.view
            )
        return found

    def _shared(self) -> tuple[views.View, list[tuple[str, int]]]:
        """View and rules that are the same for all."""
        if self._common is None:
            folders = [
                found
                for path in (*views.software(), *map(os.path.realpath, self.readable))
                for found in views.without(path, self.private)
            ]
            etc, elsewhere = views.settings_of_the_system()
            rules = [(path, landlock.READ) for path in (*folders, *etc, *elsewhere, "/proc", "/sys")]
            rules += [(path, landlock.READ_DIR) for path in ("/etc", "/dev")]
            rules += [(f"/dev/{node}", landlock.DEVICE) for node in views.NODES]
            rules += [(path, landlock.WRITE) for path in self.shared]
            self._common = views.of_the_machine(folders, elsewhere, self.crowded()), rules
        return self._common

    def _view(self, own: Own, method: Method, uid: int | None) -> dict[str, Any]:
        view = self._shared()[0].copy()
        for path in (*self._software(own), *own.readable):
            view.show(path)
        for path in (*self._own_paths(own), *self.shared):
            view.show(path, writable=True)
        folder = os.path.realpath(own.folder)
        for name in own.hidden:
            view.add("memory", f"{folder}/{name}", "mode=0700,size=4k")
        for name in views.TEMPORARY:
            if name not in self.crowded():
                view.steps.append(("put", name, f"{folder}/{own.temporary}"))
        inside = os.geteuid(), os.getegid()
        who = (uid, uid) if uid is not None else inside
        view.steps += views.accounts(*who, own.home)
        stage = self.base / "stage"
        stage.mkdir(mode=0o700, exist_ok=True)
        return {"view": [list(step) for step in view.steps], "stage": str(stage), "inside": inside if method.inside else None}

    def _own_paths(self, own: Own) -> list[str]:
        """Together, so that files can be moved between them; each alone where all that lies around them can be written."""
        return [str(own.folder / name) for name in own.writable] if self.crowded() else [str(own.folder)]

    def crowded(self) -> list[str]:
        """Temporary folders of the machine that hold data or software of the portal: these are empty memory in a view."""
        shown = (*self.private, *views.software(), *map(os.path.realpath, (*self.readable, *self.shared)))
        return [name for name in views.TEMPORARY if any(path.startswith(f"{name}/") for path in shown)]

    def _software(self, own: Own) -> list[str]:
        folders = [str(folder) for folder in own.software]
        return [*folders, *(path for folder in own.software for path in views.interpreter(folder))]

    def _rules(self, own: Own, method: Method) -> list[tuple[str, int]]:
        rules = [*self._shared()[1], *((path, landlock.READ) for path in (*self._software(own), *own.readable))]
        rules += [(str(own.folder / name), landlock.WRITE) for name in own.writable]
        if method.view:
            rules += [("/", landlock.READ_DIR), *((path, landlock.WRITE) for path in (*views.TEMPORARY, "/dev/shm"))]  # noqa: S108
        elif method.user:  # everybody's, and sticky: nobody takes away what is another user's
            rules += [(path, landlock.WRITE) for path in views.TEMPORARY if path not in self.crowded()]
        if method.view or method.user:  # otherwise the terminals of others are among them
            rules += [("/dev/pts", landlock.DEVICE), ("/dev/ptmx", landlock.DEVICE)]
        return rules

    def open_ways(self) -> None:
        """Let other users pass through the portal's folders to their own, and see nothing on the way."""
        ways = {self.base, *(self.base / name for name in _MANAGED)}
        ways |= {parent for parent in self.base.parents if any(parent.is_relative_to(path) for path in self.private)}
        for folder in filter(Path.is_dir, ways):
            if folder.name not in _MANAGED:
                _close_what_is_in(folder, ways)
            folder.chmod(0o711)


def _close_what_is_in(folder: Path, ways: set[Path]) -> None:
    """Where others may pass, each thing has to be closed itself: a database is made readable for all by default."""
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            if not entry.is_symlink() and Path(entry.path) not in ways and mode != 0o711:  # another place opened that one
                os.chmod(entry.path, mode & 0o700)
