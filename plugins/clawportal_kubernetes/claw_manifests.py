"""The objects of an instance around its pod: secrets, volume claim, account, service, StatefulSet."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from clawportal.sdk import runtimes
from clawportal.sdk.runtimes import Ref, Workload, parse_quantity
from clawportal_kubernetes import names
from clawportal_kubernetes.file_maps import Files
from clawportal_kubernetes.manifests import Json, Named, namespaced, port_name, secret_key, selects
from clawportal_kubernetes.pod_manifests import pod_spec

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings


def secret_values(workload: Workload, secrets: Mapping[str, str], ref: Ref) -> dict[str, str]:
    """Only what a variable of the claw wants; GiveUp when it is missing."""
    return runtimes.secret_values((one for process in workload.processes for one in process.secret_env.values()), secrets, ref)


def secret(place: str, ref: Ref, space: str, name: str, values: Mapping[str, str]) -> Named:
    data = {secret_key(key): base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return namespaced(
        "v1", "Secret", "secrets", space, f"{name}-secrets", names.labels(place, ref, name), type="Opaque", data=data
    )


def claim(settings: KubernetesSettings, place: str, ref: Ref, space: str, name: str, workload: Workload) -> Named:
    """The volume claim as it is made; see `claim_changes` for one that is there."""
    size = str(workload.storage_bytes) if workload.storage_bytes else settings.volume_size
    spec: Json = {"accessModes": [settings.access_mode], "resources": {"requests": {"storage": size}}}
    if settings.storage_class:
        spec["storageClassName"] = settings.storage_class
    return namespaced(
        "v1", "PersistentVolumeClaim", "persistentvolumeclaims", space, f"{name}-data", names.labels(place, ref, name),
        annotations={names.NAME: ref.name} if ref.name else {}, spec=spec,
    )  # fmt: skip


def claim_changes(item: Named, present: Json) -> Json:
    """What a volume claim that is there lacks: another name to show, and a greater size, since none may shrink."""
    told: Json = {}
    noted = item.body["metadata"].get("annotations") or {}
    if noted.items() - (present["metadata"].get("annotations") or {}).items():
        told["metadata"] = {"annotations": noted}
    wanted, had = (one["spec"]["resources"]["requests"]["storage"] for one in (item.body, present))
    if parse_quantity(wanted) > parse_quantity(had):
        told["spec"] = {"resources": {"requests": {"storage": wanted}}}
    return told


def account(place: str, ref: Ref, space: str, name: str) -> Named:
    return namespaced(
        "v1", "ServiceAccount", "serviceaccounts", space, name, names.labels(place, ref, name), automountServiceAccountToken=False
    )


def service(place: str, ref: Ref, space: str, name: str, workload: Workload) -> Named:
    ports = [
        {"name": port_name(key), "port": number, "targetPort": number, "protocol": "TCP"}
        for key, number in workload.ports.items()
    ]
    spec: Json = {"clusterIP": "None", "selector": selects(place, ref), "publishNotReadyAddresses": True}
    if ports:
        spec["ports"] = ports
    return namespaced("v1", "Service", "services", space, name, names.labels(place, ref, name), spec=spec)


def stateful_set(
    settings: KubernetesSettings, place: str, ref: Ref, space: str, name: str, workload: Workload, files: Files, secrets_hash: str
) -> Named:
    labels = names.labels(place, ref, name)
    template = {
        "metadata": {"labels": labels, "annotations": {names.DIGEST: workload.digest(), "clawportal.io/secrets": secrets_hash}},
        "spec": pod_spec(settings, ref, name, workload, files),
    }
    spec = {
        "replicas": 1,
        "serviceName": name,
        "selector": {"matchLabels": selects(place, ref)},
        # only the portal decides when a claw is restarted
        "updateStrategy": {"type": "OnDelete"},
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": 1,
        "template": template,
    }
    mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    notes = {names.DIGEST: workload.digest(), names.TEMPLATE: mark} | ({names.NAME: ref.name} if ref.name else {})
    return namespaced("apps/v1", "StatefulSet", "statefulsets", space, name, labels, annotations=notes, spec=spec)


def mark(values: Mapping[str, str]) -> str:
    """By which a pod tells what secrets it was made with, without telling them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8] if values else ""
