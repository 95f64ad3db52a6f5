"""Configuration templates and their versions, of which none is ever changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    ForeignKey,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    event,
    or_,
)
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.contracts.permissions import Actor, Grant, Permission
from clawportal.db import Base, UTCDateTime
from clawportal.ids import LENGTH, new_id
from clawportal.models.scopes import ProjectScoped


class ConfigTemplate(ProjectScoped, Base):
    """A name for a row of versions, and what may be made of them. Of a project, or of the whole tenant."""

    __tablename__ = "config_template"
    resource = core_resources.CONFIG_TEMPLATE
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(63))
    description: Mapped[str] = mapped_column(Text, default="")
    adapter: Mapped[str] = mapped_column(String(40))
    """Kind of claw. Never changes."""
    adapter_versions: Mapped[str] = mapped_column(String(200), default="")
    """Range of the claw's versions that it is for, such as `>=1.0, <2`; empty: all."""
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """Of the template itself, to find it by."""
    latest: Mapped[int] = mapped_column(default=1)
    """Number of the newest version."""
    revision: Mapped[int] = mapped_column(default=1)
    """Grows with each change of the row or its newest version; the ETag."""
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        """Those of a tenant are for all of its projects, so whoever reads templates in one of these reads them."""
        found = super().visible_to(actor, permission)
        if permission != cls.resource.read:
            return found
        offered = [cls._offered_to(grant) for grant in actor.granted(permission) if grant.project_id and grant.tenant_id]
        return or_(found, *offered)

    @classmethod
    def _offered_to(cls, grant: Grant) -> ColumnElement[bool]:
        return and_(cls.tenant_id == grant.tenant_id, cls.project_id.is_(None))

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        if super().reached_by(actor, permission):
            return True
        grants = actor.granted(permission) if permission == self.resource.read and self.project_id is None else ()
        return any(grant.project_id and grant.tenant_id == self.tenant_id for grant in grants)


class ConfigVersion(Base):
    """What a template said at one time. Nothing changes it, so that an instance can be held to it."""

    __tablename__ = "config_version"
    resource = core_resources.CONFIG_VERSION
    __table_args__ = (UniqueConstraint("template_id", "number"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    template_id: Mapped[str] = mapped_column(ForeignKey("config_template.id", ondelete="CASCADE"))
    number: Mapped[int]
    content_hash: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    """`spec`, `secrets` and `labels` with placeholders; no value of a secret."""
    variables: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    author: Mapped[str] = mapped_column(String(200), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)


class VersionChanged(TypeError):
    """Somebody wrote code that changes a stored version."""


@event.listens_for(ConfigVersion, "before_update")
def _refuse_change(_mapper: object, _connection: Connection, row: ConfigVersion) -> None:
    raise VersionChanged(f"Version {row.number} of a configuration is never changed; make another one.")


_REFUSAL = "versions of a configuration cannot be changed"
_SQLITE = (
    f"CREATE TRIGGER config_version_no_update BEFORE UPDATE ON config_version BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
)
_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION config_version_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
    "CREATE TRIGGER config_version_no_update BEFORE UPDATE ON config_version "
    "FOR EACH ROW EXECUTE FUNCTION config_version_refuse()",
)


@event.listens_for(Base.metadata, "after_create")
def _finish(_metadata: MetaData, connection: Connection, *, tables: list[Table], **_more: object) -> None:
    """The database refuses it as well, whoever writes."""
    if ConfigVersion.__table__ in tables:
        for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
            connection.exec_driver_sql(statement)
