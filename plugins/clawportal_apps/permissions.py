"""The rights that come with claws' own pages, and what the rows of this feature are to those who read the audit."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import permission

APP_OPEN = permission(
    "app.open",
    _m("Open the own pages of instances, as if signed in to the claw"),
    roles=("developer", "tenant-admin"),
    touches_workload=True,
)
APP_SHARE = permission(
    "app.share",
    _m("Share the own pages of instances by a link, with people who have no account"),
    roles=("developer", "tenant-admin"),
    touches_workload=True,
)

TICKET = Resource("apps_ticket", unaudited="Lives for a minute; opening is told when it is used.")
PORT = Resource("apps_port", unaudited="Follows from the first opening of a page, which is told.")
SHARE = Resource(
    "apps_share", _m("shared link"), key="app_share", read=APP_OPEN, secret=("digest",),
    titles={"port": _m("Port"), "ends_at": _m("Ends"), "revoked_at": _m("Taken back"), "note": _m("For whom")},
)  # fmt: skip
