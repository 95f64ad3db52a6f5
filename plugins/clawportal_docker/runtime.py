"""The runtime of one Docker Engine or Podman: see `contracts.runtimes.Runtime`. Its parts are in modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import docker.errors

from clawportal.sdk.errors import Unavailable
from clawportal.sdk.runtimes import (
    IN_CONTAINERS,
    Artifact,
    DoctorResult,
    Image,
    Layout,
    LogLine,
    Progress,
    Ref,
    RuntimeEvent,
    Separation,
    SeparationLevel,
    UnmanagedWorkload,
    Without,
)
from clawportal_docker import diagnosis, images, logs, naming, unmanaged
from clawportal_docker.commands import Commands
from clawportal_docker.engine import LONG
from clawportal_docker.errors import told
from clawportal_docker.lifecycle import Starting

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_docker.settings import DockerSettings

_CAPABILITIES = (
    "images", "images.pull", "processes", "logs", "logs.streams", "logs.previous", "metrics", "metrics.disk", "limits.memory",
    "limits.cpu", "limits.kernel", "limits.processes", "exec", "files", "events", "import",
)  # fmt: skip


class DockerRuntime(Starting, Commands, Without):
    title = "This container engine"

    def __init__(self, place: Place, settings: DockerSettings) -> None:
        shared = {"allocated-ports"} if settings.network == "host" else set()
        self.capabilities = frozenset({*_CAPABILITIES, *shared})
        super().__init__(place, settings)

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        self._name(ref)
        return naming.layout(image.artifacts if image else {})

    def prepared(self, artifact: Artifact) -> bool:
        with told():
            try:
                self._client.inspect_image(artifact.packages[0])
            except docker.errors.ImageNotFound:
                return False
            return True

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        images.pull(self._connect(LONG), artifact.packages[0], progress)

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        with told(ref):
            found = self._containers(ref, previous=previous)
            plain = bool(ref.unmanaged_id and found) and unmanaged.has_terminal(self._client, ref)
        chosen = [(entry["Id"], entry["Labels"].get(naming.PROCESS, "main")) for entry in found]
        return logs.read(self._connect, chosen, tail=tail, since=since, follow=follow and not previous, stop=stop, plain=plain)

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        if self.settings.network == "host" and not ref.unmanaged_id:
            return self._engine_host(), port
        with told(ref):
            main = self._main(ref)
            if main is None or main["State"] != "running":
                raise Unavailable(f"{ref} does not run.")
            if (main.get("HostConfig") or {}).get("NetworkMode") == "host":
                return self._engine_host(), port
            if self.settings.by_address:
                for network in (main.get("NetworkSettings") or {}).get("Networks", {}).values():
                    if network.get("IPAddress"):
                        return str(network["IPAddress"]), port
            for opened in main.get("Ports") or []:
                if opened.get("PrivatePort") == port and opened.get("PublicPort"):
                    return self._engine_host(), int(opened["PublicPort"])
        raise Unavailable(f"{ref} has no address yet.")

    def _engine_host(self) -> str:
        if "://" not in self.settings.url or self.settings.url.startswith("unix:"):
            return "127.0.0.1"
        return self.settings.url.split("://", 1)[1].rsplit("@", 1)[-1].split(":")[0].split("/")[0]

    def port_free(self, port: int) -> bool:
        return diagnosis.port_free(port)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        with told(ref):
            return diagnosis.events(self._connect(10), ref, podman=self.podman)

    def separation(self) -> Separation:
        """A container is the wall; a network may lead around it."""
        if self.settings.network != "tenant":
            words, remedy = "Claws of all organisations share one network.", "Set the network of this cluster to tenant."
        elif self.podman:
            words = "Networks of Podman reach each other in many versions, so that claws of different organisations may do so."
            remedy = "Use Docker where organisations must not reach each other's claws."
        else:
            return IN_CONTAINERS
        return Separation(SeparationLevel.CONTAINER, (DoctorResult("separation: network", False, words, remedy),))

    def diagnose(self) -> list[DoctorResult]:
        return diagnosis.findings(self._connect, self.settings)

    def version(self) -> str:
        with told():
            return diagnosis.version(self._client)

    def unmanaged(self, name: str = "") -> list[UnmanagedWorkload]:
        with told():
            return [unmanaged.described(self._client, name)] if name else unmanaged.listing(self._client)
