"""Whether an SQLite database has all its tables, told without loading plugins or SQLAlchemy: `serve` begins with it.

An upgrade notes in the data folder at which revisions it left the tables, and of which files the plugins were made then. Where
any of it is different now, or the database says otherwise, `serve` upgrades, which does no harm.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawportal import __version__, paths
from clawportal.histories import VERSION_TABLES

if TYPE_CHECKING:
    from clawportal.pluginmanager import Registry
    from clawportal.settings import Settings

FILE = "tables.json"


def note(settings: Settings, registry: Registry, versions: Mapping[str, str]) -> None:
    """Remember that nothing is left to be done; a note that cannot be written makes the next start slower, nothing else."""
    if settings.database_url:
        return
    places = sorted({str(place) for place in (paths.resource("migrations"), *_places(registry)) if not _unpacked(place)})
    written = {"places": places, "made_of": _made_of(settings, places), "versions": dict(versions)}
    file = settings.data_dir / FILE
    partial = file.with_suffix(".partial")
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps(written))
        os.replace(partial, file)


def _places(registry: Registry) -> Iterator[Path]:
    """Folders and files of the plugins, and of the core's own declarations."""
    from clawportal import features

    yield Path(features.__file__)
    for _, module in registry.modules():
        if file := getattr(module, "__file__", None):
            yield Path(file).parent if Path(file).name == "__init__.py" else Path(file)


def ready(settings: Settings) -> bool:
    """Whether tables and first user are there. Only SQLite can be asked so cheaply."""
    if settings.database_url or not settings.database_file.exists():
        return False
    try:
        noted = json.loads((settings.data_dir / FILE).read_text())
        same = noted["made_of"] == _made_of(settings, noted["places"])
        return same and _is_at(settings.database_file, noted["versions"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_at(database: Path, versions: Mapping[str, str]) -> bool:
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'alembic_version%'"
            found = {name for (name,) in connection.execute(tables)}
            if found != {f"{VERSION_TABLES}{name}" for name in versions}:
                return False
            at = {name: connection.execute(f'SELECT version_num FROM "{name}"').fetchall() for name in found}  # noqa: S608  # names that the database gave
            users = connection.execute("SELECT count(*) FROM user_account").fetchone()
    except sqlite3.Error:
        return False
    return at == {f"{VERSION_TABLES}{name}": [(version,)] for name, version in versions.items()} and users[0] > 0


def _unpacked(place: Path) -> bool:
    """Out of the single file, into a folder that is another one at each start."""
    return hasattr(sys, "_MEIPASS") and place.is_relative_to(sys._MEIPASS)


def _made_of(settings: Settings, places: Iterable[str]) -> list[Any]:
    """What decides which histories there are: the version, the plugins that are wanted and installed, and their files."""
    program = _files(Path(sys.executable))
    return [
        __version__, program, list(settings.plugin_names), _installed(settings), [_files(Path(place)) for place in places],
    ]  # fmt: skip


def _installed(settings: Settings) -> list[list[str]]:
    """Plugins by entry point, also in the folders that are looked into only when plugins load."""
    folders = [str(folder) for folder in settings.plugin_folders]
    found = {
        (point.name, point.value, distribution.version)
        for distribution in importlib.metadata.distributions(path=[*folders, *(item for item in sys.path if item not in folders)])
        for point in distribution.entry_points
        if point.group == "clawportal"
    }
    return [list(one) for one in sorted(found)]


def _files(place: Path) -> list[list[Any]]:
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.exists() else []
    return [[str(file), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]
