"""Whether a running claw works by the files that were changed under it. Until it does, it is not called synced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from clawportal import clock
from clawportal.contracts.adapters import Adapter, AdapterIO, TakesUpLater
from clawportal.contracts.workloads import Workload
from clawportal.errors import Problem
from clawportal.messages import _m, _n

CONDITION = "ConfigRead"
REASON = _n("Reading")
WORDS = _m("The claw is taking up its new configuration.")
LIMIT = timedelta(seconds=45)
"""A claw that has not read its files by then is restarted: a watcher may have missed the change."""
RESTART_WORDS = _m("It did not take up its new configuration by itself, so it is restarted.")


def waits(adapter: Adapter) -> bool:
    """Whether claws of this kind have to be asked, after a file was written."""
    return isinstance(adapter, TakesUpLater)


def written_at(conditions: Iterable[Mapping[str, Any]]) -> datetime | None:
    """When the files were written that nobody knows to be read; None where there are none."""
    return next((datetime.fromisoformat(entry["since"]) for entry in conditions if entry["type"] == CONDITION), None)


def unread(conditions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conditions once files were written just now, whatever was written before."""
    entry = {"type": CONDITION, "status": False, "reason": REASON, "message": WORDS, "since": clock.now().isoformat()}
    return sorted([*read(conditions), entry], key=lambda item: str(item["type"]))


def read(conditions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(entry) for entry in conditions if entry["type"] != CONDITION]


def has_read(adapter: Adapter, io: AdapterIO, workload: Workload, written: timedelta) -> bool:
    if not isinstance(adapter, TakesUpLater):
        return True
    try:
        return adapter.has_read(io, workload, written)
    except (OSError, Problem):
        return False
