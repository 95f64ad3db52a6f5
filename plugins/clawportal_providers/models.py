"""Stored keys of model providers: of an organisation, or of one project in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, MessageJSON, ProjectScoped, UTCDateTime, new_id, now
from clawportal_providers.permissions import CREDENTIAL


class Credential(ProjectScoped, Base):
    __tablename__ = "credential"
    resource = CREDENTIAL
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    """None: for all projects of the tenant."""
    name: Mapped[str] = mapped_column(String(63))
    title: Mapped[str] = mapped_column(String(200), default="")
    provider: Mapped[str] = mapped_column(String(40))
    base_url: Mapped[str] = mapped_column(String(500), default="")
    """Empty: the address of the provider."""
    goes_to: Mapped[str] = mapped_column(String(600))
    """The destination that the key was entered for; it is given out for no other."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    version: Mapped[int] = mapped_column(default=1)
    """One more with each other key or address."""
    tested: Mapped[dict[str, Any] | None] = mapped_column(MessageJSON)
    """What the last test found: when, how it ended, in a sentence."""
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """When a claw was given it last, or it was tested or listed models, to the minute. What a claw asks with it is not seen."""
    rotated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)

    @property
    def tested_at(self) -> datetime | None:
        return datetime.fromisoformat(self.tested["at"]) if self.tested else None

    @property
    def called(self) -> str:
        return self.title or self.name
