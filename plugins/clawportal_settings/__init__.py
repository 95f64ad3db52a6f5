"""Settings of the portal that administrators change while it runs: a page, an API and a command; what was before is kept."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import HEALTH_FINDINGS, STORED_SETTINGS, ApiTag, EventKind, Feature, NavLink
from clawportal.sdk.permissions import PORTAL_ADMIN, PORTAL_READ
from clawportal_settings.resources import SETTING

FEATURE = Feature(
    name="settings",
    title=_m("Settings of the portal"),
    package="clawportal_settings",
    resources=(SETTING,),
    models=("clawportal_settings.models",),
    migrations="migrations",
    events=(
        EventKind("settings.changed", _m("A setting of the portal was changed."), read=PORTAL_READ),
        EventKind("settings.reset", _m("A setting of the portal was reset."), action=_m("Reset {thing}"), read=PORTAL_READ),
    ),
    api_tags=(ApiTag(_m("Settings"), _m("Settings of the portal, and where each comes from."), 145),),
    api=("clawportal_settings.api",),
    pages=("clawportal_settings.pages",),
    nav=(
        NavLink(
            _m("Settings"), "web.settings", icon="adjustments", permission=PORTAL_ADMIN, section="system", order=75,
            only_everywhere=True,
        ),
    ),
    client_commands=("clawportal_settings.cli:register",),
    extra={
        STORED_SETTINGS: ("clawportal_settings.services:stored",),
        HEALTH_FINDINGS: ("clawportal_settings.services:findings",),
    },
)  # fmt: skip


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
