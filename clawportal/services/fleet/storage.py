"""Judges what the files of a claw take against its storage limit, where no volume of that size holds it to that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clawportal.contracts.runtimes import Runtime
from clawportal.contracts.specs import InstanceSpec, parse_quantity
from clawportal.engine.portal import Portal
from clawportal.messages import _m

CONDITION = "Storage"
STOP_AT = 1.1
"""Share of the limit beyond which a claw is stopped."""
TIME_TO_TIDY = timedelta(minutes=2)
"""After a start, so that whoever starts it again can delete something before it is judged."""
_WORDS = (
    _m("StorageExceeded"),
    _m("Raise its storage limit; or delete some of its files: it runs for two minutes at least after each start."),
)
EXCEEDED, REMEDY = _WORDS


@dataclass(frozen=True)
class Use:
    """What its files take, and may take, in bytes."""

    used: int
    limit: int

    @property
    def over(self) -> bool:
        return self.used > self.limit

    @property
    def far_over(self) -> bool:
        return self.used > self.limit * STOP_AT


def limit_of(spec: InstanceSpec, runtime: Runtime) -> int | None:
    """None where there is none, or a volume of that size sees to it."""
    if not spec.resources.storage or "volumes" in runtime.capabilities:
        return None
    return int(parse_quantity(spec.resources.storage))


def use(portal: Portal, instance_id: str, limit: int | None) -> Use | None:
    """As it was measured last; None while that is not known, or nothing limits it."""
    if limit is None:
        return None
    usage = portal.samples.get(instance_id)
    if usage is None or usage.disk_bytes is None:
        return None
    return Use(usage.disk_bytes, limit)


def is_told(conditions: Iterable[Mapping[str, Any]] | None) -> bool:
    """Whether it stands in the conditions of an instance that it is over its limit."""
    return any(entry["type"] == CONDITION for entry in conditions or ())


def is_news(found: Use | None, told: bool) -> bool:
    """Whether there is something to do about it."""
    return found is not None and (found.over != told or found.far_over)


def readable(size: int) -> str:
    """`1.2 GiB`, in the units that limits are written in."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f}".removesuffix(".0") + f" {units[0]}"
