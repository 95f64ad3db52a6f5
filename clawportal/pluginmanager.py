"""Loads plugins and keeps what they register: features in the order of their needs, adapters, runtimes and stores by kind.

Bundled plugins load by name, third-party ones by the entry point group `clawportal`. What is wrong with a bundled plugin stops
the start; a third-party one that cannot be used is left out and named in `Registry.faults`, and everything else works.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from clawportal import catalogues, declarations, features, hookcalls, paths
from clawportal.catalogues import Catalogues
from clawportal.contracts import providers as model_providers
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.features import EventKind, Feature
from clawportal.contracts.notifiers import Notifier
from clawportal.contracts.permissions import Permission, PermissionRegistry
from clawportal.contracts.providers import ModelProviders
from clawportal.contracts.runtimes import RuntimeDriver
from clawportal.contracts.stores import FileStore
from clawportal.errors import Invalid
from clawportal.messages import _m
from clawportal.pluginnames import BUNDLED, GROUP

log = logging.getLogger(__name__)

T = TypeVar("T")

CORE = "clawportal"
"""Name under which the core's own declarations are registered."""
REMEDY = "Repair the plugin, or leave it out with CLAWPORTAL_PLUGINS."


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


@dataclass(frozen=True)
class Fault:
    """What is wrong with a third-party plugin."""

    plugin: str
    message: str


@dataclass
class Registry:
    """Everything that plugins contributed. Made once per app by `load`; tables are replaced whole, so that threads may read."""

    data_dir: str = ""
    plugins: list[PluginInfo] = field(default_factory=list)
    features: tuple[Feature, ...] = ()
    """Each after those that it requires."""
    owners: dict[str, str] = field(default_factory=dict)
    """Which plugin brought a feature."""
    adapters: dict[str, Adapter] = field(default_factory=dict)
    runtimes: dict[str, RuntimeDriver] = field(default_factory=dict)
    providers: ModelProviders = field(default_factory=ModelProviders)
    """Who serves language models."""
    stores: dict[str, FileStore] = field(default_factory=dict)
    notifiers: dict[str, Notifier] = field(default_factory=dict)
    permissions: PermissionRegistry = field(default_factory=lambda: PermissionRegistry(()))
    unaudited: frozenset[str] = frozenset()
    """Kinds of events of which the audit has no entry."""
    """Those that the loaded features declare."""
    sections: dict[type[Any], Any] = field(default_factory=dict)
    """Sections of the settings by their model."""
    manager: pluggy.PluginManager = field(init=False)
    nouns: dict[str, str] = field(default_factory=dict)
    """What people call the subjects of events and of the audit, by their names in programs."""
    rights_of_events: frozenset[Permission] = frozenset()
    """Those that single kinds of event ask of whoever is told of them."""
    _event_kinds: dict[str, EventKind] = field(default_factory=dict)
    _modules: dict[str, object] = field(default_factory=dict)
    _faults: dict[tuple[str, str], Fault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._modules[CORE] = features

    @property
    def faults(self) -> tuple[Fault, ...]:
        """One for each plugin and thing that went wrong."""
        return tuple(self._faults.values())

    def findings(self) -> list[DoctorResult]:
        """The faults, as `clawportal doctor` and the health page tell them."""
        return [DoctorResult(f"plugin {fault.plugin}", False, fault.message, REMEDY) for fault in self.faults]

    def call(self, hook: str, **arguments: object) -> list[Any]:
        """The answers of all plugins, in the order of loading. One that fails is logged and named in `faults`, and is left out.
        HookFailed where a wrapper fails."""
        return hookcalls.call(self.manager, hook, arguments)

    def items(self, hook: str, **arguments: object) -> list[Any]:
        """The answers of a hook that gives lists, as one list."""
        return [item for answer in self.call(hook, **arguments) for item in answer]

    def event_kind(self, name: str) -> EventKind | None:
        """What a loaded feature declares about a kind of event."""
        return self._event_kinds.get(name)

    def event_kinds(self) -> Iterable[EventKind]:
        return self._event_kinds.values()

    def feature(self, name: str) -> Feature | None:
        return next((one for one in self.features if one.name == name), None)

    def targets(self, point: str) -> list[Callable[..., Any]]:
        """What features give to an extension point by `Feature.extra`, in the order of the features."""
        return [declarations.resolve(target) for feature in self.features for target in feature.extra.get(point, ())]

    def adapter(self, kind: str, path: str = "adapter") -> Adapter:
        """The adapter of a kind; an unknown kind is the caller's mistake at `path`."""
        if kind not in self.adapters:
            known = sorted(self.adapters) or _m("none: no adapter plugin is loaded")
            message = _m("%(kind)s is not a kind of claw here. Known: %(known)s.", kind=repr(kind), known=known)
            raise Invalid.field(path, message, "unknown")
        return self.adapters[kind]

    def catalogue_folders(self) -> list[Path]:
        """Translations of the core, then those that plugins bring."""
        found = (catalogues.folder_of(module) for _, module in self.modules() if isinstance(module, ModuleType))
        return [catalogues.CORE, *(folder for folder in found if folder is not None)]

    @functools.cached_property
    def catalogues(self) -> Catalogues:
        """The sentences of these folders: one set for pages and for background work."""
        return Catalogues(self.catalogue_folders())

    def gather(self, what: str, of: Callable[[Feature], Iterable[T]], *, key: Callable[[T], str]) -> list[T]:
        """What `of` finds in each feature, in order. The plugin of a feature that raises Broken, or whose `key` another has
        already, is left out, and all are asked anew."""
        found: dict[str, T] = {}
        for feature in self.features:
            try:
                for item in of(feature):
                    if key(item) in found:
                        raise declarations.Broken(f"{key(item)} is there already")
                    found[key(item)] = item
            except declarations.Broken as error:
                self.leave_out(self.owners[feature.name], f"The {what} of the feature {feature.name!r} cannot be used: {error}.")
                return self.gather(what, of, key=key)
        return list(found.values())

    def report(self, plugin: str, what: str, message: str) -> None:
        """Remember a fault of a plugin; the same again says nothing new."""
        if (plugin, what) not in self._faults:
            log.error("plugin %s: %s", plugin, message)
        self._faults[plugin, what] = Fault(plugin, message)

    def bundled(self, name: str) -> bool:
        """Whether it comes with the portal; what is wrong with it is a fault of the portal."""
        return name in (*BUNDLED, CORE)

    def add(self, name: str, plugin: object) -> None:
        """Take a plugin in, after those that are there. One that does not fit is left out and named in `faults`."""
        if any(plugin is known for known in self._modules.values()):
            raise PluginError(f"Plugin {name!r} is loaded already under another name. Name it once.")
        self._modules[name] = plugin

    def settle(self) -> None:
        """Ask all plugins what they register; to be called after `add`."""
        self._register()
        self._collect()

    def leave_out(self, name: str, message: str) -> None:
        """Take a plugin and all it registered out, because of a fault; PluginError if it is a bundled one."""
        if self.bundled(name):
            raise PluginError(message)
        self.report(name, "plugin", f"{message} {REMEDY}")
        self.without(name)

    def without(self, name: str) -> None:
        """Take a plugin and all that it registered out."""
        self._modules.pop(name, None)
        self.plugins[:] = [plugin for plugin in self.plugins if plugin.name != name]
        self.settle()

    def modules(self) -> list[tuple[str, object]]:
        """The plugins, in the order of loading."""
        return [(name, module) for name, module in self._modules.items() if name != CORE]

    def _register(self) -> None:
        try:
            self.manager = hookcalls.manager_of(self._modules, self._failed)
        except hookcalls.HookMisused as fault:
            self.leave_out(fault.plugin, str(fault))

    def _failed(self, plugin: str, hook: str, error: Exception) -> None:
        log.error("plugin %s failed in %s", plugin, hook, exc_info=error)
        self.report(plugin, hook, f"It failed in {hook}: {error!r}.")

    def _collect(self) -> None:
        """Ask all plugins anew; again without those that fail."""
        try:
            self.adapters = self._by_kind("register_adapters", "adapter", data_dir=self.data_dir)
            self.runtimes = self._by_kind("register_runtimes", "runtime")
            self.providers = self._model_providers()
            self.stores = self._by_kind("register_file_stores", "file store", data_dir=self.data_dir)
            self.notifiers = self._by_kind("register_notifiers", "notifier")
            self.features = self._features()
            self.permissions = self._permissions()
            self._event_kinds = {kind.name: kind for feature in self.features for kind in feature.events}
            self.nouns = {one.subject: one.noun for feature in self.features for one in feature.resources if one.noun}
            self.rights_of_events = frozenset(kind.read for kind in self._event_kinds.values() if kind.read)
            self.unaudited = frozenset(kind.name for one in self.features for kind in one.events if not kind.audited)
        except _Unusable as fault:
            self.leave_out(fault.plugin, fault.message)

    def _by_kind(self, hook: str, what: str, **arguments: object) -> dict[str, Any]:
        table: dict[str, Any] = {}
        brought: dict[str, str] = {}
        for name, item in self._given(hook, **arguments):
            if item.kind in table and (loser := self._yielding((brought[item.kind], table[item.kind]), (name, item))):
                self.report(loser, f"{what} {item.kind}", f"Another plugin has the {what} {item.kind!r}, too; that one is used.")
                if loser == name:
                    continue
            elif item.kind in table:
                raise _Unusable(name, f"The plugins {brought[item.kind]} and {name} both bring the {what} {item.kind!r}.")
            table[item.kind], brought[item.kind] = item, name
        return table

    @staticmethod
    def _yielding(*both: tuple[str, Any]) -> str | None:
        """The plugin whose thing goes behind the other's, if one says so."""
        return next((name for name, item in reversed(both) if getattr(item, "yields", False)), None)

    def _model_providers(self) -> ModelProviders:
        table: dict[str, Any] = {}
        for name, item in self._given("register_model_providers"):
            if flaw := model_providers.flaw(item):
                raise _Unusable(name, f"Plugin {name!r} registers a model provider that cannot be used: {flaw}.")
            if item.id in table:
                raise _Unusable(name, f"Plugin {name!r} brings the model provider {item.id!r}, which is there already.")
            table[item.id] = item
        return ModelProviders(table)

    def _given(self, hook: str, **arguments: object) -> list[tuple[str, Any]]:
        try:
            return [(name, item) for name, items in hookcalls.each(self.manager, hook, arguments) for item in items]
        except hookcalls.HookFailed as failed:
            raise _Unusable(failed.plugin, f"Plugin {failed.plugin!r} failed while it registered: {failed.error!r}.") from failed

    def _features(self) -> tuple[Feature, ...]:
        found: dict[str, Feature] = {}
        owners: dict[str, str] = {}
        for plugin, given in self._given("register_features"):
            try:
                feature = declarations.check(given)
            except declarations.Broken as error:
                raise _Unusable(plugin, f"Plugin {plugin!r} declares what cannot be used. {error}") from error
            if feature.name in found:
                known = owners[feature.name]
                raise _Unusable(plugin, f"The plugins {known} and {plugin} both bring the feature {feature.name!r}.")
            found[feature.name], owners[feature.name] = feature, plugin
        self.owners = owners
        return declarations.ordered(found.values(), self._not_loaded)

    def _permissions(self) -> PermissionRegistry:
        try:
            for part in ("metrics", "instance_facts"):
                declarations.distinct(self.features, part)
            return declarations.permissions(self.features)
        except declarations.Broken as error:
            plugin = self.owners[error.feature]
            raise _Unusable(plugin, f"Plugin {plugin!r} declares what cannot be used. {error}") from error

    def _not_loaded(self, feature: Feature, why: str) -> None:
        """Not a fault of the plugin: what it needs was left out."""
        self.report(
            self.owners[feature.name], f"feature {feature.name}", f"The feature {feature.name!r} is not loaded: it {why}."
        )


class _Unusable(Exception):
    """A plugin has to go; says which and why."""

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(message)
        self.plugin, self.message = plugin, message


def load(names: Iterable[str] = (), data_dir: str = "", folders: Iterable[Path] = (), *, core_only: bool = False) -> Registry:
    """Import and register the plugins: those named, or the bundled and all installed ones, also in these folders; none with
    `core_only`.

    PluginError for a bundled plugin that is broken, for a name that nobody knows, and for a folder that does not exist."""
    paths.add_bundled_plugins()
    _look_into(folders)
    registry = Registry(data_dir)
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    wanted = () if core_only else dict.fromkeys(names) or (*BUNDLED, *sorted(set(points) - set(BUNDLED)))
    for name in wanted:
        try:
            registry.add(name, _import(name, points.get(name)))
        except _Unusable as fault:
            registry.leave_out(name, fault.message)
    registry.settle()
    registry.plugins[:] = [_info(registry, name, module, points.get(name)) for name, module in registry.modules()]
    return registry


def _look_into(folders: Iterable[Path]) -> None:
    """After all else: a plugin replaces no module of the portal or of what it uses."""
    for folder in folders:
        if not folder.is_dir():
            raise PluginError(f"CLAWPORTAL_PLUGIN_PATH names {folder}, which is no folder.")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def unload(registry: Registry, name: str) -> None:
    """Take a plugin and what it registered out again; instances of its claws stay and say that their adapter is missing."""
    if name not in dict(registry.modules()):
        raise PluginError(f"No plugin named {name!r} is loaded.")
    registry.without(name)


def _import(name: str, point: importlib.metadata.EntryPoint | None) -> ModuleType:
    try:
        module = point.load() if point and name not in BUNDLED else importlib.import_module(name)
    except (Exception, SystemExit) as error:
        message = f"Plugin {name!r} cannot be loaded: {error!r}."
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise PluginError(f"{message} Install it, or take its name out of CLAWPORTAL_PLUGINS.") from error
        raise _Unusable(name, message) from error
    if not isinstance(module, ModuleType):
        raise _Unusable(name, f"Plugin {name!r}: its entry point must name a module that has hook implementations.")
    return module


def _info(registry: Registry, name: str, module: object, point: importlib.metadata.EntryPoint | None) -> PluginInfo:
    from clawportal import __version__

    manager = registry.manager
    hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(manager.get_plugin(name)) or ()))
    version = point.dist.version if point and point.dist else __version__
    summary = getattr(module, "SUMMARY", "") or (module.__doc__ or "").strip().split("\n")[0]
    return PluginInfo(name, version, name in BUNDLED, summary, hooks)
