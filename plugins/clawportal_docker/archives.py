"""Tar streams in and out of a container's volume, piece by piece, and never outside of the folder that was named."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import File

PIECE = 1 << 20
_LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
_KEPT = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, *_LINKS)


def unsafe(path: str) -> GiveUp:
    return GiveUp(
        _n("UnsafePath"),
        _m("%(path)s leads out of the folder.", path=repr(path)),
        _m("Use a path inside it, without .. and without links."),
    )


def inside(path: str) -> str:
    """A relative path without `..`; GiveUp for anything else."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise unsafe(path)
    return str(pure) if pure.parts else ""


def of_files(files: Iterable[File], uid: int, gid: int, *, prefix: bool = True, own: bool = False) -> bytes:
    """Files of a workload with the folders above them. With `prefix` below `home`, `state` and `work`; with `own` the folder
    that they are unpacked in is given to the claw, too."""
    buffer = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for root in ("home", "state", "work") if prefix else ():
            _folder(tar, root, uid, gid, made)
        if own:
            _folder(tar, ".", uid, gid, made)
        for file in files:
            path = inside(file.path)
            if not path:
                raise unsafe(file.path)
            name = f"{file.root}/{path}" if prefix else path
            for parent in list(PurePosixPath(name).parents)[-2::-1]:
                _folder(tar, str(parent), uid, gid, made)
            content = file.content.encode()
            tar.addfile(_info(name, uid, gid, file.mode, len(content)), io.BytesIO(content))
    return buffer.getvalue()


def of_note(name: str, document: object) -> bytes:
    """A note of the portal's own, which only the engine's root may read and write."""
    buffer = io.BytesIO()
    content = json.dumps(document).encode()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _folder(tar, ".clawportal", 0, 0, set(), mode=0o700)
        tar.addfile(_info(f".clawportal/{name}", 0, 0, 0o600, len(content)), io.BytesIO(content))
    return buffer.getvalue()


def _info(name: str, uid: int, gid: int, mode: int, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.uid, info.gid, info.mode, info.size, info.mtime = uid, gid, mode, size, time.time()
    return info


def _folder(tar: tarfile.TarFile, name: str, uid: int, gid: int, made: set[str], mode: int = 0o700) -> None:
    if name in made:
        return
    made.add(name)
    info = _info(name, uid, gid, mode)
    info.type = tarfile.DIRTYPE
    tar.addfile(info)


def first_file(chunks: Iterable[bytes], limit: int) -> bytes:
    """The first `limit` bytes of the one file in an archive. IsADirectoryError where it is none."""
    with tarfile.open(fileobj=Reader(chunks), mode="r|") as tar:  # type: ignore[call-overload]  # it only has to read
        for entry in tar:
            if not entry.isreg():
                raise IsADirectoryError(entry.name)
            found = tar.extractfile(entry)
            return found.read(limit) if found else b""
    return b""


class Reader:
    """A file object over pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while size < 0 or have < size:
            piece = next(self._chunks, None)
            if piece is None:
                break
            parts.append(piece)
            have += len(piece)
        whole = b"".join(parts)
        if size < 0:
            self._rest = b""
            return whole
        self._rest = whole[size:]
        return whole[:size]


@dataclass
class Cleaned:
    """What is being unpacked: where, for whom, and what must not be followed."""

    prefix: str
    uid: int
    gid: int
    links: frozenset[str] = frozenset()
    """Symbolic links that are in the root already."""
    current: str = ""
    """The file that is being sent: only a part of it may have arrived when the stream breaks."""


def cleaned(chunks: Iterable[bytes], how: Cleaned) -> Iterator[bytes]:
    """The same entries below the prefix, owned by the claw; GiveUp for the first one that leads out of the folder.

    Two threads and a pipe: tarfile writes to a file and reads from one, and nothing of it is ever whole in memory.
    """
    reader, writer = os.pipe()
    failed: list[BaseException] = []

    def copy() -> None:
        try:
            with open(writer, "wb", buffering=PIECE) as out:
                _copy(chunks, out, how)
        except BaseException as error:  # told to the thread that reads
            failed.append(error)

    thread = threading.Thread(target=copy, name="docker-push", daemon=True)
    thread.start()
    try:
        with open(reader, "rb", buffering=0) as pipe:
            while piece := pipe.read(PIECE):
                yield piece
    finally:
        thread.join(timeout=60)
    if failed and isinstance(failed[0], (tarfile.TarError, EOFError, OSError)) and not isinstance(failed[0], BrokenPipeError):
        raise GiveUp(
            _n("BadArchive"), _m("What was sent is no whole tar archive: %(failed)s", failed=failed[0]), _m("Send it again.")
        ) from failed[0]
    if failed and not isinstance(failed[0], BrokenPipeError):
        raise failed[0]


def _copy(chunks: Iterable[bytes], out: IO[bytes], how: Cleaned) -> None:
    made: set[str] = set()
    prefix, uid, gid = how.prefix, how.uid, how.gid
    with (
        tarfile.open(fileobj=Reader(chunks), mode="r|*") as source,  # type: ignore[call-overload]  # it only has to read
        tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as target,
    ):
        for parent in list(PurePosixPath(prefix).parents)[-2::-1] if prefix else ():
            _folder(target, str(parent), uid, gid, made)
        if prefix:
            _folder(target, prefix, uid, gid, made)
        for entry in source:
            content = source.extractfile(entry) if entry.isreg() else None
            checked = _checked(entry, how)
            if checked is not None:
                how.current = checked.name if content else ""
                target.addfile(checked, content)
                how.current = ""


def _checked(entry: tarfile.TarInfo, how: Cleaned) -> tarfile.TarInfo | None:
    """The entry under its new name. None for the folder itself; devices and pipes are refused like links that lead out."""
    path, prefix = inside(entry.name), how.prefix
    if not path:
        return None
    whole = PurePosixPath(prefix) / path
    if how.links.intersection(str(parent) for parent in whole.parents) or (entry.isreg() and str(whole) in how.links):
        raise unsafe(entry.name)
    if entry.issym():
        how.links |= {str(whole)}
    if entry.type not in _KEPT:
        raise unsafe(entry.name)
    if entry.issym():
        _follow(PurePosixPath(path).parent, entry.linkname)
    if entry.islnk():
        target = inside(entry.linkname)
        entry.linkname = f"{prefix}/{target}" if prefix else target
    entry.name = f"{prefix}/{path}" if prefix else path
    entry.uid, entry.gid, entry.uname, entry.gname = how.uid, how.gid, "", ""
    entry.mode &= 0o777
    entry.pax_headers = {}
    return entry


def _follow(folder: PurePosixPath, link: str) -> None:
    """GiveUp where a symbolic link leads out."""
    if PurePosixPath(link).is_absolute():
        raise unsafe(link)
    depth = len(folder.parts)
    for part in PurePosixPath(link).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise unsafe(link)


def pieces(chunks: Iterable[bytes], close: Callable[[], None]) -> Iterator[bytes]:
    """At most `PIECE` at once; closes the stream however it ends."""
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), PIECE):
                yield chunk[start : start + PIECE]
    finally:
        with suppress(Exception):  # it has ended already, one way or another
            close()
