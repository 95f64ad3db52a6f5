"""Clusters where nothing keeps claws apart: whom they are offered to, and the words by which others get to use them.

Whoever uses a claw there reads what the portal's user reads: keys, database, and the claws of everybody else. So it is for the
portal's own organisation, until somebody who looks after the portal says otherwise, by the name of the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from clawportal import clock
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import SeparationLevel
from clawportal.db import db
from clawportal.errors import FieldError
from clawportal.messages import _m
from clawportal.models import Cluster, ClusterTenant, Tenant
from clawportal.models.tenancy import OWN_TENANT

FIELD = "confirm_unseparated"
Audience = Sequence[str] | None
"""Ids of tenants; None is all of them."""


@dataclass(frozen=True)
class Standing:
    """How a cluster stands: what is between its claws, and whether others share it all the same."""

    level: str
    findings: Sequence[dict[str, object]]
    unseparated: bool
    """Nothing keeps claws apart."""
    shared: bool
    """And yet others than the portal's own organisation may use it."""
    withheld: bool
    """It is meant for others, who do not get it: nobody confirmed it."""
    by: str
    """Who confirmed it; empty where it was shared before anybody knew."""
    at: datetime | None


def standing(cluster: Cluster, session: Session | None = None) -> Standing:
    unseparated = cluster.separation == SeparationLevel.NONE
    beyond = unseparated and _beyond(audience(cluster, session), session)
    shared = beyond and cluster.trusted_at is not None
    return Standing(
        cluster.separation, cluster.separation_findings or [], unseparated, shared, beyond and not shared, cluster.trusted_by,
        cluster.trusted_at if shared else None,
    )  # fmt: skip


def audience(cluster: Cluster, session: Session | None = None) -> Audience:
    if cluster.all_tenants:
        return None
    return list((session or db.session).scalars(select(ClusterTenant.tenant_id).where(ClusterTenant.cluster_id == cluster.id)))


def _beyond(wanted: Audience, session: Session | None = None) -> bool:
    """Whether somebody else than the portal's own organisation is meant."""
    query = select(Tenant.id).where(Tenant.name != OWN_TENANT).limit(1)
    if wanted is not None:
        query = query.where(Tenant.id.in_(wanted))
    return (session or db.session).scalar(query) is not None


def _wider(cluster: Cluster, wanted: Audience) -> bool:
    """Whether somebody would be added."""
    before = audience(cluster)
    if before is None:
        return False
    return wanted is None or not set(wanted) <= set(before)


def unconfirmed(cluster: Cluster, wanted: Audience, typed: str) -> list[FieldError]:
    """What is missing before a cluster without walls is offered like this."""
    if cluster.separation != SeparationLevel.NONE or not _beyond(wanted):
        return []
    if typed.strip() == cluster.name or (not typed.strip() and not _wider(cluster, wanted)):
        return []
    message = _m(
        "Nothing keeps claws on %(name)s apart: whoever uses one there can read the keys of this "
        "portal and the claws of others. Type %(name2)s to offer it to other organisations all the "
        "same.",
        name=cluster.name,
        name2=cluster.name,
    )
    return [FieldError(FIELD, message, "invalid" if typed.strip() else "missing")]


def trust(actor: Actor, cluster: Cluster, wanted: Audience, typed: str) -> bool:
    """Keep who said so and when, if that was said now; forget it where nobody else uses the cluster any more."""
    if cluster.separation != SeparationLevel.NONE:
        return False
    if not _beyond(wanted):
        cluster.trusted_at, cluster.trusted_by = None, ""
        return False
    if typed.strip() != cluster.name:
        return False
    cluster.trusted_at, cluster.trusted_by = clock.now(), actor.name
    return True


def finding(cluster: Cluster, session: Session) -> DoctorResult:
    """What `clawportal doctor` says of it."""
    found, name = standing(cluster, session), _m("separation of %(name)s", name=cluster.name)
    if not found.level:
        return DoctorResult(name, True, _m("not measured yet; the running portal does it"))
    if not found.unseparated:
        return DoctorResult(name, True, found.level)
    if not found.shared:
        return DoctorResult(name, True, _m("none: nothing keeps claws apart, so only the portal's own organisation may use it"))
    who = _m("%(name)s confirmed it", name=found.by) if found.by else _m("nobody confirmed it")
    return DoctorResult(
        name, False, _m("none: nothing keeps claws apart, and yet other organisations may use it (%(who)s)", who=who),
        _m("Run the portal as root or on a kernel with Landlock, or offer this cluster to the portal's own organisation only."),
    )  # fmt: skip
