"""A note, which belongs to an instance and is seen by whoever may read notes there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, InstanceScoped, UTCDateTime, new_id, now
from clawportal_notes.permissions import NOTE


class Note(InstanceScoped, Base):
    __tablename__ = "notes_note"
    resource = NOTE

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(Text)
    urgent: Mapped[bool] = mapped_column(default=False)
    written_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    closed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
