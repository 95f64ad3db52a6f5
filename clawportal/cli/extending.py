"""Commands that features bring: those of the core at once, those of plugins when a command is asked for that is not ours.

A plugin is imported here only if its module says `register_features` at all, so that `claw` need not load every kind of claw.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import click

from clawportal import declarations, features, paths, pluginnames
from clawportal.contracts.features import Feature
from clawportal.pluginnames import BUNDLED, GROUP

Program = Literal["commands", "client_commands"]
HOOK = "register_features"
Where = tuple[tuple[str, ...], tuple[Path, ...]]
"""Names of plugins, empty for all that there are, and folders to look for them in."""


class Extended(click.Group):
    """The commands below, and those that features bring for this program."""

    def __init__(self, *args: Any, program: Program, plugins: Callable[[], Where], **options: Any) -> None:
        super().__init__(*args, **options)
        self._program, self._plugins, self._complete = program, plugins, False
        self._core = {feature.name: feature for feature in features.register_features()}
        for feature in self._core.values():
            self._add(feature)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            self.complete()
            found = super().get_command(ctx, cmd_name)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        self.complete()
        return super().list_commands(ctx)

    def complete(self) -> None:
        """Those of plugins, too."""
        if self._complete:
            return
        self._complete = True
        found = [*self._core.values(), *_of_plugins(*self._plugins())]
        for feature in declarations.ordered(found, _left):
            if feature.name not in self._core:
                try:
                    self._add(feature)
                except Exception as error:
                    _say(feature.name, error)

    def _add(self, feature: Feature) -> None:
        for target in getattr(feature, self._program):
            declarations.resolve(target)(self)


class Open(click.Group):
    """A group of the core that plugins may add to; they are asked for a command that is not there, and for the list of all."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            complete(ctx)
            found = super().get_command(ctx, cmd_name)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        complete(ctx)
        return super().list_commands(ctx)


def complete(ctx: click.Context) -> None:
    """Let plugins add what they have to the commands of this program."""
    root = ctx.find_root().command
    if isinstance(root, Extended):
        root.complete()


def plugins_from_environment() -> Where:
    """As `CLAWPORTAL_PLUGINS` and `CLAWPORTAL_PLUGIN_PATH` say."""
    names, folders = (os.environ.get(f"CLAWPORTAL_{name}", "") for name in ("PLUGINS", "PLUGIN_PATH"))
    return pluginnames.names(names), pluginnames.folders(folders)


def _of_plugins(names: tuple[str, ...], folders: tuple[Path, ...]) -> Iterator[Feature]:
    paths.add_bundled_plugins()
    sys.path += [str(folder) for folder in folders if folder.is_dir() and str(folder) not in sys.path]
    points = {point.name: point.module for point in importlib.metadata.entry_points(group=GROUP)}
    for name in names or (*BUNDLED, *sorted(set(points) - set(BUNDLED))):
        module = name if name in BUNDLED else points.get(name, name)
        try:
            if _declares(module):
                yield from map(declarations.check, getattr(importlib.import_module(module), HOOK)())
        except (Exception, SystemExit) as error:
            _say(name, error)


def _declares(module: str) -> bool:
    """Whether the source of a module names the hook; a module without source is taken to."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {module}", name=module)
    source = Path(spec.origin or "")
    return source.suffix != ".py" or not source.is_file() or HOOK in source.read_text(encoding="utf-8", errors="replace")


def _left(feature: Feature, why: str) -> None:
    """What needs a plugin that was left out brings no command."""


def _say(plugin: str, error: BaseException) -> None:
    click.echo(f"The commands of plugin {plugin!r} are left out: {error!r}", err=True)
