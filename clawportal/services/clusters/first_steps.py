"""First steps of a portal: a place where claws can run."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.models import Cluster
from clawportal.models.clusters import HEALTHY


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    there = select(Cluster.id).where(Cluster.health == HEALTHY, Cluster.paused_at.is_(None), Cluster.cordoned.is_(False)).limit(1)
    yield FirstStep(
        "clusters.place",
        _m("A place to run claws"),
        _m("This machine, a Docker host or a Kubernetes cluster that answers and takes new claws."),
        db.session.scalar(there) is not None,
        "web.clusters",
        order=60,
    )
