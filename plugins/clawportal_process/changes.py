"""Moves, deletes and finds files of an instance where they are, never through a link that the claw has laid."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from clawportal.sdk.runtimes import FileEntry, FoundFiles
from clawportal_process import kernel, safefiles, transfer

_NO_REPLACE = 1
_DEEPEST = 100
_MOST_SEEN = 500_000
"""Entries that one search looks at: a claw can make more than anybody waits for."""


def move(source: Path, path: str, aim: Path, target: str) -> None:
    """Rename at once; FileExistsError where something has the name already."""
    with safefiles.parent(source, path) as (old, name):
        os.stat(name, dir_fd=old, follow_symlinks=False)  # before folders are made for what is not there
        with safefiles.parent(aim, target, create=True) as (new, fresh):
            _rename(old, name, new, fresh)


def _rename(old: int, name: str, new: int, fresh: str) -> None:
    try:
        kernel.call("renameat2", old, os.fsencode(name), new, os.fsencode(fresh), _NO_REPLACE)
    except OSError as error:
        if error.errno == errno.EACCES:  # the claw took its own rights from a folder, which has to be written to be moved
            safefiles.unlock(old, name)
        elif error.errno not in (errno.EINVAL, errno.ENOSYS, None):
            raise
        _plainly(old, name, new, fresh)


def _plainly(old: int, name: str, new: int, fresh: str) -> None:
    """Where the file system or the C library knows no other way."""
    if safefiles.present(new, fresh):
        raise FileExistsError(errno.EEXIST, "something has this name already", fresh)
    os.rename(name, fresh, src_dir_fd=old, dst_dir_fd=new)


def remove(root: Path, path: str, away: Path) -> None:
    """Gone at once for the claw, which then cannot get into the way; `away` is a free name outside of what it may write to."""
    away.parent.mkdir(mode=0o700, exist_ok=True)
    with safefiles.parent(root, path) as (folder, name), safefiles.folder(away.parent, "") as outside:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        _rename(folder, name, outside, away.name)
    if away.is_dir() and not away.is_symlink():
        safefiles.remove_tree(away)
    else:
        away.unlink()


def find(root: Path, path: str, text: str, limit: int, pass_over: str = "") -> FoundFiles:
    """Entries below a folder whose name contains the text, in any case of letters; named by their path in it.

    `pass_over` names an entry of that folder which nothing is told of.
    """
    wanted, walk = text.casefold(), _Walk(pass_over)
    with safefiles.folder(root, path) as handle:
        seen = walk.at_most(_MOST_SEEN, walk.below(handle, "", 0))
        fitting = (entry for entry in seen if wanted in entry.name.rpartition("/")[2].casefold())
        found = list(walk.at_most(limit, fitting))
    return FoundFiles(found, cut=walk.cut)


class _Walk:
    """Goes through folders, and knows whether it saw all."""

    def __init__(self, pass_over: str) -> None:
        self.cut, self._pass_over = False, pass_over

    def at_most(self, most: int, entries: Iterator[FileEntry]) -> Iterator[FileEntry]:
        for number, entry in enumerate(entries):
            if number == most:
                self.cut = True
                return
            yield entry

    def below(self, handle: int, prefix: str, depth: int) -> Iterator[FileEntry]:
        with os.scandir(handle) as entries:
            found = sorted(filter(None, map(transfer.entry_of, entries)), key=lambda entry: entry.name)
        for entry in found:
            if prefix or entry.name != self._pass_over:
                yield replace(entry, name=prefix + entry.name)
                if entry.kind == "folder":
                    yield from self._inside(handle, entry.name, prefix, depth)

    def _inside(self, handle: int, name: str, prefix: str, depth: int) -> Iterator[FileEntry]:
        if depth == _DEEPEST:
            self.cut = True
            return
        try:
            inner = os.open(name, safefiles.FOLDER, dir_fd=handle)
        except OSError:  # it went or became something else meanwhile, or the claw took its own rights from it
            return
        try:
            yield from self.below(inner, f"{prefix}{name}/", depth + 1)
        finally:
            os.close(inner)
