"""The folders of the instances of one place: who owns them, who changes one at a time, and where people may look."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Ref
from clawportal_process import identity, safefiles
from clawportal_process.methods import ROOTS
from clawportal_process.separation import Separator

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ALL = (*ROOTS, "run")
_FORGOTTEN = 600.0
"""Seconds after which something in the trash is taken for the rest of a removal that was interrupted."""


class Folders:
    def __init__(self, base: Path, separator: Separator) -> None:
        self.base, self.separator = base, separator

    def of(self, ref: Ref) -> Path:
        if not _ID.fullmatch(ref.instance_id):
            raise GiveUp(
                _n("InvalidId"),
                _m("%(instance_id)s cannot be the id of an instance.", instance_id=repr(ref.instance_id)),
                _m("Use letters, digits, dot, dash and underscore."),
            )
        return self.base / "instances" / ref.instance_id

    def make(self, ref: Ref, folder: Path) -> int | None:
        """The folders of an instance; answers whose they are where that is not the portal."""
        uid = self.separator.user(ref.instance_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        if uid is not None:  # its user may pass to what is below
            os.chown(folder, 0, uid)
            folder.chmod(0o710)
        for name in ALL:
            if _mkdir(folder / name) and uid is not None and name in ROOTS:
                os.chown(folder / name, uid, uid)
        return uid

    def hand_over(self, folder: Path, uid: int | None, *, final: bool) -> None:
        """Once for each instance: what an earlier version ran as the portal's own user. Not `final` while that still runs."""
        if uid is None or _text(folder / "user") == str(uid):
            return
        for name in identity.hand_over(folder, ROOTS, uid):
            log.warning("%s of instance %s stays the portal's: it has another name outside of the instance", name, folder.name)
        if final:
            safefiles.write(folder, "user", str(uid).encode())

    @contextmanager
    def locked(self, folder: Path, seconds: float = 60.0) -> Iterator[None]:
        """Only one at a time, over threads and portals."""
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + seconds
        try:
            while not try_lock(handle):
                if time.monotonic() > until:
                    raise Retry(_n("Busy"), _m("Another change of this instance is still under way."), timedelta(seconds=2))
                time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def root(self, ref: Ref, root: str) -> Path:
        if root not in ALL[:3]:
            raise FileNotFoundError(errno.ENOENT, "there is no such root", root)
        return self.of(ref) / root


def try_lock(handle: int) -> bool:
    """Whether the lock of an open file was free, and is ours now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mkdir(path: Path) -> bool:
    """Whether it was not there before."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def old(path: Path) -> bool:
    """Nobody is at it any more."""
    try:
        return time.time() - path.lstat().st_ctime > _FORGOTTEN
    except FileNotFoundError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def empty(folder: Path) -> None:
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            safefiles.remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except FileNotFoundError:
        pass
