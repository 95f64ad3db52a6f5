"""First steps that are not for this portal, with who said so."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import Base, UTCDateTime, now
from clawportal_checklist.resources import MARK

WHOLE = "*"


class Mark(Base):
    __tablename__ = "checklist_mark"
    resource = MARK

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    """Of the step; `*`: all of them."""
    marked_by: Mapped[str] = mapped_column(String(200))
    marked_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
