"""How the fleet did: instances by state over a day and a week, starts, failures and restarts, of what each may see."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import ApiTag, Card, Feature, Job
from clawportal.sdk.permissions import INSTANCE_READ
from clawportal_charts.resources import SAMPLE

FEATURE = Feature(
    name="charts",
    title=_m("Charts"),
    package="clawportal_charts",
    requires=("instances",),
    resources=(SAMPLE,),
    models=("clawportal_charts.models",),
    migrations="migrations",
    api_tags=(ApiTag(_m("Charts"), _m("How the fleet did over a day and a week."), 35),),
    api=("clawportal_charts.api",),
    pages=("clawportal_charts.pages",),
    jobs=(Job("sample", "clawportal_charts.sampling:sample_once", every=60, at_start=True),),
    forget=("clawportal_charts.sampling:forget_old",),
    cards=(Card("charts", "clawportal_charts.pages:card", INSTANCE_READ, order=50),),
    client_commands=("clawportal_charts.cli:register",),
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
