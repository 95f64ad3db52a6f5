"""The pods of an instance: the one that runs its claw, and those that live for a moment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import Image, Process, Ref, Workload, parse_quantity
from clawportal_kubernetes import names, scripts
from clawportal_kubernetes.file_maps import Files
from clawportal_kubernetes.manifests import Json, Named, cores, layout, lesser, mount, namespaced, port_name, secret_key

if TYPE_CHECKING:
    from clawportal_kubernetes.settings import KubernetesSettings

_MEBI = 1024 * 1024


def pod_spec(settings: KubernetesSettings, ref: Ref, name: str, workload: Workload, files: Files) -> Json:
    if not workload.processes:
        raise GiveUp(_n("NothingToRun"), _m("The workload of %(ref)s names no process.", ref=ref))
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
        raise GiveUp(
            _n("NoImage"),
            _m("%(ref)s names no container image.", ref=ref),
            _m("Choose a cluster that installs software, such as a machine."),
        )
    if image.uid == 0 or image.gid == 0:
        raise GiveUp(
            _n("RootImage"),
            _m("%(reference)s wants to run as root.", reference=image.reference),
            _m("Name a user other than 0 for the image."),
        )
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
        requests["cpu"] = lesser(settings.cpu_request, limits["cpu"])
    return {"limits": limits, "requests": requests}


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
            raise GiveUp(_n("InvalidValue"), _m("A command or variable of %(name)s holds a NUL character.", name=process.name))
    env: list[Json] = [{"name": key, "value": literal(value)} for key, value in told.items() if key not in process.secret_env]
    env += [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": f"{name}-secrets", "key": secret_key(wanted)}}}
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
                {"name": port_name(key), "containerPort": number, "protocol": "TCP"} for key, number in workload.ports.items()
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
    return namespaced("v1", "Pod", "pods", space, title, names.labels(place, ref, name, "helper"), spec=spec)
