"""Policies: rules about what instances may be like and when they may be changed, of one tenant or of the whole portal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, TenantScoped, UTCDateTime, new_id, now
from clawportal_policies.permissions import POLICY


class Policy(TenantScoped, Base):
    __tablename__ = "policy"
    resource = POLICY
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index("uq_policy_name_portal", "name", unique=True,
              sqlite_where=text("tenant_id IS NULL"), postgresql_where=text("tenant_id IS NULL")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    """None: it binds every tenant."""
    name: Mapped[str] = mapped_column(String(63))
    title: Mapped[str] = mapped_column(String(200), default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    mode: Mapped[str] = mapped_column(String(10), default="enforce")
    """`enforce` refuses, `warn` lets through and says so."""
    kind: Mapped[str] = mapped_column(String(20))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """What the kind of rule needs to know; see `clawportal_policies.kinds`."""
    actions: Mapped[list[str]] = mapped_column(JSON, default=list)
    """What it looks at; empty: what the kind of rule looks at by itself."""
    message: Mapped[str] = mapped_column(String(500), default="")
    remedy: Mapped[str] = mapped_column(String(500), default="")
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
