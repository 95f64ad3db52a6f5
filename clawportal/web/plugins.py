"""What is loaded and where claws can run."""

from __future__ import annotations

from dataclasses import dataclass

from flask import render_template

from clawportal.contracts.core_permissions import CATALOG_READ, PORTAL_READ
from clawportal.contracts.runtimes import Capacity
from clawportal.http.i18n import title_of
from clawportal.http.security import actor, portal, requires
from clawportal.services.clusters import clusters
from clawportal.web import health_checks, rows
from clawportal.web.pages import page


@dataclass(frozen=True)
class Provided:
    """A runtime, file store or notifier, and the plugin that brought it."""

    kind: str
    title: str
    plugin: str


@dataclass(frozen=True)
class ClusterRow:
    name: str
    title: str
    runtime: str
    capacity: Capacity | None
    problem: str


@page("/plugins")
@requires(CATALOG_READ)
def plugins() -> str:
    registry = portal().registry
    return render_template(
        "plugins/index.html",
        adapters=rows.adapter_cards(),
        runtimes=[_provided(driver, driver.title) for driver in registry.runtimes.values()],
        stores=[_provided(store, "") for store in registry.stores.values()],
        notifiers=[_provided(one, one.title) for one in registry.notifiers.values()],
        plugins=registry.plugins,
        faults=registry.faults if actor().has(PORTAL_READ) else (),
        clusters=_clusters() if actor().has(PORTAL_READ) else [],
    )


def _provided(thing: object, title: str) -> Provided:
    kind = str(getattr(thing, "kind", ""))
    return Provided(kind, title or kind, type(thing).__module__.partition(".")[0])


def _clusters() -> list[ClusterRow]:
    found = []
    for cluster in clusters.everything():
        capacity, problem = health_checks.capacity(cluster)
        found.append(ClusterRow(cluster.name, title_of(cluster.title or cluster.name), cluster.runtime, capacity, problem))
    return found
