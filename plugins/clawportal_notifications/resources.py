"""What the tables of notifications hold. All of it is one person's own."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import SELF

_OWN = "What somebody is told of is their own; by which way is told as an event."
LINE = Resource("notifications_line", _m("notification"), key="notification", read=SELF, unaudited=_OWN)
PERSON = Resource("notifications_person", read=SELF, unaudited=_OWN)
CHOICE = Resource("notifications_choice", read=SELF, unaudited=_OWN)
MUTED = Resource("notifications_muted", read=SELF, unaudited=_OWN)
DELIVERY = Resource("notifications_delivery", _m("delivery"), read=SELF, unaudited=_OWN)
PLACE = Resource("notifications_place", unaudited="How far the feed was read.")
