"""Tickets that lead a browser to a claw's page once, and links that are shared."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, InstanceScoped, TenantScoped, UTCDateTime, new_id, now
from clawportal_apps.permissions import PORT, SHARE, TICKET


class AppTicket(InstanceScoped, Base):
    """Gone with its first use. What it is good for is sealed in the ticket itself."""

    __tablename__ = "apps_ticket"
    resource = TICKET
    __table_args__ = (Index("ix_apps_ticket_ends_at", "ends_at"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"))
    ends_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AppShare(InstanceScoped, Base):
    """A link by which people without an account reach one port of one claw, in the name of who made it."""

    __tablename__ = "apps_share"
    resource = SHARE
    __table_args__ = (Index("ix_apps_share_instance_id", "instance_id"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"))
    port: Mapped[str] = mapped_column(String(40))
    note: Mapped[str] = mapped_column(String(200), default="")
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the secret in the link, which is shown once."""
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    """Who made it: it opens what they may open, and nothing more."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    ends_at: Mapped[datetime] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class AppPort(TenantScoped, Base):
    """Which port of the portal's own host a page has, for good: browsers keep what the page left there, such as its workers."""

    __tablename__ = "apps_port"
    resource = PORT
    __table_args__ = (UniqueConstraint("instance_id", "name"),)

    port: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="SET NULL"))
    instance_id: Mapped[str] = mapped_column(String(LENGTH))
    """Also of one that is gone."""
    name: Mapped[str] = mapped_column(String(40))
