"""Finds the folders that stand outside the package: in a checkout beside it, in a wheel inside it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

DEFAULT_DATA_DIR = "~/.local/share/clawportal"
CONFIG_FILE = "clawportal.toml"
"""In the data folder: the settings of this portal."""
KEYRING_FILE = "keys/keyring.json"
"""In the data folder: the keys that secrets are sealed with."""
UNFINISHED_RESTORE = "restore-unfinished.json"
"""In the data folder while a restore is under way: no portal starts there until it is done."""

RUN_MODULE, RUN_FILE = "--run-module", "--run-file"
"""First argument of a program of one file that is to run one of `MODULES`, or a file of Python that it brought along."""
MODULES = ("clawportal.cli.server", "clawportal.cli.master")
"""Programs that the portal starts of itself."""

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Folder `templates`, `static` or `migrations`."""
    for base in (_PACKAGE / "_resources", _PACKAGE.parent):
        if (base / name).is_dir():
            return base / name
    raise FileNotFoundError(f"{name}/ is missing beside {_PACKAGE}: the installation is incomplete, install clawportal again")


def frozen() -> bool:
    """Whether this is the portal of one file: then `sys.executable` is no Python."""
    return bool(getattr(sys, "frozen", False))


def program(module: str, *words: str) -> list[str]:
    """The command that runs one of `MODULES`."""
    return [sys.executable, RUN_MODULE if frozen() else "-m", module, *words]


def script(file: Path) -> list[str]:
    """The command that runs a file of this installation with the portal's own Python, and nothing of its environment."""
    return [sys.executable, RUN_FILE if frozen() else "-I", str(file)]


def script_environment() -> dict[str, str]:
    """What `script` needs of the portal's environment: where a program of one file has unpacked itself."""
    return {name: value for name, value in os.environ.items() if frozen() and name.startswith("_PYI_")}


def command(data_dir: Path, *words: str) -> str:
    """A line for a shell that runs `clawportal` on this portal, whatever the search path and the folder."""
    beside = Path(sys.executable).parent / "clawportal"
    program = [sys.executable] if frozen() else [str(beside)] if beside.exists() else [sys.executable, "-m", MODULES[0]]
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
