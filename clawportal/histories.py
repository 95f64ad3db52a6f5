"""Where the migrations of each feature lie, and in which order they run: the core's first, then as features require each other.

A history is a folder of Alembic revisions with a version table of its own. The core's features share one, `core`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from clawportal import paths
from clawportal.contracts.features import Feature

CORE = "core"
VERSION_TABLES = "alembic_version_"
"""Begins the names of version tables; the feature's follows."""


@dataclass(frozen=True)
class History:
    """The migrations of one feature."""

    name: str
    folder: Path
    modules: frozenset[str] = frozenset()
    """Modules with the models of its tables."""
    requires: frozenset[str] = frozenset()
    """Other histories whose tables its own may refer to, directly or through others."""

    @property
    def version_table(self) -> str:
        return f"{VERSION_TABLES}{self.name}"


def of(features: Iterable[Feature]) -> tuple[History, ...]:
    """One history per feature that has tables of its own, in the order in which they run."""
    found = {feature.name: feature for feature in features}
    made = {name: _made(feature, found) for name, feature in found.items() if feature.migrations}
    shared = (feature.models for feature in found.values() if not feature.migrations and not feature.package)
    core = History(CORE, paths.resource("migrations") / CORE, frozenset(module for models in shared for module in models))
    order = TopologicalSorter({name: history.requires - {CORE} for name, history in made.items()}).static_order()
    return (core, *(made[name] for name in order))


def _made(feature: Feature, found: dict[str, Feature]) -> History:
    base = _package(feature.package) if feature.package else paths.resource("migrations")
    return History(feature.name, base / feature.migrations, frozenset(feature.models), _required(feature, found))


def _required(feature: Feature, found: dict[str, Feature]) -> frozenset[str]:
    names, todo = {CORE}, list(feature.requires)
    while todo:
        needed = found.get(todo.pop())
        if needed is not None and needed.name not in names:
            names |= {needed.name} if needed.migrations else set()
            todo += needed.requires
    return frozenset(names)


def _package(name: str) -> Path:
    """The folder of a package, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"{name} is no package: its migrations cannot be found.")
    return Path(next(iter(found.submodule_search_locations)))
