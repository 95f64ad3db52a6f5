"""Rules about what claws may be like and when they may be changed, of one organisation or of the whole portal; in CEL too."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import (
    ADMISSION,
    ADMISSION_PREVIEW,
    CHOICE_MARKS,
    ApiTag,
    Card,
    EventKind,
    Feature,
    Interest,
    TenantTab,
)
from clawportal_policies.permissions import POLICY, POLICY_MANAGE, POLICY_READ

FEATURE = Feature(
    name="policies",
    title=_m("Policies"),
    package="clawportal_policies",
    requires=("instances",),
    permissions=(POLICY_READ, POLICY_MANAGE),
    resources=(POLICY,),
    models=("clawportal_policies.models",),
    migrations="migrations",
    events=(
        EventKind("policy.created", _m("A rule was created.")),
        EventKind("policy.changed", _m("A rule was changed, or switched on or off.")),
        EventKind("policy.deleted", _m("A rule was deleted.")),
        EventKind(
            "instance.policy_warned",
            _m("A rule in warning mode let a change through and said so."),
            audited=False,
            interests=(Interest("policy.warned", _m("A rule let a change through with a warning")),),
        ),
    ),
    api_tags=(ApiTag(_m("Policies"), _m("Rules about what instances may be like and when they may be changed."), 80),),
    api=("clawportal_policies.api",),
    pages=("clawportal_policies.pages",),
    tenant_tabs=(TenantTab("policies", _m("Rules"), "web.tenant_policies", POLICY_READ),),
    cards=(Card("policies", "clawportal_policies.pages:portal_link", POLICY_MANAGE, place="tenants"),),
    client_commands=("clawportal_policies.cli:register",),
    on_stop=("clawportal_policies.expressions:end",),
    extra={
        ADMISSION: ("clawportal_policies.services:admit",),
        ADMISSION_PREVIEW: ("clawportal_policies.services:preview",),
        CHOICE_MARKS: ("clawportal_policies.services:choice_marks",),
    },
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
