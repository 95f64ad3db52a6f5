"""Loads plugins and keeps what they register: adapters, runtime drivers and file stores by their kind.

Bundled plugins load by name, third-party ones by the entry point group `clawportal`. A misspelt hook stops the start.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from clawportal import hookspecs, paths
from clawportal.errors import Invalid
from clawportal.types import Adapter, FileStore, RuntimeDriver

log = logging.getLogger(__name__)

BUNDLED = ("clawportal_process", "clawportal_localfiles", "clawportal_echo", "clawportal_nanobot", "clawportal_openclaw")
GROUP = "clawportal"


class PluginError(Exception):
    """A plugin cannot be loaded; the message names it and says what to do."""


@dataclass(frozen=True)
class PluginInfo:
    """What `clawportal plugins` and the page show of one plugin."""

    name: str
    version: str
    bundled: bool
    summary: str
    hooks: tuple[str, ...]


@dataclass
class Registry:
    """Everything that plugins contributed. Made once per app by `load`; threads only read it."""

    manager: pluggy.PluginManager
    data_dir: str = ""
    plugins: list[PluginInfo] = field(default_factory=list)
    adapters: dict[str, Adapter] = field(default_factory=dict)
    runtimes: dict[str, RuntimeDriver] = field(default_factory=dict)
    stores: dict[str, FileStore] = field(default_factory=dict)

    @property
    def hook(self) -> Any:
        return self.manager.hook

    def adapter(self, kind: str, path: str = "adapter") -> Adapter:
        """The adapter of a kind; an unknown kind is the caller's mistake at `path`."""
        if kind not in self.adapters:
            known = ", ".join(sorted(self.adapters)) or "none: no adapter plugin is loaded"
            raise Invalid.field(path, f"{kind!r} is not a kind of claw here. Known: {known}.", "unknown")
        return self.adapters[kind]

    def emit(self, event: object) -> None:
        """Tell every plugin about an event; each has its own `except`, so one cannot silence the others."""
        for implementation in self.hook.on_event.get_hookimpls():
            try:
                implementation.function(event=event)
            except Exception:
                log.exception("plugin %s failed on event", implementation.plugin_name)


def load(names: Iterable[str] = (), data_dir: str = "") -> Registry:
    """Import and register the plugins: those named, or the bundled and all installed ones."""
    paths.add_bundled_plugins()
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    registry = Registry(manager, data_dir)
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    for name in tuple(names) or (*BUNDLED, *sorted(set(points) - set(BUNDLED))):
        module = _import(name, points.get(name))
        manager.register(module, name)
        registry.plugins.append(_info(manager, name, module, points.get(name)))
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{error}. Compare the hook's name with plugins/README.md.") from error
    _collect(registry)
    return registry


def unload(registry: Registry, name: str) -> None:
    """Take a plugin and what it registered out again; instances of its claws stay and say that their adapter is missing."""
    module = registry.manager.unregister(name=name)
    if module is None:
        raise PluginError(f"No plugin named {name!r} is loaded.")
    registry.plugins[:] = [plugin for plugin in registry.plugins if plugin.name != name]
    for table in (registry.adapters, registry.runtimes, registry.stores):
        table.clear()
    _collect(registry)


def _import(name: str, point: importlib.metadata.EntryPoint | None) -> ModuleType:
    try:
        module = point.load() if point and name not in BUNDLED else importlib.import_module(name)
    except Exception as error:
        raise PluginError(
            f"Plugin {name!r} cannot be loaded: {error!r}. Install or repair it, or leave it out with CLAWPORTAL_PLUGINS."
        ) from error
    if not isinstance(module, ModuleType):
        raise PluginError(f"Plugin {name!r}: its entry point must name a module that has hook implementations.")
    return module


def _info(
    manager: pluggy.PluginManager, name: str, module: ModuleType, point: importlib.metadata.EntryPoint | None
) -> PluginInfo:
    from clawportal import __version__

    hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(module) or ()))
    version = point.dist.version if point and point.dist else __version__
    summary = (module.__doc__ or "").strip().split("\n")[0]
    return PluginInfo(name, version, name in BUNDLED, summary, hooks)


def _collect(registry: Registry) -> None:
    _register(registry.adapters, registry.hook.register_adapters(), "adapter")
    _register(registry.runtimes, registry.hook.register_runtimes(), "runtime")
    _register(registry.stores, registry.hook.register_file_stores(data_dir=registry.data_dir), "file store")


def _register(table: dict[str, Any], contributions: Iterable[Iterable[Any]], what: str) -> None:
    # pluggy calls the last registered first; reversed, so that the order people see is the order of loading
    for items in reversed(list(contributions)):
        for item in items or ():
            if item.kind in table:
                raise PluginError(f"Two plugins bring a {what} named {item.kind!r}. Leave one out with CLAWPORTAL_PLUGINS.")
            table[item.kind] = item
