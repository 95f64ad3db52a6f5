"""Refuses what would write much while the disk is nearly full, in words; signing in, stopping and deleting go on."""

from __future__ import annotations

import errno

from clawportal.bounded import size_in_words
from clawportal.contracts.runtimes import Runtime
from clawportal.disk_reserve import Room
from clawportal.engine.portal import Portal
from clawportal.errors import Problem
from clawportal.messages import _m

FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(Problem):
    status, title, code = 507, _m("There is no room left"), "no_room"


def on_portals_disk(runtime: Runtime) -> bool:
    """Whether what runs there writes to the disk of the portal."""
    return "artifacts" in runtime.capabilities


def ensure(portal: Portal, needed: int = 0) -> None:
    """Refuse what takes `needed` bytes, or much that nobody can tell, of the portal's disk."""
    room = portal.room.look(fresh=needed > 0)
    if room.left < needed:
        raise NoRoom(_words(room, needed))


def _words(room: Room, needed: int) -> str:
    free, kept = size_in_words(max(0, room.free)), size_in_words(room.reserve)
    if needed and not room.low:
        return _m(
            "This takes %(needed)s; the portal's disk has %(free)s left, of which %(kept)s are kept "
            "free. Delete files or instances, or ask an administrator for more room.",
            needed=size_in_words(needed),
            free=free,
            kept=kept,
        )
    return _m(
        "The portal's disk is full: %(free)s are left, and %(kept)s are kept free. Stopping and "
        "deleting still work: delete files or instances, or ask an administrator for more room.",
        free=free,
        kept=kept,
    )


def is_full(error: BaseException | None) -> bool:
    """Whether an error means that a disk is full, be it of the machine or of the database."""
    while error is not None:
        said = type(error).__name__ == "DiskFull" or "database or disk is full" in str(error)
        if said or (isinstance(error, OSError) and error.errno in FULL):
            return True
        error = error.__cause__ or getattr(error, "orig", None)
    return False


def full() -> NoRoom:
    """Where something could not be written after all."""
    return NoRoom(
        _m(
            "The disk is full, so this was not done. Stopping and deleting still work: delete files or instances, or ask an "
            "administrator for more room."
        )
    )
