"""Decides what stands between the claws of this machine: the strongest wall that the kernel, the portal's own rights and the
cluster's settings allow. Whether it holds is not believed but tried (see `probe`)."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import DoctorResult, Separation, SeparationLevel
from clawportal_process import identity, landlock, seccomp, views
from clawportal_process.identity import Users

ROOTS = ("home", "state", "work", "tmp")
"""Folders that belong to the claw."""
_RANKS = (SeparationLevel.NONE, SeparationLevel.SECCOMP, SeparationLevel.NAMESPACE, SeparationLevel.USER)
OFF = "off"
AUTO = "auto"


_MANAGED = ("instances", "artifacts", "probe")
"""Folders of a place in which each entry has its own owner and mode."""
_WORDS = {
    (True, True, True): "its own user, its own view and Landlock",
    (True, False, True): "its own user and Landlock",
    (False, True, True): "its own view and Landlock",
    (False, False, True): "Landlock without local sockets",
    (True, True, False): "its own user and its own view",
    (True, False, False): "its own user",
    (False, False, False): "no wall",
}
"""User, view, Landlock."""


@dataclass(frozen=True)
class Method:
    """One way to build the wall."""

    level: SeparationLevel
    """What it is worth when nothing gets through it."""
    user: bool = False
    """A user of its own."""
    view: bool = False
    """A root folder of its own, in a mount namespace."""
    inside: bool = False
    """With a user namespace, because the portal is not root."""
    landlock: bool = True
    sockets: bool = True
    """Local sockets with a path or a name."""

    @property
    def words(self) -> str:
        return _WORDS[self.user, self.view, self.landlock]


def methods(wanted: str, *, root: bool) -> list[Method]:
    """The strongest first."""
    sockets = landlock.version() >= 6  # an older kernel leaves abstract sockets open
    if root:
        user = [
            Method(SeparationLevel.USER, user=True, view=True, sockets=sockets),
            Method(SeparationLevel.USER, user=True, sockets=sockets),
        ]
        plain = [
            Method(SeparationLevel.NONE, user=True, view=True, landlock=False),
            Method(SeparationLevel.NONE, user=True, landlock=False),
        ]
        return plain if wanted == OFF else [*user, *plain]
    walls = [
        Method(SeparationLevel.NAMESPACE, view=True, inside=True, sockets=sockets),
        Method(SeparationLevel.SECCOMP, sockets=False),
    ]
    return [*([] if wanted == OFF else walls), Method(SeparationLevel.NONE, landlock=False)]


@dataclass(frozen=True)
class Decision:
    """Which wall is built, and what was found out about it."""

    method: Method | None
    """None: a claw would have to run as root, which it never does."""
    separation: Separation


@dataclass(frozen=True)
class Own:
    """What belongs to the process that is to be confined."""

    folder: Path
    """Holds the folders that it may write to; itself it may only be passed."""
    writable: tuple[str, ...]
    """Names of these folders."""
    home: str
    owner: str
    """Whose user it gets."""
    software: tuple[Path, ...] = ()
    _: KW_ONLY
    readable: tuple[str, ...] = ()
    """What else it may read."""
    ports: tuple[int, ...] = ()
    hidden: tuple[str, ...] = ()
    """Names in the folder that are the portal's."""
    temporary: str = "tmp"


class Separator:
    """The walls of one place."""

    def __init__(
        self,
        base: Path,
        *,
        private: Iterable[str],
        wanted: str,
        users: str,
        readable: Iterable[str] = (),
        shared: Iterable[str] = (),
    ) -> None:
        self.base, self.wanted = base, wanted
        self.private = tuple(sorted({os.path.realpath(path) for path in (str(base), *private)}))
        self.readable, self.shared = tuple(readable), tuple(shared)
        self.root = os.geteuid() == 0
        self.users = Users(base, identity.parse(users) if users else identity.available())
        self._decision: Decision | None = None
        self._common: tuple[views.View, list[tuple[str, int]]] | None = None
        self._guard = threading.Lock()

    # ---- which

    def decision(self) -> Decision:
        """Measured once; the first who asks waits for it."""
        with self._guard:
            if self._decision is None:
                from clawportal_process import probe

                found = probe.decide(self, methods(self.wanted, root=self.root))
                if found.method is None:
                    return found  # it is asked again: nothing runs until then
                self._decision = found
            return self._decision

    def measure(self) -> Separation:
        try:
            return self.decision().separation
        except (OSError, Retry) as error:
            finding = DoctorResult("separation", False, f"It cannot be found out now: {error}", "Try again in a minute.")
            return Separation(SeparationLevel.NONE, (finding,))

    def method(self) -> Method:
        """GiveUp where nothing may run."""
        found = self.decision()
        if found.method is None:
            raise GiveUp(
                "NeverAsRoot",
                "A claw never runs as root, and this portal, which does, cannot give it another user.",
                "Put the portal's data where other users may pass, such as /var/lib/clawportal, or run it as an ordinary user.",
            )
        if self.wanted not in (AUTO, OFF) and _RANKS.index(found.separation.level) < _RANKS.index(SeparationLevel(self.wanted)):
            raise GiveUp(
                "NotSeparated",
                f"The cluster asks for the separation {self.wanted}, and this machine has {found.separation.level.value}.",
                "Read the connection test of the cluster for what is missing, or ask for less in its settings.",
            )
        return found.method

    def open_ways(self) -> None:
        """Let other users pass through the portal's folders to their own, and see nothing on the way."""
        ways = {self.base, *(self.base / name for name in _MANAGED)}
        ways |= {parent for parent in self.base.parents if any(parent.is_relative_to(path) for path in self.private)}
        for folder in filter(Path.is_dir, ways):
            if folder.name not in _MANAGED:
                _close_what_is_in(folder, ways)
            folder.chmod(0o711)

    # ---- how

    def user(self, owner: str, method: Method | None = None) -> int | None:
        """The user that it runs as; None for the portal's own."""
        method = method or self.method()
        return self.users.of(owner) if method.user else None

    def release(self, owner: str) -> None:
        """Nothing of it is left."""
        if self.root:
            self.users.release(owner)

    def wall(self, own: Own, method: Method | None = None) -> dict[str, Any]:
        """For `confine.enter`."""
        method = method or self.method()
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


def _close_what_is_in(folder: Path, ways: set[Path]) -> None:
    """Where others may pass, each thing has to be closed itself: a database is made readable for all by default."""
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            if not entry.is_symlink() and Path(entry.path) not in ways and mode != 0o711:  # another place opened that one
                os.chmod(entry.path, mode & 0o700)
