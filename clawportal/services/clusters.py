"""Clusters: this machine as the first one, and the connection that belongs to a row."""

from __future__ import annotations

from sqlalchemy import select

from clawportal.db import db, transaction
from clawportal.errors import Invalid
from clawportal.models import Cluster
from clawportal.services.portal import Portal
from clawportal.types import Runtime

LOCAL = "local"


def ensure_local(portal: Portal) -> Cluster | None:
    """This machine as a cluster, where the process runtime is loaded."""
    if "process" not in portal.registry.runtimes:
        return None
    with transaction():
        cluster = db.session.scalar(select(Cluster).where(Cluster.name == LOCAL))
        if cluster is None:
            cluster = Cluster(name=LOCAL, title="This machine", runtime="process")
            db.session.add(cluster)
    return cluster


def everything() -> list[Cluster]:
    return list(db.session.scalars(select(Cluster).order_by(Cluster.name)))


def lock(cluster_id: str) -> None:
    """Until the end of the transaction, one at a time: giving out ports and installs. SQLite has one writer anyway.

    NO KEY UPDATE: rows that refer to the cluster can be written meanwhile, and so cannot deadlock with this.
    """
    db.session.execute(select(Cluster.id).where(Cluster.id == cluster_id).with_for_update(key_share=True))


def for_create(wanted: str | None) -> Cluster:
    """The cluster named by id or name; without a name the first."""
    clusters = everything()
    if wanted:
        clusters = [cluster for cluster in clusters if wanted in (cluster.id, cluster.name)]
    if not clusters:
        known = ", ".join(cluster.name for cluster in everything()) or "none"
        raise Invalid.field("cluster", f"There is no cluster {wanted or ''!r}. Known: {known}.", "unknown")
    return clusters[0]


def connect(portal: Portal, cluster: Cluster) -> Runtime:
    """The open connection; Retry when the place cannot be reached."""
    return portal.connections.get(cluster.id, cluster.name, cluster.runtime, cluster.settings)
