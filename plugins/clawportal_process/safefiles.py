"""Reads and writes files below a folder that a claw can write to, without following any link that it may have laid there."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class UnsafePath(PermissionError):
    """A path that leads, or might lead, out of its folder."""


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise UnsafePath(errno.EPERM, "path must be relative and must not contain ..", path)
    return parts


@contextmanager
def parent(root: Path, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """Descriptor of the folder that holds `path`, reached step by step, and the last name."""
    *folders, name = _parts(path)
    handle = os.open(root, FOLDER)
    try:
        for folder in folders:
            below = _step(handle, folder, path, create=create)
            os.close(handle)
            handle = below
        yield handle, name
    finally:
        os.close(handle)


@contextmanager
def folder(root: Path, path: str, *, create: bool = False) -> Iterator[int]:
    """Descriptor of a folder; of the root itself for an empty path."""
    if not PurePosixPath(path).parts:
        handle = os.open(root, FOLDER)
    else:
        with parent(root, path, create=create) as (above, name):
            handle = _step(above, name, path, create=create)
    try:
        yield handle
    finally:
        os.close(handle)


def _step(handle: int, folder: str, path: str, *, create: bool) -> int:
    fresh = create and _made(handle, folder)
    try:
        below = os.open(folder, FOLDER, dir_fd=handle)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePath(errno.EPERM, f"{folder} is a link or a file, not a folder", path) from None
        raise
    if fresh:
        _give(below, handle)
    return below


def _made(handle: int, folder: str) -> bool:
    try:
        os.mkdir(folder, 0o700, dir_fd=handle)
    except FileExistsError:
        return False
    return True


def _give(handle: int, folder: int) -> None:
    """What a portal that is root makes belongs to whom the folder belongs: the claw has to be able to read it."""
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        if (owner.st_uid, owner.st_gid) != (0, 0):
            os.fchown(handle, owner.st_uid, owner.st_gid)


def write(root: Path, path: str, content: bytes, *, mode: int = 0o600, only_new: bool = False) -> bool:
    """Replace a file atomically; False when it was already so. A link in the place of the file is replaced, not followed."""
    with parent(root, path, create=True) as (folder, name):
        there = present(folder, name)
        if there is not None and (only_new or _same(folder, name, there, content, mode)):
            return False
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise UnsafePath(errno.EISDIR, "a folder stands where a file should be written", path)
        _replace(folder, name, content, mode)
        return True


def present(folder: int, name: str) -> os.stat_result | None:
    """What has this name, be it a link; None for nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(folder: int, name: str, present: os.stat_result, content: bytes, mode: int) -> bool:
    """An unchanged file is left alone, so that no watcher of the claw wakes for nothing."""
    if not stat.S_ISREG(present.st_mode) or present.st_size != len(content) or stat.S_IMODE(present.st_mode) != mode:
        return False
    if os.geteuid() == 0 and present.st_uid != os.fstat(folder).st_uid:
        return False
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(handle, "rb") as file:
        return file.read() == content


def _replace(folder: int, name: str, content: bytes, mode: int) -> None:
    fresh = _fresh(name)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            _give(handle, folder)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(fresh, dir_fd=folder)
        raise


def _fresh(name: str) -> str:
    """A name beside the real one that fits wherever that fits, also when its letters take several bytes."""
    return f".{name[:40]}.{secrets.token_hex(4)}.new"


def write_stream(root: Path, path: str, pieces: Iterable[bytes], *, mode: int, modified: float) -> None:
    """Replace a file by what comes in pieces; readers see the old file or the whole new one."""
    with parent(root, path, create=True) as (folder, name):
        _no_folder_there(folder, name, path)
        fresh = _fresh(name)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                for piece in pieces:
                    _write_all(file, piece)
                _give(handle, folder)
                os.fchmod(handle, mode)
                os.utime(handle, (modified, modified))
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(fresh, dir_fd=folder)
            raise


def _write_all(file: IO[bytes], piece: bytes) -> None:
    """A file without a buffer may take less than it is given, as where a disk is nearly full."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _no_folder_there(folder: int, name: str, path: str) -> None:
    there = present(folder, name)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise UnsafePath(errno.EISDIR, "a folder stands where a file should be written", path)


def make_folder(root: Path, path: str, *, mode: int) -> None:
    with folder(root, path, create=True) as handle:
        os.fchmod(handle, mode)


def link(root: Path, path: str, target: str) -> None:
    """Lay a symbolic link, in the place of a file or link."""
    with parent(root, path, create=True) as (folder, name):
        _no_folder_there(folder, name, path)
        fresh = _fresh(name)
        os.symlink(target, fresh, dir_fd=folder)
        if os.geteuid() == 0:
            owner = os.fstat(folder)
            os.chown(fresh, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)


def hard_link(root: Path, path: str, target: str) -> None:
    """A second name for a regular file that is there."""
    with parent(root, target) as (source, old), parent(root, path, create=True) as (folder, name):
        if not stat.S_ISREG(os.stat(old, dir_fd=source, follow_symlinks=False).st_mode):
            raise UnsafePath(errno.EPERM, "only a file can have a second name", target)
        _no_folder_there(folder, name, path)
        fresh = _fresh(name)
        os.link(old, fresh, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)


def remove(root: Path, path: str) -> None:
    """Delete one file or link; missing, or a folder in its place, is fine."""
    try:
        with parent(root, path, create=False) as (folder, name):
            os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, IsADirectoryError, UnsafePath):
        pass


def read(root: Path, path: str, limit: int) -> bytes:
    """The first `limit` bytes of a regular file."""
    with parent(root, path, create=False) as (folder, name):
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePath(errno.EPERM, "links are not followed", path) from None
            raise
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnsafePath(errno.EPERM, "not a regular file", path)
            return file.read(limit)


def remove_tree(folder: Path) -> None:
    """Delete a folder with all it holds, also what the claw took its own permissions from. Missing is fine."""

    def open_up(_function: object, name: str, _info: object) -> None:
        parent = Path(name).parent
        for place in (parent, Path(name)):
            _unlock(place)
        if Path(name).is_dir() and not Path(name).is_symlink():
            shutil.rmtree(name)
        else:
            Path(name).unlink(missing_ok=True)

    if folder.exists():
        shutil.rmtree(folder, onerror=open_up)


def _unlock(place: Path) -> None:
    """Give a folder its permissions back; never what a link in its place leads to."""
    unlock(None, str(place))


def unlock(above: int | None, name: str) -> None:
    """The same for a folder in one that is open."""
    try:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    except OSError:
        return
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)
