"""The contract of a store for whole files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class FileStore(Protocol):
    """A place for whole files by key, such as uploads, exports and backups."""

    kind: str

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store and return the size in bytes; readers see the old file or the new one, never a part."""

    def open(self, key: str) -> Iterator[bytes]: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str = "") -> Iterator[str]: ...


@runtime_checkable
class KeepsInDataFolder(FileStore, Protocol):
    """What a store may say besides: its files lie in the data folder, so that a backup of the portal takes them along."""

    in_data_folder: bool
