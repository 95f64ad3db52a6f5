"""How many instances of a project were in which state, and what happened to them, in one stretch of time."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, ProjectScoped
from clawportal_charts.resources import SAMPLE

FINE, HOURLY = 300, 3600
"""Seconds of a stretch: kept for a day, and for a week."""


class Sample(ProjectScoped, Base):
    """By project, as somebody may see one project of an organisation and not another."""

    __tablename__ = "charts_sample"
    resource = SAMPLE
    __table_args__ = (Index("ix_charts_sample_step_at", "step", "at"),)

    project_id: Mapped[str] = mapped_column(String(LENGTH), ForeignKey("project.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Seconds since 1970, a multiple of the step: the end of the stretch."""
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    running: Mapped[int] = mapped_column(default=0)
    stopped: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    changing: Mapped[int] = mapped_column(default=0)
    starts: Mapped[int] = mapped_column(default=0)
    """Since the sample before; the same of what follows."""
    failures: Mapped[int] = mapped_column(default=0)
    exits: Mapped[int] = mapped_column(default=0)
    """Claws that ended by themselves, most of which are started again."""


STATES = ("running", "changing", "stopped", "failed")
HAPPENED = ("starts", "failures", "exits")
