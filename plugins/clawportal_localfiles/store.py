"""A folder as file store: a key is a relative path, and a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, Invalid, NotFound, Unavailable

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+=,-]{0,199}(?:/[A-Za-z0-9_][A-Za-z0-9._@+=,-]{0,199})*")
_BLOCK = 1024 * 1024
_STALE = 24 * 3600
"""Seconds after which a part of an upload is taken for what a killed portal left behind."""


class LocalFiles:
    """See `contracts.stores.FileStore`. Keys: letters, digits and `._@+=,-`, parts separated by `/`, none starting with a dot."""

    kind = "local"
    in_data_folder = True

    def __init__(self, data_dir: str) -> None:
        self.root = Path(data_dir) / "files"
        self.parts = self.root / ".parts"
        self._sweep()

    def _sweep(self) -> None:
        """Made with the first file: who only looks at a folder leaves nothing there."""
        for path in self.parts.iterdir() if self.parts.is_dir() else ():
            try:
                if path.stat().st_mtime < time.time() - _STALE:
                    path.unlink()
            except FileNotFoundError:  # another portal on this folder was faster
                continue

    def _path(self, key: str) -> Path:
        if len(key) > 900 or not _KEY.fullmatch(key):
            raise Invalid.field(
                "key",
                _m(
                    "%(key)s cannot be the key of a file: use letters, digits and ._@+=,- with / between the parts.",
                    key=repr(key[:80]),
                ),
            )
        return self.root / key

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        path = self._path(key)
        self.parts.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.parts / secrets.token_hex(8)
        try:
            with _told(key):
                file = open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)  # noqa: SIM115  # closed by _write
            size = _write(file, chunks, key)
            with _told(key):
                self._place(part, path, key)
        finally:
            part.unlink(missing_ok=True)
        return size

    def _place(self, part: Path, path: Path, key: str) -> None:
        for _ in range(50):
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                part.replace(path)
                return
            except FileNotFoundError:  # a delete took the empty folder away in between
                continue
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                if not path.is_dir() and not any(folder.is_file() for folder in path.parents):
                    continue  # mkdir met a folder that was gone when it looked again
                raise Conflict(
                    _m("%(key)s cannot be stored: it, or a part of it, is already the key of another file.", key=key)
                ) from None
        raise Unavailable(_m("The file %(key)s cannot be stored: its folder is removed again and again.", key=key))

    def open(self, key: str) -> Iterator[bytes]:
        """NotFound comes at once, not with the first block."""
        path = self._path(key)
        try:
            file = path.open("rb")
            if path.is_dir():
                raise IsADirectoryError
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(_m("There is no file %(key)s.", key=key)) from None

        def blocks() -> Iterator[bytes]:
            with file:
                while block := file.read(_BLOCK):
                    yield block

        return blocks()

    def delete(self, key: str) -> None:
        """Missing is fine."""
        path = self._path(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        for folder in path.parents:
            if folder == self.root:
                return
            try:
                folder.rmdir()
            except OSError:  # not empty
                return

    def keys(self, prefix: str = "") -> Iterator[str]:
        """In order of the alphabet; `prefix` is compared as text."""
        yield from sorted(key for key in self._walk() if key.startswith(prefix))

    def _walk(self) -> Iterator[str]:
        for folder, below, names in os.walk(self.root):
            below[:] = [name for name in below if not name.startswith(".")]
            yield from (os.path.relpath(os.path.join(folder, name), self.root) for name in names)


@contextmanager
def _told(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            _m(
                "The file %(key)s cannot be stored: %(strerror)s. Check the space on the portal's disk.",
                key=key,
                strerror=error.strerror,
            )
        ) from error


def _write(file: FileIO, chunks: Iterable[bytes], key: str) -> int:
    """An error of the one who sends stays what it is; only those of the disk are ours."""
    size = 0
    with file:
        for chunk in chunks:
            with _told(key):
                size += _write_all(file, memoryview(chunk))
        with _told(key):
            os.fsync(file.fileno())
    return size


def _write_all(file: FileIO, rest: memoryview) -> int:
    """Unbuffered, so that nothing is left to be written when the disk was full."""
    size = len(rest)
    while rest:
        rest = rest[file.write(rest) :]
    return size
