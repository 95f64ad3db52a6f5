"""Values that were stored for settings, with who stored them and what held before."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import Base, UTCDateTime, now
from clawportal_settings.resources import SETTING


class StoredSetting(Base):
    """Stays when a setting is reset, as its number goes on: a change that was made on top of what is gone is refused."""

    __tablename__ = "settings_value"
    resource = SETTING

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    held: Mapped[bool] = mapped_column(default=True)
    """False: it was reset, and its default holds."""
    value: Mapped[Any] = mapped_column(JSON)
    before: Mapped[Any] = mapped_column(JSON)
    """What held until the last change."""
    changed_by: Mapped[str] = mapped_column(String(200))
    changed_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    generation: Mapped[int] = mapped_column(default=1)
