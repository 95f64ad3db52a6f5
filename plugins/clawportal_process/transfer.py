"""Lists, hands out and takes in the files of an instance: as streams, and never through a link that the claw has laid."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from clawportal.sdk import _m, _n, file_scripts
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import FileEntry
from clawportal_process import safefiles

PIECE = 256 * 1024
_BLOCK = 512
_HEADER_LIMIT = 1024 * 1024
"""The most that the description of one entry may take; names of such a length exist in attacks only."""
_DEEPEST = 100
_LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)


# --------------------------------------------------------------------------------------------------------------------
# Listing


def listing(root: Path, path: str) -> list[FileEntry]:
    with safefiles.folder(root, path) as handle, os.scandir(handle) as entries:
        found = [entry for entry in map(entry_of, entries) if entry is not None]
    return sorted(found, key=lambda entry: entry.name)


def entry_of(entry: os.DirEntry[str]) -> FileEntry | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # it went meanwhile
        return None
    return file_scripts.entry_of(entry.name, status.st_mode, status.st_size, status.st_mtime)


# --------------------------------------------------------------------------------------------------------------------
# Out


def pull(root: Path, path: str) -> Iterator[bytes]:
    """A tar stream; what is wrong with the path is raised before the first piece."""
    yield from _joined(_members(root, path))


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Headers of many small files together; a piece is never larger than `PIECE` and one part."""
    held, size = [], 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join([*held, bytes(2 * _BLOCK)])


def _members(root: Path, path: str) -> Iterator[bytes]:
    pure = PurePosixPath(path)
    if not pure.parts:
        with safefiles.folder(root, "") as handle:
            yield from _below(handle, "")
        return
    with safefiles.parent(root, path) as (handle, name):
        status = os.stat(name, dir_fd=handle, follow_symlinks=False)
        yield from _member(handle, name, name, status, 0)


def _below(handle: int, prefix: str, depth: int = 0) -> Iterator[bytes]:
    for name in sorted(os.listdir(handle)):
        try:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            yield from _member(handle, name, prefix + name, status, depth)
        except FileNotFoundError:  # it went meanwhile
            continue


def _member(handle: int, name: str, told: str, status: os.stat_result, depth: int) -> Iterator[bytes]:
    if stat.S_ISREG(status.st_mode):
        yield from _file(handle, name, told)
    elif stat.S_ISLNK(status.st_mode):
        yield _header(told, status, tarfile.SYMTYPE, target=os.readlink(name, dir_fd=handle))
    elif stat.S_ISDIR(status.st_mode):
        yield _header(told, status, tarfile.DIRTYPE)
        try:
            inner = os.open(name, safefiles.FOLDER, dir_fd=handle)
        except OSError:  # it went or became something else meanwhile, or the claw took its own rights from it
            return
        try:
            if depth < _DEEPEST:
                yield from _below(inner, f"{told}/", depth + 1)
        finally:
            os.close(inner)


def _file(handle: int, name: str, told: str) -> Iterator[bytes]:
    """Exactly as long as its header says, also when the claw goes on writing."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    except FileNotFoundError:
        return
    with os.fdopen(opened, "rb", buffering=0) as file:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            return
        yield _header(told, status, tarfile.REGTYPE, size=status.st_size)
        left = status.st_size
        while left and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
        for _ in range(0, left, PIECE):  # it became shorter meanwhile
            yield bytes(min(PIECE, left))
            left -= min(PIECE, left)
        yield bytes(-status.st_size % _BLOCK)


def _header(told: str, status: os.stat_result, kind: bytes, *, size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(told)
    info.type, info.size, info.linkname = kind, size, target
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


# --------------------------------------------------------------------------------------------------------------------
# In


def push(root: Path, path: str, chunks: Iterable[bytes]) -> None:
    """Each file appears whole or not at all; what was unpacked before an error stays."""
    with safefiles.folder(root, path, create=True):  # refuses the path, also of a stream without entries
        pass
    base = str(PurePosixPath(path)) if PurePosixPath(path).parts else ""
    source = _Source(chunks)
    source.allowed = _HEADER_LIMIT
    try:
        with tarfile.open(fileobj=source, mode="r|", errorlevel=2) as tar:
            for info in _entries(tar, source):
                _take(root, base, tar, info)
    except (tarfile.TarError, EOFError) as error:
        raise GiveUp(
            _n("BadArchive"),
            _m("The archive cannot be read: %(error)s.", error=error),
            _m("Send a whole tar archive without compression."),
        ) from error


def _entries(tar: tarfile.TarFile, source: _Source) -> Iterator[tarfile.TarInfo]:
    """One after the other, without keeping them; `next` reads the description of one entry only."""
    while True:
        source.allowed = _HEADER_LIMIT
        info = tar.next()
        source.allowed = None
        if info is None:
            return
        tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
        yield info


class _Source(io.RawIOBase):
    """The pieces of a stream as a file. While `allowed` is set, no more than that is handed out."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.allowed: int | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # narrower than any buffer
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        if self.allowed is not None:
            self.allowed -= size
            if self.allowed < 0:
                raise tarfile.ReadError("the description of an entry is too long")
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _take(root: Path, base: str, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    name = _inside(info.name, info.name)
    if not name:  # the folder itself
        return
    path = f"{base}/{name}" if base else name
    if info.isreg() and not info.issparse():
        file = tar.extractfile(info)
        assert file is not None
        safefiles.write_stream(
            root, path, iter(lambda: file.read(PIECE), b""), mode=info.mode & 0o777, modified=file_scripts.clamped(info.mtime)
        )
    elif info.isdir():
        safefiles.make_folder(root, path, mode=(info.mode & 0o777) | 0o700)
    elif info.issym():
        _inside(str(PurePosixPath(path).parent / info.linkname), info.name, absolute=info.linkname.startswith("/"))
        safefiles.link(root, path, info.linkname)
    elif info.islnk():
        target = _inside(info.linkname, info.name)
        safefiles.hard_link(root, path, f"{base}/{target}" if base else target)
    else:
        raise _unsafe(info.name, "it is neither file, folder nor link")


def _inside(name: str, told: str, *, absolute: bool = False) -> str:
    """A relative path without `.` and with every `..` resolved; GiveUp when it leads out."""
    parts: list[str] = []
    if absolute or name.startswith("/") or "\0" in name:
        raise _unsafe(told, "it is an absolute path")
    for part in PurePosixPath(name).parts:
        if part == "..":
            if not parts:
                raise _unsafe(told, "it leads out of the folder")
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _unsafe(name: str, why: str) -> GiveUp:
    return GiveUp(
        _n("UnsafePath"),
        _m("The entry %(name)s of the archive is refused: %(why)s.", name=repr(name[:200]), why=why),
        _m("Take it out of the archive, and send it again."),
    )


# --------------------------------------------------------------------------------------------------------------------
# Errors


def unsafe(error: safefiles.UnsafePath) -> GiveUp:
    return GiveUp(
        _n("UnsafePath"),
        f"{error.filename}: {error.strerror}.",
        _m("Remove the link or file from the claw's folder, or choose another path."),
    )
