"""Measurements over time: many points packed into one row, so that ten thousand instances are no millions of rows."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.contracts import core_resources
from clawportal.db import Base
from clawportal.ids import LENGTH


class SampleChunk(Base):
    """The points of one instance in one stretch of time, at one resolution; see `services.series`."""

    __tablename__ = "sample_chunk"
    resource = core_resources.SAMPLE_CHUNK
    __table_args__ = (Index("ix_sample_chunk_tier_start", "tier", "start"),)

    instance_id: Mapped[str] = mapped_column(String(LENGTH), ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True)
    tier: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Seconds since 1970, a multiple of the tier's stretch."""
    points: Mapped[bytes] = mapped_column(LargeBinary)
