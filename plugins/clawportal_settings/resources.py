"""What a stored setting is to those who read the audit."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import PORTAL_READ

SETTING = Resource(
    "settings_value", _m("portal setting"), key="settings", read=PORTAL_READ,
    titles={"value": _m("Value"), "before": _m("Before"), "held": _m("Stored")}, audited=("value", "before", "held"),
)  # fmt: skip
