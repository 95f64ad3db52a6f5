"""Checks what features declare, and puts them into the order in which they need each other."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from clawportal.contracts.features import Feature, InstanceFact, Job, Metric
from clawportal.contracts.permissions import Permission, PermissionRegistry

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_TARGET = re.compile(rf"{_MODULE.pattern}:[A-Za-z_]\w*")
MODULES = ("models", "api", "pages", "sockets")
"""Fields of a feature that name modules."""
TARGETS = ("settings", "forget", "prepare", "on_start", "on_stop", "commands", "client_commands", "doctor")
"""Fields of a feature that name functions or classes."""
ENDPOINTS = ("nav", "instance_tabs", "tenant_tabs")
"""Fields of a feature whose parts lead to pages."""
PARTS = {"jobs": ("run",), "nav": ("count",), "instance_tabs": ("when",), "instance_actions": ("render", "opens"),
         "cards": ("render",), "metrics": ("read",), "instance_facts": ("read",)}  # fmt: skip
"""Fields of a feature that hold parts, and which fields of these name functions."""


_WORD = re.compile(r"[a-z][a-z0-9_]*")
_LAST = 10_000


class Broken(Exception):
    """A declaration that cannot be used; says which field and why."""

    def __init__(self, message: str, feature: str = "") -> None:
        super().__init__(message)
        self.feature = feature


def check(feature: object) -> Feature:
    """The feature, if it can be used; Broken otherwise. Imports nothing."""
    if not isinstance(feature, Feature):
        raise Broken(f"register_features gave {feature!r}, which is no Feature.")
    if not _NAME.fullmatch(str(feature.name)):
        raise Broken(f"The feature {feature.name!r}: name must be 2 to 40 small letters, digits and underscores.")
    for problem in _problems(feature):
        raise Broken(f"The feature {feature.name!r}: {problem}")
    return feature


def _problems(feature: Feature) -> Iterator[str]:
    for field in fields(feature):
        value = getattr(feature, field.name)
        if str(field.type).startswith("tuple") and not isinstance(value, tuple):
            yield f"{field.name} must be a tuple, not {type(value).__name__}."
            return
    for name, parts in PARTS.items():
        yield from (
            f"{name} holds {part!r}." for part in getattr(feature, name) if not is_dataclass(part) or not hasattr(part, parts[0])
        )
    yield from (
        f"permissions holds {one!r}; declare it with permission(...)." for one in feature.permissions if not _declared(one)
    )
    if feature.models and feature.package and not feature.migrations:
        yield "it has models without migrations; name the folder of its history, such as migrations."
    yield from (f"the job {job.name} runs every {job.every!r}, which is no setting." for job in feature.jobs if _lost(job))
    for name in MODULES:
        yield from (f"{name} names {one!r}, which is no module." for one in getattr(feature, name) if not _is(_MODULE, one))
    yield from (problem for metric in feature.metrics if (problem := _metric_problem(feature.name, metric)))
    yield from (problem for fact in feature.instance_facts if (problem := _fact_problem(feature.name, fact)))
    yield from (
        f"{where} is {target!r}; write it as package.module:function."
        for where, target in targets(feature)
        if not _is(_TARGET, target)
    )


def _lost(job: Job) -> bool:
    if not isinstance(job.every, str):
        return False
    from clawportal.settings import Settings  # late: the commands of `claw` are declared, too, and need none

    return job.every not in Settings.model_fields


def _metric_problem(feature: str, metric: Metric) -> str:
    begin = f"clawportal_{feature}"
    if not _is(_WORD, metric.name) or not f"{metric.name}_".startswith(f"{begin}_"):
        return (
            f"the metric {metric.name!r} must be named {begin} or begin with {begin}_, in small letters, digits and underscores."
        )
    if metric.kind not in ("gauge", "counter"):
        return f"the metric {metric.name} is a {metric.kind!r}; it may be a gauge or a counter."
    if (metric.kind == "counter") is not metric.name.endswith("_total"):
        return f"the metric {metric.name}: the names of counters end in _total, and no others."
    return "" if metric.help.strip() else f"the metric {metric.name} has no help; say what it counts."


def _fact_problem(feature: str, fact: InstanceFact) -> str:
    if not _is(_WORD, fact.name) or not fact.name.startswith(f"{feature}_"):
        return f"the fact {fact.name!r} must begin with {feature}_, in small letters, digits and underscores."
    if fact.type not in get_args(get_type_hints(InstanceFact)["type"]):
        return f"the fact {fact.name} is of the type {fact.type!r}; it may be bool, int, double, string or strings."
    return "" if fact.description.strip() else f"the fact {fact.name} has no description; say what it tells."


def _declared(permission: object) -> bool:
    return isinstance(permission, Permission) and bool(permission.description)


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def targets(feature: Feature) -> Iterator[tuple[str, str]]:
    """Every function or class that a feature names, with the field that names it."""
    for name in TARGETS:
        value = getattr(feature, name)
        yield from ((name, one) for one in ((value,) if isinstance(value, str) else value) if one)
    for name, inside in PARTS.items():
        for part in getattr(feature, name):
            yield from ((f"{name}.{one}", getattr(part, one)) for one in inside if getattr(part, one, ""))
    for point, named in feature.extra.items():
        yield from ((f"extra[{point!r}]", one) for one in named)


def permissions(found: Iterable[Feature]) -> PermissionRegistry:
    """Those of the features, in the order in which the document of the API shows their subjects; Broken if two bring the same."""
    brought: dict[str, str] = {}
    for feature in found:
        for one in feature.permissions:
            if one in brought:
                problem = f"The permission {one!s} is declared by the feature {brought[one]!r} already."
                raise Broken(f"The feature {feature.name!r}: {problem}", feature.name)
            brought[one] = feature.name
    known = {feature.name: feature for feature in found}
    in_order = sorted(known.values(), key=lambda feature: _order(feature, known))
    return PermissionRegistry(tuple(one for feature in in_order for one in feature.permissions))


def distinct(found: Iterable[Feature], part: str) -> None:
    """Broken where two features bring a part of the same name, such as a metric."""
    brought: dict[str, str] = {}
    for feature in found:
        for one in getattr(feature, part):
            if one.name in brought:
                problem = f"{part} has {one.name}, which the feature {brought[one.name]!r} brings already."
                raise Broken(f"The feature {feature.name!r}: {problem}", feature.name)
            brought[one.name] = feature.name


def _order(feature: Feature, known: Mapping[str, Feature]) -> int:
    """Of its first tag; a feature without tags comes after what it needs."""
    if feature.api_tags:
        return min(tag.order for tag in feature.api_tags)
    return max((_order(known[name], known) for name in feature.requires if name in known), default=_LAST)


def modules(feature: Feature) -> Iterator[tuple[str, str]]:
    """Every module that a feature names, with the field that names it."""
    for name in MODULES:
        yield from ((name, one) for one in getattr(feature, name))


def resolve(target: str) -> Any:
    """What `package.module:name` stands for; Broken when there is no such thing, or its module ends with any error."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Broken(f"{target} cannot be found: {error}") from error
    except Exception as error:  # a module of a plugin may raise anything
        raise Broken(f"{target} cannot be imported: {error!r}") from error


def folder(feature: Feature) -> Path | None:
    """Where its `templates`, `static` and `migrations` lie; None for the core, whose folders are the portal's."""
    spec = importlib.util.find_spec(feature.package) if feature.package else None
    return Path(spec.origin).parent if spec is not None and spec.origin else None


Left = Callable[[Feature, str], None]


def ordered(found: Iterable[Feature], left: Left) -> tuple[Feature, ...]:
    """Each after what it requires, otherwise in the order given. `left` is told of each that lacks something."""
    known = {feature.name: feature for feature in found}
    for feature, why in _lacking(known):
        left(feature, why)
        del known[feature.name]
    done: dict[str, Feature] = {}
    waiting = list(known.values())
    while waiting:
        ready = next((one for one in waiting if all(name in done for name in one.requires)), None)
        if ready is None:
            for one in waiting:
                left(one, f"requires {', '.join(one.requires)} in a circle")
            break
        waiting.remove(ready)
        done[ready.name] = ready
    return tuple(done.values())


def _lacking(known: dict[str, Feature]) -> list[tuple[Feature, str]]:
    """Those that require what is not there, also by way of others."""
    lost: dict[str, tuple[Feature, str]] = {}
    again = True
    while again:
        again = False
        for feature in known.values():
            missing = [name for name in feature.requires if name not in known or name in lost]
            if missing and feature.name not in lost:
                lost[feature.name] = feature, f"requires {', '.join(missing)}, which is not loaded"
                again = True
    return list(lost.values())


def marked(module: str, mark: str) -> Iterator[Any]:
    """What the functions of a module carry under a mark, in the order of the module. Broken when it cannot be imported."""
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a plugin does when it is imported
        raise Broken(f"its module {module} cannot be imported: {error!r}") from error
    seen: set[int] = set()
    for value in vars(found).values():
        if getattr(value, "__module__", "") == module and id(value) not in seen:
            seen.add(id(value))
            yield from getattr(value, "__dict__", {}).get(mark, ())
