"""Places to run: each row is one configured connection of a runtime driver, with what was last seen of it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    ForeignKey,
    LargeBinary,
    String,
    Text,
    and_,
    event,
    false,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock, folding
from clawportal.contracts import core_resources
from clawportal.contracts.permissions import Grant
from clawportal.contracts.runtimes import SeparationLevel
from clawportal.db import Base, MessageJSON, MessageText, UTCDateTime
from clawportal.ids import LENGTH, new_id
from clawportal.models.scopes import Offered, Offers
from clawportal.models.tenancy import OWN_TENANT, Tenant

UNKNOWN, HEALTHY, UNREACHABLE = "unknown", "healthy", "unreachable"
"""What is known of a cluster. Unreachable is the open state of its circuit breaker: only the portal's probes still call it."""


class Cluster(Offered, Base):
    __tablename__ = "cluster"
    resource = core_resources.CLUSTER

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    title: Mapped[str] = mapped_column(String(200), default="")
    searched: Mapped[str] = mapped_column(Text, default="")
    """Name and title as a search compares them."""
    runtime: Mapped[str] = mapped_column(String(40))
    settings: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """As the driver's settings model has it, without what is secret."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)

    # decided by people
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict, server_default="{}")
    all_tenants: Mapped[bool] = mapped_column(default=True, server_default=true())
    """Off: only the tenants of `ClusterTenant` may use it."""
    policy: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")
    """How the portal uses it, whatever its kind: `services.clusters.ClusterPolicy`."""
    cordoned: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It takes no new instances."""
    paused_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """Since when nothing is done there, and everything is shown as it was last seen."""
    revision: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    """Grows with each change of how it is reached; every process connects anew then."""
    updated_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=clock.now)
    """When somebody saved it last; `services.clusters.generation_of`."""
    trusted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """Since when others than the portal's own organisation may use it though nothing keeps claws apart there. Those that were
    made later may not."""
    trusted_by: Mapped[str] = mapped_column(String(200), default="", server_default="")
    """Who said so in words; empty where it was so before anybody knew."""

    # observed: written by background work, and only when it changes
    health: Mapped[str] = mapped_column(String(20), default=UNKNOWN, server_default=UNKNOWN)
    health_reason: Mapped[str] = mapped_column(String(80), default="", server_default="")
    health_message: Mapped[str] = mapped_column(MessageText, default="", server_default="")
    health_since: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_contact_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """When it answered last, as of the last change of what is known of it."""
    version: Mapped[str] = mapped_column(String(200), default="", server_default="")
    capacity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    capabilities: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    separation: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """What stands between its claws (`types.SeparationLevel`); empty while nobody has looked."""
    separation_findings: Mapped[list[dict[str, Any]]] = mapped_column(MessageJSON, default=list, server_default="[]")

    @classmethod
    def for_all(cls) -> ColumnElement[bool]:
        return cls.all_tenants.is_(True)

    @classmethod
    def offers(cls) -> Offers:
        return Offers(ClusterTenant.cluster_id, tenant=ClusterTenant.tenant_id)

    @classmethod
    def usable_by(cls, grant: Grant) -> ColumnElement[bool]:
        return cls.offered_to([grant.tenant_id] if grant.tenant_id is not None else [])

    @classmethod
    def offered_to(cls, tenant_ids: Collection[str]) -> ColumnElement[bool]:
        """SQL condition: the clusters that one of these tenants may use.

        Where nothing keeps claws apart, that is the portal's own organisation, and the others only if somebody said so in
        words: those that are named, or, where all are meant, those that there were then.
        """
        offers, everybody = cls.offers(), cls.for_all()
        named = cls.id.in_(select(offers.row).where(offers.tenant.in_(tenant_ids)))
        mine = select(Tenant.id).where(Tenant.id.in_(tenant_ids))
        own = mine.where(Tenant.name == OWN_TENANT).exists()
        known = mine.where(Tenant.created_at <= cls.trusted_at).exists()
        trusted = or_(and_(named, cls.trusted_at.is_not(None)), and_(everybody, known))
        return or_(and_(or_(everybody, named), or_(cls.separation != SeparationLevel.NONE, own)), trusted)


class ClusterSecret(Base):
    """One secret of a connection, encrypted by the key ring and bound to this row's place."""

    __tablename__ = "cluster_secret"
    resource = core_resources.CLUSTER_SECRET

    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)


class ClusterTenant(Base):
    """A tenant that may use a cluster which is not for all."""

    __tablename__ = "cluster_tenant"
    resource = core_resources.CLUSTER_TENANT

    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True, index=True)


@event.listens_for(Cluster, "before_insert")
@event.listens_for(Cluster, "before_update")
def _fold(_mapper: object, _connection: Connection, row: Cluster) -> None:
    row.searched = folding.searched(row.name, row.title or "")
