"""Calls hooks, so that a plugin that fails is named and takes no other plugin with it.

Pluggy itself does the calling: arguments by name, wrappers, `tryfirst` and `trylast`. What is registered is a stand-in for each
plugin, whose functions are those of the plugin inside an `except`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import wraps
from typing import Any

import pluggy

from clawportal import hookspecs
from clawportal.errors import GiveUp, Problem, Retry

PROJECT = "clawportal"
_MARK = f"{PROJECT}_impl"
_MEANT = (Problem, Retry, GiveUp)
"""What plugins raise on purpose."""
_REGISTER = "register_"
"""How hooks begin that are asked once: what fails there costs the plugin."""
_LISTS = frozenset(
    name
    for name, spec in vars(hookspecs).items()
    if str(getattr(spec, "__annotations__", {}).get("return")).startswith("Iterable")
)
"""Hooks that give any number of things."""

Failed = Callable[[str, str, Exception], None]
"""Told the plugin, the hook and the error."""


class HookFailed(Exception):
    """A plugin failed while it registered, or around the answers of others."""

    def __init__(self, plugin: str, hook: str, error: Exception) -> None:
        super().__init__(f"Plugin {plugin!r} failed in {hook}: {error!r}.")
        self.plugin, self.hook, self.error = plugin, hook, error


class HookMisused(Exception):
    """A plugin implements a hook that there is not, or names arguments that the hook does not have."""

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(message)
        self.plugin = plugin


class _StandIn:
    """What pluggy knows in place of a plugin."""


def manager_of(plugins: Mapping[str, object], failed: Failed) -> pluggy.PluginManager:
    """A manager with these plugins, which are called in this order; HookMisused for one that does not fit."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in reversed(list(plugins)):  # pluggy calls whoever came last first
        register(manager, name, plugins[name], failed)
    return manager


def register(manager: pluggy.PluginManager, name: str, plugin: object, failed: Failed) -> None:
    stand_in = _stand_in(name, plugin, failed)
    try:
        manager.register(stand_in, name)
    except pluggy.PluginValidationError as error:
        said = " ".join(str(error).split())
        raise HookMisused(name, f"{said} Compare the hook's arguments with plugins/README.md.") from error
    unknown = [caller.name for caller in manager.get_hookcallers(stand_in) or () if not caller.has_spec()]
    if unknown:
        message = f"Plugin {name!r} implements {', '.join(unknown)}, which is no hook. Compare the name with plugins/README.md."
        raise HookMisused(name, message)


def call(manager: pluggy.PluginManager, hook: str, arguments: Mapping[str, object]) -> list[Any]:
    """The answers of all plugins, in order."""
    return list(getattr(manager.hook, hook)(**arguments))


def each(manager: pluggy.PluginManager, hook: str, arguments: Mapping[str, object]) -> Iterator[tuple[str, list[Any]]]:
    """The items that each plugin gives, with its name, in order. Wrappers are around each."""
    implementations = getattr(manager.hook, hook).get_hookimpls()
    wrappers = [one.plugin for one in implementations if one.wrapper or one.hookwrapper]
    asked = [one for one in implementations if one.plugin not in wrappers]
    for one in reversed(asked):
        others = [other.plugin for other in asked if other is not one]
        answers = manager.subset_hook_caller(hook, remove_plugins=others)(**arguments)
        yield one.plugin_name, [item for answer in answers for item in answer]


def _stand_in(name: str, plugin: object, failed: Failed) -> object:
    made = _StandIn()
    for attribute in dir(plugin):
        function = getattr(plugin, attribute, None)
        options = getattr(function, _MARK, None)
        if inspect.isroutine(function) and isinstance(options, dict):
            hook = options.get("specname") or attribute
            setattr(made, attribute, _guarded(name, hook, function, options, failed))
    return made


def _guarded(name: str, hook: str, function: Callable[..., Any], options: Mapping[str, Any], failed: Failed) -> Any:
    if options.get("hookwrapper"):
        raise HookMisused(name, f"Plugin {name!r}: {hook} is an old-style wrapper; mark it with wrapper=True instead.")
    return _guarded_wrapper(name, hook, function) if options.get("wrapper") else _guarded_answer(name, hook, function, failed)


def _guarded_answer(name: str, hook: str, function: Callable[..., Any], failed: Failed) -> Any:
    @wraps(function)
    def guarded(*args: Any) -> Any:
        try:
            answer = function(*args)
            return list(answer or ()) if hook in _LISTS else answer  # a generator fails only when it is read
        except _MEANT:
            raise
        except Exception as error:
            if hook.startswith(_REGISTER):
                raise HookFailed(name, hook, error) from error
            failed(name, hook, error)
            return None

    return guarded


def _guarded_wrapper(name: str, hook: str, function: Callable[..., Any]) -> Any:
    @wraps(function)
    def guarded(*args: Any) -> Generator[None, Any, Any]:
        try:
            return (yield from function(*args))
        except (*_MEANT, HookFailed):
            raise
        except Exception as error:
            raise HookFailed(name, hook, error) from error

    return guarded
