"""Loads plugins and keeps what they register: adapters, runtime drivers and file stores by their kind.

Bundled plugins load by name, third-party ones by the entry point group `clawportal`. A misspelt hook stops the start.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from clawportal import catalogues, hookspecs, paths
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.runtimes import RuntimeDriver
from clawportal.contracts.stores import FileStore
from clawportal.errors import Invalid

log = logging.getLogger(__name__)

BUNDLED = (
    "clawportal_process", "clawportal_kubernetes", "clawportal_docker", "clawportal_localfiles", "clawportal_echo",
    "clawportal_nanobot", "clawportal_openclaw",
)  # fmt: skip
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

    def catalogue_folders(self) -> list[Path]:
        """Translations of the core, then those that plugins bring."""
        modules = (self.manager.get_plugin(plugin.name) for plugin in self.plugins)
        found = (catalogues.folder_of(module) for module in modules if isinstance(module, ModuleType))
        return [catalogues.CORE, *(folder for folder in found if folder is not None)]

    def emit(self, event: object) -> None:
        """Tell every plugin about an event; each has its own `except`, so one cannot silence the others."""
        for implementation in self.hook.on_event.get_hookimpls():
            try:
                implementation.function(*(event for _ in implementation.argnames))  # a plugin may leave the argument out
            except Exception:
                log.exception("plugin %s failed on event", implementation.plugin_name)


def load(names: Iterable[str] = (), data_dir: str = "") -> Registry:
    """Import and register the plugins: those named, or the bundled and all installed ones."""
    paths.add_bundled_plugins()
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    registry = Registry(manager, data_dir)
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    for name in dict.fromkeys(names) or (*BUNDLED, *sorted(set(points) - set(BUNDLED))):
        module = _import(name, points.get(name))
        _add(manager, name, module)
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
    _collect(registry)


def _add(manager: pluggy.PluginManager, name: str, module: ModuleType) -> None:
    try:
        manager.register(module, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{error}. Compare the hook's arguments with plugins/README.md.") from error
    except ValueError as error:
        raise PluginError(f"Plugin {name!r} is loaded already under another name: {error}. Name it once.") from error


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
    """Ask all plugins anew. The tables are replaced whole: other threads read them at any time."""
    hook = registry.hook
    registry.adapters = _register(hook.register_adapters, "adapter")
    registry.runtimes = _register(hook.register_runtimes, "runtime")
    registry.stores = _register(hook.register_file_stores, "file store", data_dir=registry.data_dir)


def _register(caller: pluggy.HookCaller, what: str, **arguments: object) -> dict[str, Any]:
    table: dict[str, Any] = {}
    brought: dict[str, str] = {}
    for implementation in caller.get_hookimpls():  # in the order of loading; one by one, so that the culprit can be named
        name = implementation.plugin_name
        for item in _items(implementation, arguments):
            if item.kind in table:
                raise PluginError(
                    f"The plugins {brought[item.kind]} and {name} both bring the {what} {item.kind!r}. "
                    "Leave one out with CLAWPORTAL_PLUGINS."
                )
            table[item.kind], brought[item.kind] = item, name
    return table


def _items(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> list[Any]:
    try:
        brought: Any = implementation.function(*(arguments[name] for name in implementation.argnames))
        return list(brought or ())
    except Exception as error:
        raise PluginError(
            f"Plugin {implementation.plugin_name!r} failed while it registered: {error!r}. "
            "Repair it, or leave it out with CLAWPORTAL_PLUGINS."
        ) from error
