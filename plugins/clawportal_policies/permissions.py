"""The rights that come with rules, and what a rule is to those who read lists, the audit and refusals."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import READERS, permission

POLICY_READ = permission("policy.read", _m("See the rules that claws have to keep, and try what they say"), roles=READERS)
POLICY_MANAGE = permission("policy.manage", _m("Write the rules that claws have to keep"), roles=("tenant-admin",))

POLICY = Resource(
    "policy", _m("rule"), read=POLICY_READ,
    titles={"parameters": _m("Settings of the rule"), "actions": _m("When it looks"), "mode": _m("What it does")},
)  # fmt: skip
