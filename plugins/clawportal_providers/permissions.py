"""The rights that come with stored keys, and what a key is to those who read lists and the audit."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import READERS, permission

PROVIDERS_READ = permission("providers.read", _m("See the stored keys of model providers, never their values"), roles=READERS)
PROVIDERS_MANAGE = permission("providers.manage", _m("Keep keys of model providers, change, test and delete them"),
                              roles=("tenant-admin",))  # fmt: skip

CREDENTIAL = Resource(
    "credential", _m("stored key"), key="credential", read=PROVIDERS_READ,
    titles={"title": _m("Title"), "provider": _m("Provider"), "base_url": _m("Address"), "sealed": _m("Key")},
    audited=("title", "provider", "base_url", "project_id"), secret=("sealed",),
)  # fmt: skip
