"""The ways to build a wall around a claw, the strongest first, and what is inside of it: plain data."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from clawportal.sdk import _m
from clawportal.sdk.runtimes import Separation, SeparationLevel
from clawportal_process import landlock

ROOTS = ("home", "state", "work", "tmp")
"""Folders that belong to the claw."""
OFF = "off"
AUTO = "auto"

_WORDS = {
    (True, True, True): _m("its own user, its own view and Landlock"),
    (True, False, True): _m("its own user and Landlock"),
    (False, True, True): _m("its own view and Landlock"),
    (False, False, True): _m("Landlock without local sockets"),
    (True, True, False): _m("its own user and its own view"),
    (True, False, False): _m("its own user"),
    (False, False, False): _m("no wall"),
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
