"""Operations: durable pieces of work, each with progress, a result and a way to cancel or retry."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from clawportal import clock
from clawportal.contracts import core_resources
from clawportal.db import Base, MessageJSON, MessageText, UTCDateTime
from clawportal.ids import LENGTH, new_id
from clawportal.models.scopes import Recorded

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
OPEN_STATES = (QUEUED, RUNNING)
MAX_STEPS = 100
_FIGURES = re.compile(r"[0-9][0-9.,]*")


class Operation(Recorded, Base):
    __tablename__ = "operation"
    resource = core_resources.OPERATION
    __table_args__ = (
        Index("ix_operation_state_created_at", "state", "created_at"),
        Index("ix_operation_created_at_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(String(60))
    """`instance.create`, `instance.start`, ... follow the instance's generation; `artifact.install` is run by a worker."""
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id"))
    instance_id: Mapped[str | None] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"), index=True)
    cluster_id: Mapped[str | None] = mapped_column(ForeignKey("cluster.id", ondelete="CASCADE"))
    subject: Mapped[str] = mapped_column(String(200), default="")
    """What it is about, for people: the instance's name, or the artifact."""
    subject_type: Mapped[str] = mapped_column(String(40), default="", server_default="")
    """The noun of what it works on, such as `instance`."""
    subject_id: Mapped[str] = mapped_column(String(100), default="", server_default="")
    dedup: Mapped[str] = mapped_column(String(200), default="", index=True)
    """Work that many wait for is done once: `artifact:<cluster>:<key>`."""
    payload: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    generation: Mapped[int | None]
    """The instance's generation that this is finished with."""
    state: Mapped[str] = mapped_column(String(20), default=QUEUED)
    progress: Mapped[float | None]
    """0..100, None while it cannot be told."""
    message: Mapped[str] = mapped_column(MessageText, default="")
    error: Mapped[str] = mapped_column(MessageText, default="")
    lines: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Last words of the tool that failed, or steps taken."""
    steps: Mapped[list[dict[str, str]]] = mapped_column(MessageJSON, default=list, server_default="[]")
    """What was done and since when, oldest first: `at` (RFC 3339) and `message`. See `say`."""
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    created_by: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=clock.now)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=clock.now)
    lease_holder: Mapped[str] = mapped_column(String(80), default="")
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)

    def say(self, message: str) -> None:
        """What is being done from now on. The same with other figures, such as a download's, is the same step."""
        self.message = message
        steps = list(self.steps or ())
        if steps and _shape(steps[-1]["message"]) == _shape(message):
            steps[-1] = {**steps[-1], "message": message}
        elif message:
            steps.append({"at": clock.now().isoformat(), "message": message})
        self.steps = steps[-MAX_STEPS:]


def _shape(message: str) -> str:
    return _FIGURES.sub("#", message)
