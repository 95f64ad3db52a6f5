"""What an engine can do and what it says: the connection test and its events."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import docker.errors

from clawportal.sdk import _m, _n, redact
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Check, DoctorResult, Ref, RuntimeEvent, config_refused
from clawportal_docker import naming
from clawportal_docker.errors import BROKEN, nobody_there

if TYPE_CHECKING:
    from clawportal_docker.settings import DockerSettings


def judge(check: Check, code: int | None, lines: list[str], secrets: Iterable[str]) -> None:
    """GiveUp with the claw's own words when it refused a candidate."""
    if code == 0:
        return
    said = redact.masked(lines, secrets)
    if code is None:
        raise Retry(
            _n("CheckTimedOut"),
            _m("The claw did not judge its configuration within %(timeout)s s.", timeout=f"{check.timeout:g}"),
            timedelta(seconds=30),
        )
    if code == 127:
        raise GiveUp(
            _n("CheckMissing"),
            _m("%(argv)s cannot be started.", argv=check.argv[0]),
            _m("Choose an image that holds this claw."),
            said,
        )
    raise config_refused(code, said)


def version(client: docker.APIClient) -> str:
    told = client.version()
    return f"{'Podman' if is_podman(told) else 'Docker Engine'} {told.get('Version', '')}".strip()


def is_podman(told: Mapping[str, Any]) -> bool:
    """Out of what the engine tells of its version."""
    return any("podman" in part.get("Name", "").lower() for part in told.get("Components") or [])


def findings(connect: Callable[[float], docker.APIClient], settings: DockerSettings) -> list[DoctorResult]:
    try:
        client = connect(10)
        info, words = client.info(), version(client)
    except (*BROKEN, Retry) as error:
        return [_unreachable(settings, error)]
    found = [
        DoctorResult(_m("Connection"), True, _m("%(words)s answers at %(url)s.", words=words, url=settings.url)),
        _has(info, "MemoryLimit", "Memory limits", "Memory of claws can be limited."),
        _has(info, "CpuCfsQuota", "CPU limits", "CPU of claws can be limited."),
        _has(info, "PidsLimit", "Process limits", "The number of processes can be limited."),
        _init(info, words),
        _seccomp(info),
        _network(client, settings),
    ]
    return [*found, _disk(info, settings)]


def _unreachable(settings: DockerSettings, error: Exception) -> DoctorResult:
    words = "" if nobody_there(error) else str(error)
    remedy = _m("Check the address, that the engine runs, and that the network lets the portal through.")
    if settings.url.startswith("unix:"):
        remedy = _m("Start the engine, and let the portal's user use its socket: for Docker add it to the group docker.")
    if "certificate" in words.lower() or "ssl" in words.lower():
        remedy = _m("Enter the CA, and the client certificate and key that the engine accepts.")
    return DoctorResult(
        _m("Connection"),
        False,
        _m("Nobody answers at %(url)s: %(words)s", url=settings.url, words=words)
        if words
        else _m("Nobody answers at %(url)s.", url=settings.url),
        remedy,
    )


def _has(info: Mapping[str, Any], key: str, name: str, words: str) -> DoctorResult:
    good = bool(info.get(key))
    return DoctorResult(
        name,
        good,
        words if good else _m("The engine cannot do this: %(key)s is off.", key=key),
        "" if good else _m("Switch the cgroup controllers of the machine on, and restart the engine."),
    )


def _init(info: Mapping[str, Any], version: str) -> DoctorResult:
    good = bool(info.get("InitBinary")) or version.startswith("Podman")  # which has one of its own, and does not name it
    return DoctorResult(
        _m("Init process"),
        good,
        _m("Left-over processes are reaped.") if good else _m("docker-init is missing."),
        "" if good else _m("Install docker-init (tini) on the machine of the engine."),
    )


def _seccomp(info: Mapping[str, Any]) -> DoctorResult:
    good = any("seccomp" in str(option) and "unconfined" not in str(option) for option in info.get("SecurityOptions") or [])
    return DoctorResult(_m("seccomp"), good, _m("System calls are filtered.") if good else _m("System calls are not filtered."),
                        "" if good else _m("Use an engine with the default seccomp profile."))  # fmt: skip


def _network(client: docker.APIClient, settings: DockerSettings) -> DoctorResult:
    name = settings.network
    if name == "host":
        return DoctorResult(_m("Network"), True, _m("Claws use the network of the machine; tenants are not kept apart there."))
    if name != "tenant":
        good = bool(client.networks(names=[name]))
        said = _m("The network %(name)s is there.", name=name) if good else _m("The network %(name)s does not exist.", name=name)
        return DoctorResult(_m("Network"), good, said,
                            "" if good else _m("Make it with: docker network create %(name)s", name=name))  # fmt: skip
    trial = f"{settings.prefix}-trial-{time.time_ns():x}"
    try:
        made = client.create_network(trial, driver="bridge", labels={naming.ROLE: "trial"})
        client.remove_network(made["Id"])
    except BROKEN as error:
        return DoctorResult(_m("Network"), False, _m("A network for a tenant cannot be made: %(error)s", error=error),
                            _m("Let the engine make bridge networks, or choose the network host."))  # fmt: skip
    return DoctorResult(_m("Network"), True, _m("Each tenant gets a network of its own."))


def _disk(info: Mapping[str, Any], settings: DockerSettings) -> DoctorResult:
    return DoctorResult(
        _m("Storage"),
        True,
        _m("Volumes lie in %(get)s (%(get2)s).", get=info.get("DockerRootDir", "the engine"), get2=info.get("Driver", "")),
    )


def events(client: docker.APIClient, ref: Ref, *, podman: bool = False) -> list[RuntimeEvent]:
    """What the engine remembers of the last hour; it keeps its last thousand or so in memory only."""
    by_label = {"label": [f"{naming.INSTANCE}={ref.instance_id}"]}  # of two, Podman is content with one
    filters = {"type": "container", **({"container": [ref.unmanaged_id]} if ref.unmanaged_id else by_label)}
    found = []
    try:
        for event in past_events(client, filters, podman=podman):
            words = _EVENTS.get(str(event.get("Action", "")))
            if words and (ref.unmanaged_id or event["Actor"]["Attributes"].get(naming.ROLE) == "claw"):
                code = event["Actor"]["Attributes"].get("exitCode")
                at = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
                bad = event["Action"] == "oom" or (event["Action"] == "die" and code not in ("0", None))
                message = _m("%(words)s (code %(code)s).", words=words[1], code=code) if code is not None else f"{words[1]}."
                found.append(RuntimeEvent(at, "warning" if bad else "info", words[0], message))
    finally:
        client.close()
    return found


def past_events(client: docker.APIClient, filters: Mapping[str, Any], *, podman: bool) -> Iterator[Mapping[str, Any]]:
    """Of the last hour. Podman stops reading at the moment that it is given, however much it has read by then."""
    now = time.time()
    until = f"{now + 0.5:.3f}" if podman else int(now)
    yield from client.events(since=int(now - 3600), until=until, filters=filters, decode=True)


_EVENTS = {
    "create": ("Created", "The container was made"),
    "start": ("Started", "The container was started"),
    "die": ("Exited", "The container ended"),
    "oom": ("OutOfMemory", "It wanted more memory than its limit"),
    "kill": ("Signalled", "It was sent a signal"),
    "destroy": ("Removed", "The container was removed"),
}


def port_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine; of another one nobody can tell."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == 98:
                    return False
    return True
