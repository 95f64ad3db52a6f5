"""Instances: what is wanted stands in `spec`, `desired` and the counters; what is observed in the columns below it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.permissions import Scope
from clawportal.db import Base, MessageJSON, MessageText, UTCDateTime
from clawportal.ids import LENGTH, new_id
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.models.scopes import InstanceScoped


class Instance(InstanceScoped, Base):
    __tablename__ = "instance"
    resource = core_resources.INSTANCE
    __table_args__ = (
        # a name is free again once its instance is destroyed
        Index(
            "uq_instance_tenant_id_name_live", "tenant_id", "name", unique=True,
            sqlite_where=text("destroyed_at IS NULL"), postgresql_where=text("destroyed_at IS NULL"),
        ),
        # and what somebody else made can be an instance once only
        Index(
            "uq_instance_foreign_id_live", "foreign_id", unique=True,
            sqlite_where=text("foreign_id <> '' AND destroyed_at IS NULL"),
            postgresql_where=text("foreign_id <> '' AND destroyed_at IS NULL"),
        ),
        Index("ix_instance_due_at", "due_at", sqlite_where=text("due_at IS NOT NULL"),
              postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_instance_turn", "cluster_id", sqlite_where=text("turn_at IS NOT NULL"),
              postgresql_where=text("turn_at IS NOT NULL")),
        Index("ix_instance_live_created_at", "created_at", "id", sqlite_where=text("destroyed_at IS NULL"),
              postgresql_where=text("destroyed_at IS NULL")),
        Index("ix_instance_live_name", "name", "id", sqlite_where=text("destroyed_at IS NULL"),
              postgresql_where=text("destroyed_at IS NULL")),
        # with all that is asked when they are counted: SQLite looks into each row for what an index lacks
        Index("ix_instance_live_state", "phase", "health", "sync", "desired", "crashes", "tenant_id", "destroyed_at",
              sqlite_where=text("destroyed_at IS NULL"), postgresql_where=text("destroyed_at IS NULL")),
        Index("ix_instance_live_phase", "phase", "id", sqlite_where=text("destroyed_at IS NULL"),
              postgresql_where=text("destroyed_at IS NULL")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    project_id: Mapped[str] = mapped_column(ForeignKey("project.id"), index=True)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id"), index=True)
    name: Mapped[str] = mapped_column(String(63))
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    created_by: Mapped[str] = mapped_column(String(200), default="")
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    destroyed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    # wanted: written by requests only
    adapter: Mapped[str] = mapped_column(String(40))
    version: Mapped[str] = mapped_column(String(60))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    desired: Mapped[str] = mapped_column(String(20), default=Desired.RUNNING)
    generation: Mapped[int] = mapped_column(default=1)
    """Grows with each change of what is wanted."""
    restarts_wanted: Mapped[int] = mapped_column(default=0)
    """Grows with each request to restart; the reconciler restarts until `restarts_done` is the same."""
    kill_wanted: Mapped[bool] = mapped_column(default=False)
    """With desired `stopped` or `deleted`: end the process tree without asking it."""
    keep_data: Mapped[bool] = mapped_column(default=False)
    """With desired `deleted`: leave the instance's folder where it is."""
    priority: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    """Of the spec, as a number that can be sorted: `lifecycle.PRIORITIES`."""

    config_version_id: Mapped[str | None] = mapped_column(String(LENGTH), index=True)
    """The version of a template that it is held to: `spec` and `labels` are what that comes to, with what differs from it. No
    reference: a template that goes with its project leaves the instance as it is."""
    config_variables: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What was entered for the variables of its template; secret ones are kept as its secrets."""

    # what somebody else made
    foreign_id: Mapped[str] = mapped_column(String(200), default="", server_default="")
    """By which its place knows it, such as the id of a container; empty for what the portal made."""
    foreign: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What was found when it was imported, without secrets: `name`, `image`, `ports` by name, `details`."""
    managed: Mapped[bool] = mapped_column(default=True, server_default=true())
    """Off: it is only observed, and the portal does nothing to it."""

    # observed: written by the reconciler only
    observed_generation: Mapped[int] = mapped_column(default=0)
    restarts_done: Mapped[int] = mapped_column(default=0)
    phase: Mapped[str] = mapped_column(String(20), default=Phase.PENDING)
    sync: Mapped[str] = mapped_column(String(20), default=Sync.PROGRESSING)
    health: Mapped[str] = mapped_column(String(20), default=HealthState.UNKNOWN)
    reason: Mapped[str] = mapped_column(String(80), default="")
    message: Mapped[str] = mapped_column(MessageText, default="")
    next_action: Mapped[str] = mapped_column(MessageText, default="")
    phase_since: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    phase_deadline: Mapped[datetime | None] = mapped_column(UTCDateTime)
    conditions: Mapped[list[dict[str, Any]]] = mapped_column(MessageJSON, default=list)
    workload: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """The workload as planned last and accepted by the claw; no secret values. What the configuration tab shows."""
    applied_digest: Mapped[str] = mapped_column(String(64), default="")
    applied_generation: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """The version of the configuration that runs, or ran last; behind `observed_generation` when that was refused."""
    incarnation: Mapped[str] = mapped_column(String(80), default="")
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    restart_count: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    """Exits in a row that came soon after a start."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Failed passes in a row; decides the back-off."""

    turn_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """Since when it has one of the places of its cluster for claws that are starting; empty while it has none."""
    restarts_seen: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """How often the cluster itself had started it again when it was looked at last."""
    not_before: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """The next start after a crash waits until then, whoever hints earlier."""

    # the reconciler's own queue
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=clock.now)
    lease_holder: Mapped[str] = mapped_column(String(80), default="")
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)

    @classmethod
    def in_project(cls, project_id: str) -> ColumnElement[bool]:
        return cls.project_id == project_id

    @classmethod
    def in_instance(cls, instance_id: str) -> ColumnElement[bool]:
        return cls.id == instance_id

    def instance(self) -> Instance:
        return self

    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.project_id, self.id)

    @property
    def gone(self) -> bool:
        return self.destroyed_at is not None

    @property
    def only_observed(self) -> bool:
        return not self.managed


class InstanceSecret(Base):
    """One secret of an instance, encrypted by the key ring and bound to this row's place."""

    __tablename__ = "instance_secret"
    resource = core_resources.INSTANCE_SECRET

    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    generated: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    goes_to: Mapped[str | None] = mapped_column(Text)
    """The address that it was entered for; it is given out for no other."""


class InstanceNote(InstanceScoped, Base):
    """What a team wrote down about an instance. It stays when it is emptied, so that its revision never comes again."""

    __tablename__ = "instance_note"
    resource = core_resources.INSTANCE_NOTE

    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(default=1)
    written_by: Mapped[str] = mapped_column(String(200))
    written_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)


class PortAllocation(Base):
    """A port of a shared machine, kept by its instance until that is destroyed."""

    __tablename__ = "port_allocation"
    resource = core_resources.PORT_ALLOCATION
    __table_args__ = (UniqueConstraint("instance_id", "name"),)

    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id", ondelete="CASCADE"), primary_key=True)
    port: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(40))
