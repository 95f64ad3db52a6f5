"""What a store for whole files needs."""

from __future__ import annotations

from clawportal.contracts.stores import FileStore, KeepsInDataFolder

__all__ = [
    "FileStore",
    "KeepsInDataFolder",
]
