"""What people are told of: in the portal, by mail and at an address of their own, as each of them chooses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import RESEAL, ApiTag, Card, EventKind, Feature, Job
from clawportal.sdk.permissions import PORTAL_ADMIN, SELF
from clawportal_notifications.resources import CHOICE, DELIVERY, LINE, MUTED, PERSON, PLACE

if TYPE_CHECKING:
    from clawportal.sdk.notifiers import Notifier

FEATURE = Feature(
    name="notifications",
    title=_m("Notifications"),
    package="clawportal_notifications",
    requires=("instances",),
    resources=(LINE, PERSON, CHOICE, MUTED, DELIVERY, PLACE),
    models=("clawportal_notifications.models",),
    migrations="migrations",
    settings="clawportal_notifications.settings:NotificationSettings",
    events=(
        EventKind(
            "notification.way_changed",
            _m("Somebody changed by which way they are told of things."),
            action=_m("Change a way of {thing}"),
            read=SELF,
        ),
    ),
    api_tags=(ApiTag(_m("Notifications"), _m("What one is told of, and by which ways."), 65),),
    api=("clawportal_notifications.api",),
    pages=("clawportal_notifications.pages",),
    jobs=(
        Job("follow", "clawportal_notifications.gathering:follow_once", every=5),
        Job("send", "clawportal_notifications.sending:send_once", every=5),
    ),
    forget=("clawportal_notifications.upkeep:forget_old",),
    doctor=("clawportal_notifications.doctor:mail",),
    cards=(
        Card("bell", "clawportal_notifications.pages:bell_link", SELF, place="top"),
        Card("notifications", "clawportal_notifications.pages:account_section", SELF, place="account"),
        Card("mail", "clawportal_notifications.pages:mail_card", PORTAL_ADMIN, place="about"),
    ),
    client_commands=("clawportal_notifications.cli:register",),
    extra={RESEAL: ("clawportal_notifications.ways:reseal",)},
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)


@hookimpl
def register_notifiers() -> Iterable[Notifier]:
    from clawportal_notifications.route import ByMail

    return (ByMail(),)
