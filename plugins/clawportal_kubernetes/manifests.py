"""What all objects that the portal makes have in common: where they live, and how names and quantities are written in them.

Objects are plain data: no call, no clock, so that equal input gives equal objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clawportal.sdk.runtimes import Image, Layout, Ref, parse_quantity
from clawportal_kubernetes import names

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings

Json = dict[str, Any]

_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Named:
    """One object, and where it lives."""

    path: str
    """Of the collection in the API."""
    body: Json

    @property
    def url(self) -> str:
        return f"{self.path}/{self.body['metadata']['name']}"

    def __str__(self) -> str:
        return f"{self.body['kind']} {self.body['metadata']['name']}"


def namespaced(version: str, kind: str, plural: str, space: str, name: str, labels: Json, **more: Any) -> Named:
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    annotations = more.pop("annotations", {})
    metadata = {"name": name, "namespace": space, "labels": labels} | ({"annotations": annotations} if annotations else {})
    return Named(f"{root}/namespaces/{space}/{plural}", {"apiVersion": version, "kind": kind, "metadata": metadata, **more})


def mount(settings: KubernetesSettings, ref: Ref) -> str:
    return settings.mount_path.replace("{instance}", ref.instance_id).rstrip("/")


def layout(settings: KubernetesSettings, ref: Ref, image: Image | None) -> Layout:
    base = mount(settings, ref)
    data = f"{base}/data"
    tmp = f"{base}/tmp"  # noqa: S108  # a volume of the pod's own
    return Layout(f"{data}/home", f"{data}/state", f"{data}/work", tmp, dict(image.artifacts) if image else {})


def cores(number: float) -> str:
    return f"{max(1, round(number * 1000))}m"


def lesser(one: str, other: str) -> str:
    return one if parse_quantity(one) <= parse_quantity(other) else other


def odd_to(text: str, limit: int) -> str:
    """As a key of a ConfigMap or Secret may be."""
    return _ODD.sub("_", text)[:limit]


def secret_key(name: str) -> str:
    return odd_to(name, 253)


def port_name(name: str) -> str:
    return (
        (names.slug(name, 11) + "-" + names.short(name)[:3])
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,13}[a-z0-9]|[a-z]", name)
        else name
    )


def selects(place: str, ref: Ref) -> Json:
    return {names.MANAGED: names.MANAGER, names.PLACE: place, names.INSTANCE: ref.instance_id, names.ROLE: "claw"}
