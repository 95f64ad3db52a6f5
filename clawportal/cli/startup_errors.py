"""What an operator is told when a command cannot begin: one sentence, never a traceback, whatever they gave.

The one place that knows which library says what about a wrong address, a missing package or a folder that cannot be used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

UNUSABLE = 2
"""Exit code for settings and surroundings with which nothing can begin."""


class Unusable(click.ClickException):
    """Said in one sentence; nothing was done."""

    exit_code = UNUSABLE


@contextmanager
def told() -> Iterator[None]:
    """Around what runs on an operator's settings. What nobody foresaw is told too, and whole when asked for."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        if os.environ.get("CLAWPORTAL_LOG_LEVEL", "").lower() == "debug":
            raise
        raise Unusable(words_of(error)) from error


def words_of(error: Exception) -> str:
    """A sentence about what went wrong and what to do."""
    kind = {one.__name__ for one in type(error).__mro__}
    if "ValidationError" in kind:
        return _settings(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if "CommandError" in kind and type(error).__module__.startswith("alembic"):
        return (
            f"The tables cannot be brought up to this version: {_line(error)} Use the clawportal that wrote them, or a newer one."
        )
    if "SQLAlchemyError" in kind:
        return _database(error)
    if {"KeyringError", "PluginError", "Unreadable", "UnfinishedRestore", "NoCopy", "Refused"} & kind:
        return _line(error)
    if isinstance(error, OSError):
        return _file(error)
    return f"This cannot go on: {_line(error)} ({type(error).__name__}; CLAWPORTAL_LOG_LEVEL=debug shows all of it)"


def _settings(error: Any) -> str:
    lines = [_setting(item) for item in error.errors()]
    return lines[0] if len(lines) == 1 else "The settings cannot be used:\n" + "\n".join(f"  {line}" for line in lines)


def _setting(item: dict[str, Any]) -> str:
    name = ".".join(map(str, item["loc"])) or "settings"
    said = str(item["msg"]).removeprefix("Value error, ").rstrip(".")
    if item["type"] == "extra_forbidden":
        return f"{name} is no setting; `clawportal settings` lists all of them."
    shown = "" if name in ("database_url", "rate_limit_storage") else f" cannot be {str(item.get('input'))[:80]!r}"
    return f"CLAWPORTAL_{name.upper()}{shown}: {said}."


def _missing(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    extra = {"psycopg": "postgres", "redis": "redis", "kubernetes": "kubernetes"}.get(name)
    if extra:
        return f"The Python package {name} is missing; install it with: pip install 'clawportal[{extra}]'"
    return f"The Python package {name or _line(error)} is missing; install clawportal again."


def _database(error: Exception) -> str:
    line = _line(getattr(error, "orig", None) or error)
    if "no such table" in line or "no such column" in line or ("relation" in line and "does not exist" in line):
        return "The database has no tables of this version yet: run `clawportal db upgrade` or `clawportal serve`."
    return f"The database cannot be used: {line} Look at CLAWPORTAL_DATABASE_URL, or at the file in the data folder."


def _file(error: OSError) -> str:
    reason = (error.strerror or _line(error)).rstrip(".")
    return f"{error.filename}: {reason}." if error.filename else f"This cannot go on: {reason}."


def _line(error: object) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    return f"{first}."
