"""Claws' own pages through the portal, each at a host name of its own, with the rights that people have here."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import LISTENERS, OTHER_HOSTS, ApiTag, EventKind, Feature, InstanceAction, Tab
from clawportal_apps.permissions import APP_OPEN, APP_SHARE, PORT, SHARE, TICKET

FEATURE = Feature(
    name="apps",
    title=_m("Pages of claws"),
    package="clawportal_apps",
    requires=("instances",),
    permissions=(APP_OPEN, APP_SHARE),
    resources=(TICKET, PORT, SHARE),
    models=("clawportal_apps.models",),
    migrations="migrations",
    events=(
        EventKind("instance.app_opened", _m("Somebody opened the own page of an instance."), action=_m("Open a page of {thing}")),
        EventKind("app_share.created", _m("A page of an instance was shared by a link.")),
        EventKind("app_share.used", _m("Somebody opened a page by a shared link."), action=_m("Use {thing}")),
        EventKind("app_share.revoked", _m("A shared link was taken back."), action=_m("Take back {thing}")),
    ),
    instance_tabs=(
        Tab("shared", _m("Shared links"), "web.instance_shared", "external-link", APP_SHARE, order=95, only_managed=True),
    ),
    settings="clawportal_apps.settings:AppSettings",
    api_tags=(ApiTag(_m("Pages of claws"), _m("The own pages of instances, through the portal."), 45),),
    api=("clawportal_apps.api",),
    pages=("clawportal_apps.pages",),
    instance_actions=(
        InstanceAction("open", "clawportal_apps.pages:open_button", APP_OPEN, opens="clawportal_apps.pages:has_page"),
    ),
    client_commands=("clawportal_apps.cli:register",),
    forget=("clawportal_apps.proofs:forget_old",),
    extra={OTHER_HOSTS: ("clawportal_apps.host:make",), LISTENERS: ("clawportal_apps.ports:listeners",)},
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
