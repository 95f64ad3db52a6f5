"""Says that a quota is nearly used up: once, with the change that takes it there, so that somebody can ask for more in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from clawportal.contracts.permissions import SYSTEM
from clawportal.engine.portal import Portal
from clawportal.messages import _m, joined
from clawportal.models import Quota
from clawportal.services.events import event_log

NEAR = Decimal("0.9")
"""From this share on little is left."""


@dataclass(frozen=True)
class Near:
    resource: str
    title: str
    used: str
    allowed: str


def comes_near(allowed: Decimal | None, was: Decimal, now: Decimal) -> bool:
    """Whether this change, and none before it, takes it there."""
    return bool(allowed) and allowed is not None and was < allowed * NEAR <= now


def tell(portal: Portal, quota: Quota, name: str, found: Sequence[Near]) -> None:
    """Inside the transaction of the change."""
    said = [
        _m(
            "%(name)s uses %(used)s of %(allowed)s %(resource)s.",
            name=name, used=one.used, allowed=one.allowed, resource=one.title,
        )
        for one in found
    ]  # fmt: skip
    event_log.record(
        portal, "quota.near", actor=SYSTEM, tenant_id=quota.tenant_id, project_id=quota.project_id, level="warning",
        message=joined(said), data={"quota_id": quota.scope_id, "resources": [one.resource for one in found]},
    )  # fmt: skip
