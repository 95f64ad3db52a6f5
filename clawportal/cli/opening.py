"""How commands of `clawportal` reach the portal: its settings, its app, and the portal inside an app context."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clawportal.cli import startup_errors

if TYPE_CHECKING:
    from flask import Flask

    from clawportal.engine.portal import Portal
    from clawportal.settings import Settings


def settings() -> Settings:
    from clawportal.settings import Settings

    with startup_errors.told():
        return Settings()


def plugins() -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Names and folders of plugins, read without the other settings: `--help` needs no more, and they take long to check.

    A file that cannot be read so is left to `settings`, which says what is wrong with it.
    """
    import tomllib

    from clawportal import paths, pluginnames

    try:
        file = Path(os.environ.get("CLAWPORTAL_DATA_DIR") or paths.DEFAULT_DATA_DIR).expanduser() / paths.CONFIG_FILE
        given = tomllib.loads(file.read_bytes().decode("utf-8-sig")) if file.is_file() else {}
        names, folders = (
            os.environ.get(f"CLAWPORTAL_{name.upper()}", given.get(name, "")) for name in ("plugins", "plugin_path")
        )
        return pluginnames.names(names), pluginnames.folders(folders)
    except (OSError, ValueError, RuntimeError, AttributeError):
        found = settings()
        return found.plugin_names, found.plugin_folders


def app(of: Settings | None = None) -> Flask:
    """The app with tables as new as the code."""
    from clawportal.app import create_app

    with startup_errors.told():
        return create_app(of or settings())


def existing() -> Settings:
    """Of a portal that is there; a command that looks for one in the wrong place must not make another."""
    found = settings()
    if not found.database_url and not found.database_file.exists():
        raise startup_errors.Unusable(
            f"There is no portal in {found.data_dir}. Say with --data-dir where it is; `clawportal serve` or "
            "`clawportal db upgrade` makes a new one."
        )
    return found


def keyring_file() -> Path:
    from clawportal import paths

    return existing().data_dir / paths.KEYRING_FILE


@contextmanager
def portal() -> Iterator[Portal]:
    """The portal inside an app context, with problems as plain words."""
    from clawportal import origin
    from clawportal.engine import current_settings
    from clawportal.errors import Problem

    opened = app(existing())
    with (
        startup_errors.told(),
        opened.app_context(),
        origin.during(origin.Origin("command", agent=f"clawportal, run by {account()}")),
    ):
        try:
            current_settings.look(opened.extensions["clawportal"])
            yield opened.extensions["clawportal"]
        except Problem as problem:
            details = "".join(f"\n  {item.path}: {item.message}" for item in problem.errors)
            raise click.ClickException(problem.detail + details) from problem


def account() -> str:
    """Who is signed in to this machine, for the audit."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return f"user {os.getuid()}"
