"""The objects of a tenant: its namespace, and what that holds before the first instance."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from clawportal.sdk.runtimes import Ref
from clawportal_kubernetes import names
from clawportal_kubernetes.manifests import Json, Named, cores, lesser, namespaced

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings


def namespace(settings: KubernetesSettings, place: str, ref: Ref, name: str) -> Named:
    labels = names.tenant_labels(place, ref)
    for mode in ("enforce", "audit", "warn"):
        labels[f"pod-security.kubernetes.io/{mode}"] = settings.pod_security
    told = {names.NAME: ref.tenant_name} if ref.tenant_name else {}
    return Named(
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": told}},
    )


def tenant_objects(settings: KubernetesSettings, place: str, ref: Ref, space: str, portal_namespace: str) -> list[Named]:
    """What a tenant's namespace holds before the first instance."""
    found = [_limit_range(settings, place, ref, space), _quota(place, ref, space)]
    if settings.network_policies:
        found += _policies(settings, place, ref, space, portal_namespace)
    if settings.image_pull_secret:
        found.append(
            namespaced(
                "v1", "Secret", "secrets", space, "claw-registry", names.tenant_labels(place, ref),
                type="kubernetes.io/dockerconfigjson",
                data={".dockerconfigjson": base64.b64encode(settings.image_pull_secret.encode()).decode()},
            )
        )  # fmt: skip
    return found


def _quota(place: str, ref: Ref, space: str) -> Named:
    limits = ref.limits
    hard = {
        "count/statefulsets.apps": str(limits.instances) if limits and limits.instances is not None else None,
        "limits.cpu": cores(limits.cpu_cores) if limits and limits.cpu_cores is not None else None,
        "limits.memory": str(limits.memory_bytes) if limits and limits.memory_bytes is not None else None,
        "requests.storage": str(limits.storage_bytes) if limits and limits.storage_bytes is not None else None,
    }
    # without any limit it is there all the same, so that a limit that was taken back is taken back here too
    told = {key: value for key, value in hard.items() if value is not None}
    return namespaced(
        "v1", "ResourceQuota", "resourcequotas", space, "claw-quota", names.tenant_labels(place, ref), spec={"hard": told}
    )


def _limit_range(settings: KubernetesSettings, place: str, ref: Ref, space: str) -> Named:
    default = {"memory": settings.default_memory}
    if ref.limits and ref.limits.cpu_cores is not None:
        default["cpu"] = settings.default_cpu
    item = {
        "type": "Container", "default": default,
        "defaultRequest": {"cpu": settings.cpu_request, "memory": lesser("128Mi", settings.default_memory)},
    }  # fmt: skip
    return namespaced(
        "v1", "LimitRange", "limitranges", space, "claw-defaults", names.tenant_labels(place, ref), spec={"limits": [item]}
    )


def _policies(settings: KubernetesSettings, place: str, ref: Ref, space: str, portal: str) -> list[Named]:
    labels = names.tenant_labels(place, ref)
    api, plural = "networking.k8s.io/v1", "networkpolicies"

    def policy(name: str, **spec: Any) -> Named:
        return namespaced(api, "NetworkPolicy", plural, space, name, labels, spec={"podSelector": {}, **spec})

    found = [
        policy("claw-deny-all", policyTypes=["Ingress", "Egress"]),
        policy(
            "claw-egress", policyTypes=["Egress"],
            egress=[
                {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                *({"to": [{"ipBlock": block}]} for block in _reachable(settings.blocked_networks)),
            ],
        ),
    ]  # fmt: skip
    if portal:
        sources = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": portal}}}]
        found.append(policy("claw-portal", policyTypes=["Ingress"], ingress=[{"from": sources}]))
    return found


def _reachable(blocked: Iterable[str]) -> list[Json]:
    old, new = ([one for one in blocked if (":" in one) is six] for six in (False, True))
    return [
        {"cidr": "0.0.0.0/0", **({"except": old} if old else {})},
        {"cidr": "::/0", **({"except": new} if new else {})},
    ]
