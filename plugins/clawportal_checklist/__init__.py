"""What a new portal should do once: found out from what is there, on the home page until it is done or put aside."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import ApiTag, Card, EventKind, Feature
from clawportal.sdk.permissions import INSTANCE_READ, PORTAL_READ
from clawportal_checklist.resources import MARK

FEATURE = Feature(
    name="checklist",
    title=_m("First steps"),
    package="clawportal_checklist",
    resources=(MARK,),
    models=("clawportal_checklist.models",),
    migrations="migrations",
    events=(
        EventKind("checklist.put_aside", _m("First steps were put aside."), action=_m("Put {thing} aside"), read=PORTAL_READ),
        EventKind("checklist.taken_up", _m("First steps were taken up again."), action=_m("Take {thing} up"), read=PORTAL_READ),
    ),
    api_tags=(ApiTag(_m("First steps"), _m("What a new portal, or somebody new in it, should do once."), 146),),
    api=("clawportal_checklist.api",),
    pages=("clawportal_checklist.pages",),
    cards=(Card("checklist", "clawportal_checklist.pages:card", INSTANCE_READ, order=10),),
    client_commands=("clawportal_checklist.cli:register",),
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
