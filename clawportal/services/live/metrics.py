"""Measurements of an instance for people: CPU, memory, disk and restarts over time."""

from __future__ import annotations

from typing import Any

from clawportal.contracts.core_permissions import INSTANCE_READ
from clawportal.contracts.permissions import Actor
from clawportal.engine import metric_history
from clawportal.engine.metric_history import Recorder, Series
from clawportal.models import Instance
from clawportal.services.rights import access


def read(recorder: Recorder, actor: Actor, instance_id: str, **which: Any) -> Series:
    """What was measured; `which` as in `metric_history.read`."""
    found = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ)
    return metric_history.read(recorder, found.id, **which)
