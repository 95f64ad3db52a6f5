"""A fact that happened, in the form in which it leaves the portal: pages, hooks and streams all see this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Event:
    """`kind` is `noun.verb` in the past tense: `instance.created`, `instance.phase_changed`, `operation.finished`."""

    seq: int
    """Position in the feed; grows by commit."""
    kind: str
    at: datetime
    tenant_id: str | None
    instance_id: str | None
    level: str
    """`info`, `warning` or `error`."""
    reason: str
    message: str
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    project_id: str | None = None
    person_id: str | None = None
    """The account that it concerns."""
    subject_type: str = ""
    """The noun of what it is about, such as `member`; `subject_id` is the id of that."""
    subject_id: str = ""
    read_permission: str = ""
    """A right that whoever is told of it needs beside seeing where it happened; `self`: only the person that it concerns."""

    def news(self) -> dict[str, Any]:
        """That it happened, for the other parts of all replicas: what it is about, and nothing of what it says."""
        operation_id = self.data.get("operation_id")
        return {
            "kind": self.kind, "tenant_id": self.tenant_id, "project_id": self.project_id, "instance_id": self.instance_id,
            "operation_id": str(operation_id) if operation_id else None, "person_id": self.person_id,
            "subject_type": self.subject_type, "subject_id": self.subject_id, "read_permission": self.read_permission,
        }  # fmt: skip
