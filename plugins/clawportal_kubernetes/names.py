"""The names and labels by which the portal finds again what it made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import Ref

MANAGER = "clawportal"
"""Field manager of everything that the portal applies."""
MANAGED = "app.kubernetes.io/managed-by"
PLACE = "clawportal.io/place"
INSTANCE = "clawportal.io/instance"
TENANT = "clawportal.io/tenant"
ROLE = "clawportal.io/role"
"""`claw` for what runs, `helper` for a pod that only lives for a moment."""
DIGEST = "clawportal.io/digest"
NAME = "clawportal.io/name"
"""What people call the instance, as annotation: labels are too narrow for it."""
STOPPED = "clawportal.io/stopped-at"
TAKEN_BACK = "clawportal.io/foreign-revisions"
"""Revisions of a StatefulSet that others had made and that were taken back, as pods may still run them."""
TEMPLATE = "clawportal.io/template"
"""Hash of what was applied, by which a change from outside is seen."""

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_ODD = re.compile(r"[^a-z0-9]+")


def short(text: str) -> str:
    """Eight letters for an id, by the whole of it: ids made in the same second begin alike."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def slug(text: str, limit: int) -> str:
    return _ODD.sub("-", text.lower()).strip("-")[:limit].strip("-")


def object_name(ref: Ref) -> str:
    """At most 49 characters: a StatefulSet's name may have 52. Begins with a letter, as a Service's name must."""
    name = slug(ref.name, 36) or "claw"
    return f"{name if name[0].isalpha() else f'c-{name}'}-{short(ref.instance_id)}"


def namespace_name(prefix: str, place: str, ref: Ref) -> str:
    """By the cluster's row too: two portals on one cluster may have tenants with the same name and id."""
    name, mark = slug(ref.tenant_name, 30), short(f"{place}/{ref.tenant}")
    return f"{prefix}{name}-{mark}" if name else f"{prefix}{mark}"


def check_ids(place: str, ref: Ref) -> None:
    """Ids become labels, which are narrow."""
    for what, value in (("cluster", place), ("instance", ref.instance_id), ("tenant", ref.tenant or "none")):
        if not _LABEL_VALUE.fullmatch(value):
            raise GiveUp(
                _n("InvalidId"),
                _m(
                    "%(value)s cannot be the id of %(what)s %(what2)s.",
                    value=repr(value),
                    what="an" if what == "instance" else "a",
                    what2=what,
                ),
                _m("Use at most 63 letters, digits, dots, dashes and underscores."),
            )


def tenant_labels(place: str, ref: Ref) -> dict[str, str]:
    return {MANAGED: MANAGER, PLACE: place, TENANT: ref.tenant or "none"}


def labels(place: str, ref: Ref, name: str, role: str = "claw") -> dict[str, str]:
    return {
        **tenant_labels(place, ref), INSTANCE: ref.instance_id, ROLE: role, "app.kubernetes.io/name": "claw",
        "app.kubernetes.io/instance": name,
    }  # fmt: skip


def selector(place: str, **more: str) -> str:
    """Label selector for everything of this portal in this cluster, narrowed by `instance`, `tenant` or `role`."""
    pairs = {MANAGED: MANAGER, PLACE: place} | {f"clawportal.io/{key}": value for key, value in more.items()}
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def mine(place: str, found: Mapping[str, Any]) -> bool:
    told = found.get("metadata", {}).get("labels") or {}
    return told.get(MANAGED) == MANAGER and told.get(PLACE) == place
