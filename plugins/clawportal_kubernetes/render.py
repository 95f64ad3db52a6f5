"""The objects of one tenant and one instance as plain data: no call, no clock, so that equal input gives equal objects."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clawportal.sdk import runtimes
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import Image, Layout, Process, Ref, Workload, parse_quantity
from clawportal_kubernetes import names, scripts

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings

Json = dict[str, Any]

MAP_LIMIT = 900_000
"""Bytes in one ConfigMap; the API server takes a little over a million."""
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_MEBI = 1024 * 1024


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


def mount(settings: KubernetesSettings, ref: Ref) -> str:
    return settings.mount_path.replace("{instance}", ref.instance_id).rstrip("/")


def layout(settings: KubernetesSettings, ref: Ref, image: Image | None) -> Layout:
    base = mount(settings, ref)
    data = f"{base}/data"
    tmp = f"{base}/tmp"  # noqa: S108  # a volume of the pod's own
    return Layout(f"{data}/home", f"{data}/state", f"{data}/work", tmp, dict(image.artifacts) if image else {})


# --------------------------------------------------------------------------------------------------------------------
# Of a tenant


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
            _object(
                "v1", "Secret", "secrets", space, "claw-registry", names.tenant_labels(place, ref),
                type="kubernetes.io/dockerconfigjson",
                data={".dockerconfigjson": base64.b64encode(settings.image_pull_secret.encode()).decode()},
            )
        )  # fmt: skip
    return found


def _object(version: str, kind: str, plural: str, space: str, name: str, labels: Json, **more: Any) -> Named:
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    annotations = more.pop("annotations", {})
    metadata = {"name": name, "namespace": space, "labels": labels} | ({"annotations": annotations} if annotations else {})
    return Named(f"{root}/namespaces/{space}/{plural}", {"apiVersion": version, "kind": kind, "metadata": metadata, **more})


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
    return _object(
        "v1", "ResourceQuota", "resourcequotas", space, "claw-quota", names.tenant_labels(place, ref), spec={"hard": told}
    )


def _limit_range(settings: KubernetesSettings, place: str, ref: Ref, space: str) -> Named:
    default = {"memory": settings.default_memory}
    if ref.limits and ref.limits.cpu_cores is not None:
        default["cpu"] = settings.default_cpu
    item = {
        "type": "Container", "default": default,
        "defaultRequest": {"cpu": settings.cpu_request, "memory": _lesser("128Mi", settings.default_memory)},
    }  # fmt: skip
    return _object(
        "v1", "LimitRange", "limitranges", space, "claw-defaults", names.tenant_labels(place, ref), spec={"limits": [item]}
    )


def _policies(settings: KubernetesSettings, place: str, ref: Ref, space: str, portal: str) -> list[Named]:
    labels = names.tenant_labels(place, ref)
    api, plural = "networking.k8s.io/v1", "networkpolicies"

    def policy(name: str, **spec: Any) -> Named:
        return _object(api, "NetworkPolicy", plural, space, name, labels, spec={"podSelector": {}, **spec})

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


# --------------------------------------------------------------------------------------------------------------------
# Of an instance


@dataclass(frozen=True)
class Files:
    """The files of a workload as ConfigMaps with names by their content."""

    maps: tuple[tuple[str, Json], ...]
    """Name and data."""
    contents: Mapping[str, bytes]
    """Everything by its key, with `place.sh`."""


def files_of(settings: KubernetesSettings, ref: Ref, name: str, workload: Workload) -> Files:
    scripts.check_planned(workload.files)
    keys = [f"{place:03d}-{_ODD.sub('_', f'{file.root}.{file.path}')[:120]}" for place, file in enumerate(workload.files)]
    script = scripts.place(workload.files, keys, f"{mount(settings, ref)}/data")
    texts = {"place.sh": script} | {key: file.content for key, file in zip(keys, workload.files, strict=True)}
    groups: list[dict[str, str]] = [{}]
    room = MAP_LIMIT
    for key, text in texts.items():
        size = len(text.encode()) + len(key)
        if size > MAP_LIMIT:
            raise GiveUp(
                "FileTooLarge", f"The file {key} has {size:,} bytes; Kubernetes takes {MAP_LIMIT:,} at most.",
                "Make it smaller, or push it into the running claw.",
            )  # fmt: skip
        if size > room:
            groups.append({})
            room = MAP_LIMIT
        groups[-1][key] = text
        room -= size
    maps = []
    for group in groups:
        digest = hashlib.sha256(json.dumps(group, sort_keys=True).encode()).hexdigest()[:10]
        maps.append((f"{name}-files-{digest}", _data(group)))
    return Files(tuple(maps), {key: text.encode() for key, text in texts.items()})


def _data(group: Mapping[str, str]) -> Json:
    """Text as text, for people; what YAML could not show as bytes."""
    plain = {key: text for key, text in group.items() if "\0" not in text}
    odd = {key: base64.b64encode(text.encode()).decode() for key, text in group.items() if "\0" in text}
    return ({"data": plain} if plain else {}) | ({"binaryData": odd} if odd else {})


def config_maps(place: str, ref: Ref, space: str, name: str, files: Files) -> list[Named]:
    labels = names.labels(place, ref, name)
    return [_object("v1", "ConfigMap", "configmaps", space, title, labels, immutable=True, **data) for title, data in files.maps]


def secret_values(workload: Workload, secrets: Mapping[str, str], ref: Ref) -> dict[str, str]:
    """Only what a variable of the claw wants; GiveUp when it is missing."""
    return runtimes.secret_values((one for process in workload.processes for one in process.secret_env.values()), secrets, ref)


def secret(place: str, ref: Ref, space: str, name: str, values: Mapping[str, str]) -> Named:
    data = {_secret_key(key): base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return _object("v1", "Secret", "secrets", space, f"{name}-secrets", names.labels(place, ref, name), type="Opaque", data=data)


def _secret_key(name: str) -> str:
    return _ODD.sub("_", name)[:253]


def claim(settings: KubernetesSettings, place: str, ref: Ref, space: str, name: str, workload: Workload) -> Named:
    """The volume claim as it is made; see `claim_changes` for one that is there."""
    size = str(workload.storage_bytes) if workload.storage_bytes else settings.volume_size
    spec: Json = {"accessModes": [settings.access_mode], "resources": {"requests": {"storage": size}}}
    if settings.storage_class:
        spec["storageClassName"] = settings.storage_class
    return _object(
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
    return _object(
        "v1", "ServiceAccount", "serviceaccounts", space, name, names.labels(place, ref, name), automountServiceAccountToken=False
    )


def service(place: str, ref: Ref, space: str, name: str, workload: Workload) -> Named:
    ports = [
        {"name": _port_name(key), "port": number, "targetPort": number, "protocol": "TCP"}
        for key, number in workload.ports.items()
    ]
    spec: Json = {"clusterIP": "None", "selector": _select(place, ref), "publishNotReadyAddresses": True}
    if ports:
        spec["ports"] = ports
    return _object("v1", "Service", "services", space, name, names.labels(place, ref, name), spec=spec)


def _select(place: str, ref: Ref) -> Json:
    return {names.MANAGED: names.MANAGER, names.PLACE: place, names.INSTANCE: ref.instance_id, names.ROLE: "claw"}


def _port_name(name: str) -> str:
    return (
        (names.slug(name, 11) + "-" + names.short(name)[:3])
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,13}[a-z0-9]|[a-z]", name)
        else name
    )


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
        "selector": {"matchLabels": _select(place, ref)},
        # only the portal decides when a claw is restarted
        "updateStrategy": {"type": "OnDelete"},
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": 1,
        "template": template,
    }
    mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    notes = {names.DIGEST: workload.digest(), names.TEMPLATE: mark} | ({names.NAME: ref.name} if ref.name else {})
    return _object("apps/v1", "StatefulSet", "statefulsets", space, name, labels, annotations=notes, spec=spec)


def pod_spec(settings: KubernetesSettings, ref: Ref, name: str, workload: Workload, files: Files) -> Json:
    if not workload.processes:
        raise GiveUp("NothingToRun", f"The workload of {ref} names no process.")
    image = image_of(workload, ref)
    base = mount(settings, ref)
    given = f"{base}/files"
    init = {
        "name": "files", "image": image.reference, "imagePullPolicy": settings.image_pull_policy,
        "command": ["/bin/sh", f"{given}/place.sh"], "env": [{"name": "F", "value": given}],
        "securityContext": _contained(image), "resources": _resources(settings, workload, 1),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(base), {"name": "files", "mountPath": given, "readOnly": True}],
    }  # fmt: skip
    spec = _common(settings, ref, name, image)
    spec |= {
        "terminationGracePeriodSeconds": max(1, math.ceil(workload.stop_grace)),
        "initContainers": [init],
        "containers": [_container(settings, ref, name, workload, process, image) for process in workload.processes],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": f"{name}-data"}},
            _scratch(settings),
            {"name": "files", "projected": {"sources": [{"configMap": {"name": title}} for title, _ in files.maps]}},
        ],
    }
    return spec


def image_of(workload: Workload, ref: Ref) -> Image:
    image = workload.image
    if image is None:
        raise GiveUp("NoImage", f"{ref} names no container image.", "Choose a cluster that installs software, such as a machine.")
    if image.uid == 0 or image.gid == 0:
        raise GiveUp("RootImage", f"{image.reference} wants to run as root.", "Name a user other than 0 for the image.")
    return image


def _common(settings: KubernetesSettings, ref: Ref, name: str, image: Image) -> Json:
    """What every pod of an instance has."""
    spec: Json = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": image.uid, "runAsGroup": image.gid, "fsGroup": image.gid,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    if settings.image_pull_secret:
        spec["imagePullSecrets"] = [{"name": "claw-registry"}]
    if settings.node_selector:
        spec["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        spec["tolerations"] = settings.tolerations
    if settings.runtime_class:
        spec["runtimeClassName"] = settings.runtime_class
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    if settings.spread_over:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1, "topologyKey": settings.spread_over, "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {names.MANAGED: names.MANAGER, names.ROLE: "claw"}},
            }
        ]  # fmt: skip
    return spec


def _scratch(settings: KubernetesSettings) -> Json:
    return {"name": "tmp", "emptyDir": {"sizeLimit": settings.tmp_size}}


def _mounts(base: str) -> list[Json]:
    return [
        {"name": "data", "mountPath": f"{base}/data"},
        *({"name": "tmp", "mountPath": path} for path in (f"{base}/tmp", "/tmp")),  # noqa: S108  # a volume of the pod's own
    ]  # fmt: skip


def _contained(image: Image) -> Json:
    return {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "privileged": False, "runAsNonRoot": True,
        "readOnlyRootFilesystem": image.read_only_root,
    }  # fmt: skip


def _resources(settings: KubernetesSettings, workload: Workload, share: int) -> Json:
    """Several processes of a claw share its limits evenly: Kubernetes limits containers."""
    limits: Json = {}
    memory = workload.memory_bytes // share if workload.memory_bytes else int(parse_quantity(settings.default_memory))
    limits["memory"] = str(memory)
    wanted = int(parse_quantity(settings.memory_request)) // share if settings.memory_request else memory // 2
    requests: Json = {"memory": str(min(memory, wanted)), "cpu": settings.cpu_request}
    if workload.cpu_cores:
        limits["cpu"] = cores(workload.cpu_cores / share)
        requests["cpu"] = _lesser(settings.cpu_request, limits["cpu"])
    return {"limits": limits, "requests": requests}


def cores(number: float) -> str:
    return f"{max(1, round(number * 1000))}m"


def _lesser(one: str, other: str) -> str:
    return one if parse_quantity(one) <= parse_quantity(other) else other


def literal(text: str) -> str:
    """Kubernetes would put variables where `$(NAME)` stands."""
    return text.replace("$", "$$")


def container_name(process: Process) -> str:
    return names.slug(process.name, 40) or "main"


def environment(settings: KubernetesSettings, ref: Ref, image: Image, extra: Mapping[str, str]) -> dict[str, str]:
    """All that a claw gets besides its image's own variables."""
    where = layout(settings, ref, image)
    return {
        "HOME": where.home, "TMPDIR": where.tmp, "LANG": "C.UTF-8", "TERM": "dumb",
        "CLAWPORTAL_INSTANCE": ref.instance_id, **extra,
    }  # fmt: skip


def _container(settings: KubernetesSettings, ref: Ref, name: str, workload: Workload, process: Process, image: Image) -> Json:
    told = environment(settings, ref, image, process.env)
    for text in [*process.argv, *told.values()]:
        if "\0" in text:
            raise GiveUp("InvalidValue", f"A command or variable of {process.name} holds a NUL character.")
    env: list[Json] = [{"name": key, "value": literal(value)} for key, value in told.items() if key not in process.secret_env]
    env += [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": f"{name}-secrets", "key": _secret_key(wanted)}}}
        for key, wanted in process.secret_env.items()
    ]
    body: Json = {
        "name": container_name(process), "image": image.reference, "imagePullPolicy": settings.image_pull_policy,
        "command": [literal(part) for part in process.argv], "env": env,
        "workingDir": str(getattr(layout(settings, ref, image), process.cwd)),
        "securityContext": _contained(image), "resources": _resources(settings, workload, len(workload.processes)),
        "terminationMessagePolicy": "FallbackToLogsOnError", "volumeMounts": _mounts(mount(settings, ref)),
    }  # fmt: skip
    if process is workload.processes[0]:
        if workload.ports:
            body["ports"] = [
                {"name": _port_name(key), "containerPort": number, "protocol": "TCP"} for key, number in workload.ports.items()
            ]
        body |= _probes(workload)
    return body


def _probes(workload: Workload) -> Json:
    probe = workload.probe
    if probe is None or probe.port not in workload.ports:
        return {}
    number = workload.ports[probe.port]
    ask: Json = {"httpGet": {"path": probe.path, "port": number}} if probe.path else {"tcpSocket": {"port": number}}
    patience = max(1, math.ceil((workload.startup_seconds or 60.0) / 2))
    return {
        "startupProbe": {**ask, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": patience},
        # a claw may be busy for long: only one that is silent for two minutes is taken for dead
        "livenessProbe": {**(ask if not probe.path else {"tcpSocket": {"port": number}}), "periodSeconds": 20,
                          "timeoutSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**ask, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
    }  # fmt: skip


_HELPER_MEMORY = 2 * 1024 * _MEBI
_HELPER_REQUEST = 128 * _MEBI


def _modest(settings: KubernetesSettings, workload: Workload | Image) -> Json:
    """A pod of a moment asks for no more than it needs: there may be room for a check, and none for the claw."""
    memory = workload.memory_bytes if isinstance(workload, Workload) else None
    limit = min(memory or int(parse_quantity(settings.default_memory)), _HELPER_MEMORY)
    found = _resources(settings, Workload(memory_bytes=limit), 1)
    found["requests"]["memory"] = str(min(int(found["requests"]["memory"]), _HELPER_REQUEST))
    return found


def helper_pod(
    settings: KubernetesSettings,
    place: str,
    ref: Ref,
    space: str,
    name: str,
    title: str,
    workload: Workload | Image,
    *,
    data: bool,
) -> Named:
    """A pod that waits for commands and ends by itself: for judging a configuration, and for files while the claw is stopped."""
    image = workload if isinstance(workload, Image) else image_of(workload, ref)
    resources = _modest(settings, workload)
    spec = _common(settings, ref, name, image)
    spec.pop("topologySpreadConstraints", None)
    spec |= {
        "restartPolicy": "Never", "activeDeadlineSeconds": 900, "terminationGracePeriodSeconds": 1,
        "serviceAccountName": "default",
        "containers": [
            {
                "name": "helper", "image": image.reference, "imagePullPolicy": settings.image_pull_policy,
                "command": ["/bin/sh", "-c", literal(scripts.HELPER)],
                "env": [
                    {"name": key, "value": literal(value)} for key, value in environment(settings, ref, image, {}).items()
                ],
                "securityContext": _contained(image), "resources": resources, "volumeMounts": _mounts(mount(settings, ref)),
            }
        ],
        "volumes": [
            {"name": "data", **({"persistentVolumeClaim": {"claimName": f"{name}-data"}} if data else {"emptyDir": {}})},
            _scratch(settings),
        ],
    }  # fmt: skip
    return _object("v1", "Pod", "pods", space, title, names.labels(place, ref, name, "helper"), spec=spec)
