"""Filters of the list of instances that people save: their own, or shared with an organisation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, ForeignKey, Index, String, and_, or_, select, text
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.contracts.core_permissions import CATALOG_READ
from clawportal.contracts.permissions import Actor, Permission, Scope
from clawportal.db import Base, UTCDateTime
from clawportal.ids import LENGTH, new_id
from clawportal.models.scopes import PersonScoped
from clawportal.models.tenancy import Project


class SavedFilter(PersonScoped, Base):
    """A person's own has `user_id`. One that is shared has `tenant_id` instead, so that it outlives whoever made it.

    Who does not see the project that it names does not see it: its name may tell of what is there.
    """

    __tablename__ = "saved_filter"
    resource = core_resources.SAVED_FILTER
    __table_args__ = (
        Index(
            "uq_saved_filter_own_name", "user_id", "name", unique=True,
            sqlite_where=text("tenant_id IS NULL"), postgresql_where=text("tenant_id IS NULL"),
        ),
        Index(
            "uq_saved_filter_shared_name", "tenant_id", "name", unique=True,
            sqlite_where=text("tenant_id IS NOT NULL"), postgresql_where=text("tenant_id IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    """The project that it names; a filter without its project would show everything."""
    name: Mapped[str] = mapped_column(String(60))
    query: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        own = and_(cls.tenant_id.is_(None), super().visible_to(actor, permission))
        seen = select(Project.id).where(Project.visible_to(actor, CATALOG_READ))
        return and_(or_(own, *cls._shared(actor, permission)), or_(cls.project_id.is_(None), cls.project_id.in_(seen)))

    @classmethod
    def _shared(cls, actor: Actor, permission: Permission) -> list[ColumnElement[bool]]:
        """Those of the organisations in which somebody sees anything, be it one instance."""
        found: list[ColumnElement[bool]] = []
        for grant in actor.granted(permission):
            if grant.tenant_id is not None:
                found.append(cls.tenant_id == grant.tenant_id)
            elif grant.project_id is None and grant.instance_id is None:
                found.append(and_(cls.tenant_id.is_not(None), cls.tenant_id.not_in(sorted(grant.except_tenants))))
        return found

    def scope(self) -> Scope:
        return Scope(self.tenant_id)

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        """Reading follows from the list. One's own is one's own; a shared one needs the right in its organisation."""
        if self.tenant_id is None:
            return self.user_id == actor.id
        return permission == self.resource.read or actor.allows(permission, self.scope())


class DefaultFilter(PersonScoped, Base):
    """With which filter the list begins for somebody."""

    __tablename__ = "default_filter"
    resource = core_resources.DEFAULT_FILTER

    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    filter_id: Mapped[str] = mapped_column(ForeignKey("saved_filter.id", ondelete="CASCADE"))
