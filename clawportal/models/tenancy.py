"""Who owns things: tenants, the projects inside them, who belongs to a tenant with which role, and how much each may use."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock, folding
from clawportal.contracts import core_resources
from clawportal.contracts.permissions import Scope
from clawportal.db import Base, UTCDateTime
from clawportal.ids import LENGTH, new_id
from clawportal.models.scopes import ProjectScoped, TenantScoped

OWN_TENANT = "default"
"""Name of the organisation that a portal starts with: the portal's own."""


class Tenant(TenantScoped, Base):
    __tablename__ = "tenant"
    resource = core_resources.TENANT

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    title: Mapped[str] = mapped_column(String(200), default="")
    searched: Mapped[str] = mapped_column(Text, default="")
    """Name and title as a search compares them."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    allowed_adapters: Mapped[dict[str, list[str]] | None] = mapped_column(JSON(none_as_null=True))
    """Kinds of claw that may be created, each with its allowed versions (none named: all). None: every kind."""
    default_cluster_id: Mapped[str | None] = mapped_column(ForeignKey("cluster.id", ondelete="SET NULL"))
    layer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What it says about every claw in it (`layering.Layer`); None: nothing."""
    require_totp: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Only people with a second factor reach what is in it."""
    deleting_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """Since when it is being deleted. Nothing new comes into it; background work removes it after its last instance."""

    @classmethod
    def tenant_key(cls) -> Any:
        return cls.id

    def scope(self) -> Scope:
        return Scope(self.id)


class Project(ProjectScoped, Base):
    __tablename__ = "project"
    resource = core_resources.PROJECT
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(63))
    title: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    deleting_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    @classmethod
    def in_project(cls, project_id: str) -> ColumnElement[bool]:
        return cls.id == project_id

    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.id)


class Membership(Base):
    """A role of a user in a tenant, by the name of a built-in role or of one of the tenant's own.

    The roles `portal-admin` and `portal-auditor` hold for all tenants and have no tenant.
    """

    __tablename__ = "membership"
    resource = core_resources.MEMBERSHIP
    __table_args__ = (
        UniqueConstraint("user_id", "tenant_id"),
        Index("ix_membership_tenant_id", "tenant_id"),
        Index("uq_membership_user_id_portal", "user_id", unique=True,
              sqlite_where=text("tenant_id IS NULL"), postgresql_where=text("tenant_id IS NULL")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now, server_default=text("CURRENT_TIMESTAMP"))
    source: Mapped[str] = mapped_column(String(120), default="", server_default="", index=True)
    """Who gave it and may change it, as the feature calls it; empty: made by hand, and no sign-in changes it."""
    source_group: Mapped[str] = mapped_column(String(255), default="", server_default="")
    """The group there that gave it; empty: what every new person of the source gets."""
    source_title: Mapped[str] = mapped_column(String(200), default="", server_default="")


class TenantSecret(Base):
    """A secret that claws of a tenant share, such as the API key of its model; sealed."""

    __tablename__ = "tenant_secret"
    resource = core_resources.TENANT_SECRET

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    goes_to: Mapped[str | None] = mapped_column(Text)
    """The address that it was entered for; it is given out for no other."""


class CustomRole(Base):
    """A role that a tenant made for itself out of permissions."""

    __tablename__ = "custom_role"
    resource = core_resources.CUSTOM_ROLE
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(40))
    description: Mapped[str] = mapped_column(String(200), default="")
    permissions: Mapped[list[Any]] = mapped_column(JSON, default=list)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)


class RoleGrant(Base):
    """A role of a member in one project or on one instance, beside the membership."""

    __tablename__ = "role_grant"
    resource = core_resources.ROLE_GRANT
    __table_args__ = (
        UniqueConstraint("user_id", "project_id"),
        UniqueConstraint("user_id", "instance_id"),
        Index("ix_role_grant_tenant_id", "tenant_id"),
        CheckConstraint("(project_id IS NULL) <> (instance_id IS NULL)", name="one_scope"),
    )

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    instance_id: Mapped[str | None] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(40))
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    source: Mapped[str] = mapped_column(String(120), default="", server_default="", index=True)
    """As with a membership: who gave it; `created_by` is its title then."""
    source_group: Mapped[str] = mapped_column(String(255), default="", server_default="")


class Invitation(Base):
    """A link by which somebody joins a tenant; only its hash is kept."""

    __tablename__ = "invitation"
    resource = core_resources.INVITATION

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(40))
    note: Mapped[str] = mapped_column(String(200), default="")
    """For whom it is, as the one who made it wrote."""
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_by_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)


class Quota(Base):
    """How much a tenant, or one of its projects, may use; an empty column sets no limit. Its row is locked to count."""

    __tablename__ = "quota"
    resource = core_resources.QUOTA

    scope_id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True)
    """Id of the project, or of the tenant where `project_id` is empty."""
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    instances: Mapped[int | None]
    cpu: Mapped[str] = mapped_column(String(40), default="")
    memory: Mapped[str] = mapped_column(String(40), default="")
    storage: Mapped[str] = mapped_column(String(40), default="", server_default="")
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)


@event.listens_for(Tenant, "before_insert")
@event.listens_for(Tenant, "before_update")
def _fold(_mapper: object, _connection: Connection, row: Tenant) -> None:
    row.searched = folding.searched(row.name, row.title or "")
