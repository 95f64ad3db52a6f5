"""Finds the folders that stand outside the package: in a checkout beside it, in a wheel inside it."""

from __future__ import annotations

import sys
from pathlib import Path

KEYRING_FILE = "keys/keyring.json"
"""In the data folder: the keys that secrets are sealed with."""

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Folder `templates`, `static` or `migrations`."""
    for base in (_PACKAGE / "_resources", _PACKAGE.parent):
        if (base / name).is_dir():
            return base / name
    raise FileNotFoundError(f"{name}/ is missing beside {_PACKAGE}: the installation is incomplete, install clawportal again")


def add_bundled_plugins() -> None:
    """Make the bundled plugins importable in a checkout; in a wheel they are installed beside the package."""
    folder = _PACKAGE.parent / "plugins"
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))
