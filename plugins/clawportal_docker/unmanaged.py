"""Containers that somebody else made: what they are, without their secrets, and what is seen of those that are instances now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import docker
import docker.errors

from clawportal.sdk import _m, _n, redact
from clawportal.sdk.errors import GiveUp, NotFound
from clawportal.sdk.runtimes import Observed, Ref, RunState, UnmanagedWorkload
from clawportal_docker import naming

_KINDS = {"openclaw": "openclaw", "clawdbot": "openclaw", "nanobot": "nanobot", "nanoclaw": "nanoclaw"}
_FLEET = "openclaw."
"""`openclaw fleet` marks its containers with labels that begin so."""
_RESTARTS = {"always": "always", "unless-stopped": "always", "on-failure": "on-failure"}
_RUNS = ("running", "paused", "restarting")


def gone(ref: Ref) -> GiveUp:
    return GiveUp(
        _n("Gone"), _m("The container of %(name)s no longer exists.", name=ref.name or ref.instance_id),
        _m("Forget it here. If another container took its place, import that one."),
    )  # fmt: skip


# ---- what is there


def listing(client: docker.APIClient) -> list[UnmanagedWorkload]:
    """All that no portal made, in one call; what the engine's list does not say is told by `described`."""
    entries = [entry | {"Labels": entry.get("Labels") or {}} for entry in client.containers(all=True)]
    return [_item(entry) for entry in entries if naming.PLACE not in entry["Labels"]]


def described(client: docker.APIClient, name: str) -> UnmanagedWorkload:
    """One of them by name or id, with all that a person needs to see before taking it over."""
    try:
        told = client.inspect_container(name)
    except (docker.errors.NotFound, docker.errors.NullResource) as error:
        raise NotFound(_m("There is no container %(name)s.", name=repr(name))) from error
    if naming.PLACE in (told["Config"].get("Labels") or {}):
        raise NotFound(_m("The container %(name)s belongs to a portal already.", name=repr(name)))
    found = [item for item in listing(client) if item.id == told["Id"]]
    if not found:
        raise NotFound(_m("There is no container %(name)s.", name=repr(name)))
    item = found[0]
    return UnmanagedWorkload(
        item.id, item.name, item.image, item.state, item.created_at, item.adapter, {**item.details, **_details(told)}
    )


def _item(entry: Mapping[str, Any]) -> UnmanagedWorkload:
    state = RunState.RUNNING if entry["State"] in _RUNS else RunState.EXITED
    name = (entry.get("Names") or [entry["Id"][:12]])[0].lstrip("/")
    created = entry["Created"]
    at = datetime.fromtimestamp(created, UTC) if isinstance(created, int) else naming.when(created)
    details = {
        "status": entry.get("Status") or entry["State"], "command": redact.command(str(entry.get("Command") or "").split()),
        "labels": redact.named(entry["Labels"]), "mounts": _mounts(entry.get("Mounts") or ()),
        "ports": sorted({int(port["PrivatePort"]) for port in entry.get("Ports") or () if port.get("PrivatePort")}),
    }  # fmt: skip
    return UnmanagedWorkload(entry["Id"], name, entry["Image"], state, at, _kind(entry, name), details)


def _kind(entry: Mapping[str, Any], name: str) -> str:
    if any(key.startswith(_FLEET) for key in entry["Labels"]):
        return "openclaw"
    words = f"{entry['Image']} {name}".lower()
    return next((kind for sign, kind in _KINDS.items() if sign in words), "")


def _details(told: Mapping[str, Any]) -> dict[str, Any]:
    config, host = told["Config"], told.get("HostConfig") or {}
    env = dict(item.partition("=")[::2] for item in config.get("Env") or [])
    exposed = {int(port.partition("/")[0]) for port in config.get("ExposedPorts") or {}}
    policy = (host.get("RestartPolicy") or {}).get("Name") or "no"
    limits: dict[str, Any] = {}
    if host.get("Memory"):
        limits["memory_bytes"] = int(host["Memory"])
    if cores := _cores(host):
        limits["cpu_cores"] = cores
    return {
        "command": redact.command([str(told.get("Path") or ""), *(told.get("Args") or [])]), "env": redact.named(env),
        "mounts": _mounts(told.get("Mounts") or ()), "ports": sorted(exposed), "user": config.get("User") or "root",
        "network": host.get("NetworkMode") or "", "restart": _RESTARTS.get(policy, "never"), **limits,
    }  # fmt: skip


def _cores(host: Mapping[str, Any]) -> float:
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / 1e9
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    return quota / period if quota > 0 else 0.0


def _mounts(mounts: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"source": mount.get("Name") or mount.get("Source") or "", "target": mount["Destination"]} for mount in mounts]


# ---- what is seen of one that is an instance


def observed(ref: Ref, client: docker.APIClient) -> Observed:
    """By its id alone. One that a portal made is never taken for one."""
    try:
        told = client.inspect_container(ref.unmanaged_id)
    except docker.errors.NotFound:
        return Observed(ref, RunState.ABSENT)
    if told["Id"] != ref.unmanaged_id or naming.PLACE in (told["Config"].get("Labels") or {}):
        return Observed(ref, RunState.ABSENT)
    return seen(ref, told)


def seen(ref: Ref, told: Mapping[str, Any]) -> Observed:
    state, started = told["State"], naming.when(told["State"].get("StartedAt"))
    # the same container starts again and again: its id alone would not tell one run from the next
    incarnation = f"{ref.unmanaged_id[:12]}-{started.timestamp():.3f}" if started else ref.unmanaged_id[:12]
    common: dict[str, Any] = {"incarnation": incarnation, "started_at": started, "restarts": int(told.get("RestartCount") or 0)}
    status = state.get("Status")
    if status == "restarting":
        return Observed(
            ref, RunState.PENDING, reason=_n("Restarting"), message=_m("It ended, and the engine starts it again."), **common
        )
    if status in _RUNS:
        check = str((state.get("Health") or {}).get("Status") or "")
        if status == "paused":
            common |= {"reason": _n("Paused"), "message": _m("Somebody paused its container.")}
        return Observed(ref, RunState.RUNNING, healthy={"healthy": True, "unhealthy": False}.get(check), **common)
    if started is None:
        return Observed(ref, RunState.EXITED, reason=_n("NotStarted"), message=_m("Its container was made and never started."))
    code = int(state.get("ExitCode") or 0)
    signal = code - 128 if 128 < code <= 128 + 64 else None
    if state.get("OOMKilled"):
        common |= {"reason": _n("OutOfMemory"), "message": _m("It used more memory than its limit.")}
    ended = naming.when(state.get("FinishedAt"))
    return Observed(ref, RunState.EXITED, exit_code=None if signal else code, exit_signal=signal, exited_at=ended, **common)


def has_terminal(client: docker.APIClient, ref: Ref) -> bool:
    """Whether it was made with a terminal (`docker run -t`): its log has no frames then."""
    return bool(client.inspect_container(ref.unmanaged_id)["Config"].get("Tty"))
