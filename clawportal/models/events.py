"""What has to be remembered beside things themselves: events, leases, idempotency keys, the portal's own settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.db import Base, MessageText, UTCDateTime
from clawportal.ids import LENGTH
from clawportal.models.scopes import Recorded


class EventRow(Recorded, Base):
    __tablename__ = "event"
    resource = core_resources.EVENT
    __table_args__ = (
        Index("ix_event_instance_id_seq", "instance_id", "seq"),
        # with all that decides who may read an event: counting those of a tenant does not look into the table
        Index("ix_event_readers", "tenant_id", "seq", "read_permission", "person_id", "instance_id", "project_id"),
        # followers keep positions: one that was deleted must not be given to another event, as SQLite would otherwise do
        {"sqlite_autoincrement": True},
    )

    # SQLite only counts up by itself for INTEGER
    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, index=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    instance_id: Mapped[str | None] = mapped_column(String(LENGTH))
    subject_type: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """The noun of what it is about: `instance`, `member`, `policy` ..."""
    subject_id: Mapped[str] = mapped_column(String(100), default="", server_default="")
    level: Mapped[str] = mapped_column(String(10), default="info")
    reason: Mapped[str] = mapped_column(String(80), default="")
    message: Mapped[str] = mapped_column(MessageText, default="")
    actor: Mapped[str] = mapped_column(String(200), default="")
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Lease(Base):
    """Who may do a thing that only one may do. `epoch` grows with each change of holder and fences off the former one."""

    __tablename__ = "lease"
    resource = core_resources.LEASE

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    holder: Mapped[str] = mapped_column(String(80))
    epoch: Mapped[int] = mapped_column(default=1)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)


class IdempotencyKey(Base):
    """What a create answered, so that a repeated request gets the same answer instead of a second object."""

    __tablename__ = "idempotency_key"
    resource = core_resources.IDEMPOTENCY_KEY

    actor_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str] = mapped_column(String(LENGTH))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, index=True)


class PortalSetting(Base):
    """Settings that are changed in the browser. `sealed` holds those that are secret."""

    __tablename__ = "portal_setting"
    resource = core_resources.PORTAL_SETTING

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
