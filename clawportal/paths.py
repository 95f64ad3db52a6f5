"""Finds the folders that stand outside the package: in a checkout beside it, in a wheel inside it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

KEYRING_FILE = "keys/keyring.json"
"""In the data folder: the keys that secrets are sealed with."""
UNFINISHED_RESTORE = "restore-unfinished.json"
"""In the data folder while a restore is under way: no portal starts there until it is done."""

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Folder `templates`, `static` or `migrations`."""
    for base in (_PACKAGE / "_resources", _PACKAGE.parent):
        if (base / name).is_dir():
            return base / name
    raise FileNotFoundError(f"{name}/ is missing beside {_PACKAGE}: the installation is incomplete, install clawportal again")


def command(data_dir: Path, *words: str) -> str:
    """A line for a shell that runs `clawportal` on this portal, whatever the search path and the folder."""
    beside = Path(sys.executable).parent / "clawportal"
    program = [str(beside)] if beside.exists() else [sys.executable, "-m", "clawportal.cli.server"]
    return shlex.join([*program, "--data-dir", str(data_dir), *words])


def add_bundled_plugins() -> None:
    """Make the bundled plugins importable in a checkout; in a wheel they are installed beside the package."""
    folder = _PACKAGE.parent / "plugins"
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))


def unfinished_restore(data_dir: Path) -> str:
    """Why no portal can start there; empty where no restore was interrupted."""
    if not (data_dir / UNFINISHED_RESTORE).exists():
        return ""
    return (
        f"A restore into {data_dir} is under way or was interrupted. Run `clawportal restore` again, which begins anew; or empty "
        "the folder and the database."
    )
