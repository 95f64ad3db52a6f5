"""The names and labels by which the portal finds again what it made, and what one container is to be: plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clawportal.sdk.runtimes import Layout, Process, Ref, Workload, parse_quantity

if TYPE_CHECKING:
    from clawportal_docker.settings import DockerSettings

LABEL = "io.clawportal."
PLACE = LABEL + "place"
INSTANCE = LABEL + "instance"
NAME = LABEL + "name"
TENANT = LABEL + "tenant"
DIGEST = LABEL + "digest"
PROCESS = LABEL + "process"
USER = LABEL + "user"
ROLE = LABEL + "role"
"""`claw` for what runs, `check` and `hand` for what only lives for a moment."""

BASE = "/claw"
TMP = "/tmp"  # noqa: S108  # in the container, a file system of its own
ROOTS = ("home", "state", "work")
PREVIOUS = "-previous"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ODD = re.compile(r"[^a-z0-9-]+")
_NEVER = "0001-01-01T00:00:00Z"


def valid_id(instance_id: str) -> bool:
    return bool(_ID.fullmatch(instance_id))


def base_name(prefix: str, ref: Ref) -> str:
    """Readable, and unique by the whole id: the short form alone could meet another instance's."""
    return f"{prefix}-{ref.instance_id.lower()}"


def network_name(prefix: str, place: str, ref: Ref) -> str:
    """Of a tenant: two clusters of a portal may be the same engine, and each has networks of its own."""
    return f"{prefix}-{(ref.tenant or 'none').lower()}-{place[-6:].lower()}"


def readable(ref: Ref) -> str:
    """A name as host name and for people."""
    return (_ODD.sub("-", ref.name.lower()).strip("-") or ref.instance_id.lower())[:60]


def when(text: str | None) -> datetime | None:
    """A time of the engine: it writes nanoseconds, which Python does not read."""
    if not text or text == _NEVER:
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def ref(labels: Mapping[str, str]) -> Ref:
    """The instance that labels tell of."""
    return Ref(labels[INSTANCE], labels.get(NAME, ""), labels.get(TENANT, ""))


def layout(artifacts: Mapping[str, str]) -> Layout:
    return Layout(f"{BASE}/home", f"{BASE}/state", f"{BASE}/work", TMP, dict(artifacts))


def labels(place: str, ref: Ref, role: str, **more: str) -> dict[str, str]:
    told = {PLACE: place, INSTANCE: ref.instance_id, NAME: ref.name, TENANT: ref.tenant, ROLE: role}
    return told | {LABEL + key: value for key, value in more.items()}


def host_config(
    settings: DockerSettings, workload: Workload, *, volume: str, network: str, ports: Mapping[str, int]
) -> dict[str, Any]:
    """The engine's HostConfig: nothing that the claw does not need."""
    image = workload.image
    told: dict[str, Any] = {
        "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "PidsLimit": settings.processes, "Init": True,
        "ReadonlyRootfs": bool(image and image.read_only_root), "NetworkMode": network, "RestartPolicy": {"Name": "no"},
        "Tmpfs": {TMP: f"rw,nosuid,nodev,mode=1777,size={int(parse_quantity(settings.tmp_size))}"},
        "Mounts": [{"Type": "volume", "Source": volume, "Target": BASE}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": settings.log_size, "max-file": str(settings.log_files)}},
    }  # fmt: skip
    if workload.memory_bytes:
        told |= {"Memory": workload.memory_bytes, "MemorySwap": workload.memory_bytes}
    if workload.cpu_cores:
        told["NanoCpus"] = int(workload.cpu_cores * 1_000_000_000)
    if settings.runtime:
        told["Runtime"] = settings.runtime
    if ports:
        told["PortBindings"] = {f"{port}/tcp": [{"HostIp": settings.publish_address, "HostPort": ""}] for port in ports.values()}
    return told


def container(
    settings: DockerSettings, ref: Ref, workload: Workload, process: Process, environment: Mapping[str, str], *,
    place: str, volume: str, network: str, first: bool,
) -> dict[str, Any]:  # fmt: skip
    """The body of the engine's create call for one process."""
    assert workload.image is not None
    published = {} if settings.by_address or network == "host" or not first else dict(workload.ports)
    user = f"{workload.image.uid}:{workload.image.gid}"
    told: dict[str, Any] = {
        "Image": workload.image.reference, "Entrypoint": list(process.argv), "Cmd": [], "User": user,
        "Env": [f"{name}={value}" for name, value in environment.items()], "WorkingDir": f"{BASE}/{process.cwd}",
        "Labels": labels(place, ref, "claw", digest=workload.digest(), process=process.name, user=user),
        "StopTimeout": max(1, round(workload.stop_grace)), "StopSignal": "SIGTERM", "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host_config(settings, workload, volume=volume, network=network, ports=published),
    }  # fmt: skip
    if published:
        told["ExposedPorts"] = {f"{port}/tcp": {} for port in published.values()}
    if network != "host" and not network.startswith("container:"):
        told["Hostname"] = readable(ref)
    return told


def environment(ref: Ref, process_env: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    own = {"HOME": f"{BASE}/home", "TMPDIR": TMP, "LANG": "C.UTF-8", "TERM": "dumb", "CLAWPORTAL_INSTANCE": ref.instance_id}
    return {**own, **process_env, **values}
