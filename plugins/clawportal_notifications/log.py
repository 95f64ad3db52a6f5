"""What went out to somebody, and what became of it."""

from __future__ import annotations

from datetime import datetime

from clawportal.sdk.data import FIRST_PAGE, Order, Slice, Which, listing
from clawportal.sdk.permissions import Actor
from clawportal_notifications.models import Delivery

_ORDER = Order(
    (Delivery.created_at.expression, Delivery.id.expression),
    (datetime, str),
    lambda row: (row.created_at, row.id),
    descending=True,
)


def page(actor: Actor, which: Which = FIRST_PAGE) -> Slice[Delivery]:
    """Newest first."""
    return listing(Delivery, actor, _ORDER, which)
