"""Where a new instance comes to: project, cluster and what its organisation says, looked up once for a create."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.layers import NOTHING, Layer
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid
from clawportal.messages import joined
from clawportal.models import Cluster, Project
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.configuration.catalog import MODEL_KEY
from clawportal.services.tenancy import tenancy

Lay = Callable[[Adapter, str, Mapping[str, Any]], Mapping[str, Any]]
"""Lays over a spec what the organisation says; called with the adapter, the version and the spec."""


@dataclass(frozen=True)
class Placement:
    project: Project | None = None
    cluster: Cluster | None = None
    lay: Lay | None = None
    """None where the organisation says nothing."""
    shared_secrets: tuple[str, ...] = ()
    """Names of the secrets that come from the organisation."""
    errors: tuple[FieldError, ...] = ()
    """Why there is no project or cluster for it."""

    def settled(self) -> tuple[Project, Cluster]:
        """Project and cluster; Invalid where one of them is missing."""
        if self.project is None or self.cluster is None:
            raise Invalid(joined(error.message for error in self.errors), errors=self.errors)
        return self.project, self.cluster


def resolve(portal: Portal, actor: Actor, project: str | None, cluster: str | None, *, hold: bool = False) -> Placement:
    """Named by id or name, or else the defaults. Forbidden or NotFound where the actor may create nothing anywhere.

    `hold`: inside a transaction, keep the project from being deleted until the commit.
    """
    try:
        chosen = tenancy.project_for_create(actor, project)
    except Invalid as problem:
        return Placement(errors=problem.errors)
    default = tenancy.hold(chosen) if hold else tenancy.default_cluster(chosen.tenant_id)
    lay, shared = shared_configuration(portal, chosen.tenant_id)
    try:
        return Placement(chosen, clusters.for_create(chosen.tenant_id, cluster, default), lay, shared)
    except Invalid as problem:
        return Placement(chosen, None, lay, shared, problem.errors)


def shared_configuration(portal: Portal, tenant_id: str) -> tuple[Lay | None, tuple[str, ...]]:
    """How to lay what an organisation says over a spec, and the names of the secrets that come with it."""
    layer: Layer = layers.of(tenant_id)
    if layer == NOTHING:
        return None, ()
    known = (MODEL_KEY,) if layers.keeps_key(tenant_id) else ()
    providers = portal.registry.providers
    return lambda adapter, version, spec: layers.effective(providers, layer, adapter, version, spec).spec, known
