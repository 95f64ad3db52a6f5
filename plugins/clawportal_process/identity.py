"""Gives each instance a user of its own, where the portal is root: a number that no account has, and that nobody else gets
while there are files of it."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp

HIGH = (1_900_000_000, 1_900_065_535)
"""Above what accounts, rootless containers (600,100,000 at most) and containers of systemd (1,879,048,191) are given."""
LOW = (30_000, 59_999)
"""Where the portal itself runs in a container that has 65,536 users."""


def parse(text: str) -> tuple[int, int]:
    """`FROM-TO`; ValueError when it is no range of users that are not root."""
    first, _, last = text.partition("-")
    found = int(first), int(last)
    if not 0 < found[0] <= found[1] < 2**32 - 2:
        raise ValueError(text)
    return found


def available() -> tuple[int, int]:
    """The range that is taken when none is set."""
    return HIGH if _mapped(*HIGH) else LOW


def _mapped(first: int, last: int) -> bool:
    """Whether these users exist in the user namespace of the portal."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return False
    return any(start <= first and last < start + count for start, _, count in (map(int, line.split()) for line in lines))


class Users:
    """The numbers of one place. A file named by the number holds whose it is, so that two portals never give one out twice."""

    def __init__(self, base: Path, numbers: tuple[int, int]) -> None:
        self.folder = base / "users"
        self.first, self.last = numbers
        self._known: dict[str, int] = {}
        self._guard = threading.Lock()

    def of(self, owner: str) -> int:
        """The same for the same owner until it is released."""
        with self._guard:
            if owner not in self._known:
                self._look()
            return self._known.get(owner) or self._take(owner)

    def release(self, owner: str) -> None:
        """Nothing belongs to it any more."""
        with self._guard:
            self._look()
            number = self._known.pop(owner, None)
            if number is not None:
                with suppress(FileNotFoundError):
                    (self.folder / str(number)).unlink()

    def _look(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        found = {}
        for path in self.folder.iterdir():
            with suppress(OSError, ValueError):
                found[path.read_text(encoding="utf-8")] = int(path.name)
        self._known = found

    def _take(self, owner: str) -> int:
        for number in self._candidates(owner):
            if self._reserve(number, owner):
                self._known[owner] = number
                return number
        raise GiveUp(
            _n("NoUserLeft"),
            _m("All %(last)s users for claws are taken.", last=self.last - self.first + 1),
            _m("Widen the range of users in the cluster's settings, or delete claws."),
        )

    def _candidates(self, owner: str) -> Iterator[int]:
        """From a point that differs between places: another portal on this machine may use the same range."""
        count = self.last - self.first + 1
        begin = int.from_bytes(hashlib.sha256(f"{self.folder}\0{owner}".encode()).digest()[:8], "big") % count
        busy = _users_of_processes()
        return (number for step in range(count) if (number := self.first + (begin + step) % count) not in busy)

    def _reserve(self, number: int, owner: str) -> bool:
        try:
            handle = os.open(self.folder / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        with open(handle, "w", encoding="utf-8") as file:
            file.write(owner)
        return True


def _users_of_processes() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                found.add(os.stat(f"/proc/{name}").st_uid)
    return found


# ---- handing files over


def hand_over(folder: Path, roots: tuple[str, ...], uid: int) -> list[str]:
    """Give all that is below to a user, which is also the group. Answers what was left: files that have a name elsewhere, too.

    The claw that made the tree may have meant harm: no link is followed, and a file outside that it has given a second name to,
    such as the portal's key ring, stays whose it is. Its programs must not run meanwhile.
    """
    names: Counter[tuple[int, int]] = Counter()
    for root in roots:
        for _, _, status in _entries(folder / root):
            names[status.st_dev, status.st_ino] += 1
    left = []
    for root in roots:
        for handle, name, status in _entries(folder / root):
            if stat.S_ISREG(status.st_mode) and status.st_nlink > names[status.st_dev, status.st_ino]:
                left.append(name)
            elif (status.st_uid, status.st_gid) != (uid, uid):
                os.chown(name, uid, uid, dir_fd=handle, follow_symlinks=False)
        own = os.open(folder / root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchown(own, uid, uid)
            os.fchmod(own, 0o700)
        finally:
            os.close(own)
    return left


def _entries(root: Path) -> Iterator[tuple[int, str, os.stat_result]]:
    """All below, as the descriptor of a folder, a name in it and its status; folders after what they hold."""
    for _, folders, files, handle in os.fwalk(root, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                yield handle, name, os.stat(name, dir_fd=handle, follow_symlinks=False)
