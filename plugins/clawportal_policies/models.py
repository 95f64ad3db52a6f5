"""Policies: rules about what instances may be like and when they may be changed, of one tenant or of the whole portal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, ForeignKey, Index, String, UniqueConstraint, or_, text
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, TenantScoped, UTCDateTime, new_id, now
from clawportal.sdk.permissions import Actor, Permission
from clawportal_policies.permissions import POLICY, POLICY_READ


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

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        """Those of the portal bind everybody, so everybody who reads rules may read them."""
        own = super().visible_to(actor, permission)
        return or_(own, cls.tenant_id.is_(None)) if permission == POLICY_READ and actor.has(permission) else own

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        if self.tenant_id is None and permission == POLICY_READ:
            return actor.has(permission)
        return super().reached_by(actor, permission)
