"""Builds the portal as one file, from the contents of its wheel: `make binary`, or `python deploy/binary/build.py FOLDER`.

Modules that are only named in strings (plugins, features, programs of their own) cannot be found by following imports. So every
module of the wheel goes in, and every file of it is unpacked at the start: templates, migrations, translations, and programs that
plugins hand over. The whole standard library goes in, too: plugins that are loaded from a folder have no other one.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAMED_IN_STRINGS = ("engineio.async_drivers.threading", "gunicorn.glogging", "psycopg", "psycopg_binary", "redis")
"""Of other packages, by themselves."""
WITH_DATA = ("limits", "openapi_spec_validator")
WITHOUT_STANDARD = ("antigravity", "ensurepip", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo", "venv")
WITHOUT = ("tkinter", "pytest", "_pytest", "IPython", "hypothesis", "playwright", "numpy", "PIL", "mypy", "pip", "setuptools")


def build(target: Path) -> Path:
    """The program, in the folder `target`."""
    import PyInstaller.__main__

    with tempfile.TemporaryDirectory(prefix="clawportal-binary-") as scratch:
        wheel = _unpacked(Path(scratch))
        words = ["--onefile", "--name", "clawportal", "--noconfirm", "--log-level", "WARN", "--python-option", "X utf8"]
        words += ["--distpath", str(target), "--workpath", f"{scratch}/work", "--specpath", scratch, "--paths", str(wheel)]
        words += [f"--hidden-import={name}" for name in (*_modules(wheel), *_standard(), *NAMED_IN_STRINGS)]
        words += [f"--add-data={path}:{path.name if path.is_dir() else '.'}" for path in sorted(wheel.iterdir())]
        words += [f"--collect-data={name}" for name in WITH_DATA] + [f"--exclude-module={name}" for name in WITHOUT]
        PyInstaller.__main__.run([*words, str(HERE / "start.py")])
    return target / "clawportal"


def _unpacked(folder: Path) -> Path:
    """The wheel's contents, with its metadata."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True)
    target = folder / "wheel"
    with zipfile.ZipFile(next(folder.glob("clawportal-*.whl"))) as archive:
        archive.extractall(target)
    return target


def _modules(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if not {"_resources", "testing"} & set(parts) and "migrations" not in parts[:-1]:  # which are read as files
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _standard() -> Iterator[str]:
    for name in sorted(sys.stdlib_module_names - {*WITHOUT_STANDARD}):
        spec = None if name.startswith("_") else importlib.util.find_spec(name)
        if spec is not None:
            yield name
            folders = spec.submodule_search_locations or ()
            yield from (f"{name}.{one.name}" for one in pkgutil.iter_modules(folders) if not one.name.startswith(("_", "test")))


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve()))
