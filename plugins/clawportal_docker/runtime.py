"""The runtime of one Docker Engine or Podman, put together from parts that each know one subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from clawportal.sdk import _m
from clawportal.sdk.runtimes import (
    IN_CONTAINERS,
    Artifact,
    Capacity,
    DoctorResult,
    ExecSession,
    FileEntry,
    FoundFiles,
    Image,
    Layout,
    LogLine,
    Observed,
    Progress,
    Ref,
    RuntimeEvent,
    Sample,
    Separation,
    SeparationLevel,
    UnmanagedWorkload,
    Without,
    Workload,
)
from clawportal_docker import diagnosis, images, logs, naming, unmanaged
from clawportal_docker.candidates import Candidates
from clawportal_docker.commands import Commands
from clawportal_docker.containers import Containers
from clawportal_docker.ends import Ends
from clawportal_docker.engine import LONG, Engine
from clawportal_docker.errors import map_errors
from clawportal_docker.files import Files
from clawportal_docker.helpers import Helpers
from clawportal_docker.lifecycle import Lifecycle
from clawportal_docker.meter import Meter
from clawportal_docker.networks import Networks
from clawportal_docker.notes import Notes
from clawportal_docker.observer import Observer
from clawportal_docker.ports import Ports
from clawportal_docker.volumes import Volumes

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_docker.settings import DockerSettings

_CAPABILITIES = (
    "images", "images.pull", "processes", "logs", "logs.streams", "logs.previous", "metrics", "metrics.disk", "limits.memory",
    "limits.cpu", "limits.kernel", "limits.processes", "exec", "files", "files.change", "events", "import",
)  # fmt: skip


class DockerRuntime(Without):
    """See `contracts.runtimes.Runtime`, which says what each method does; the part that does it is named in its line."""

    title = _m("This container engine")

    def __init__(self, place: Place, settings: DockerSettings) -> None:
        shared = {"allocated-ports"} if settings.network == "host" else set()
        self.capabilities = frozenset({*_CAPABILITIES, *shared})
        self.engine = Engine(place, settings)
        self.containers = Containers(self.engine)
        notes = Notes(self.engine)
        helpers = Helpers(self.engine, self.containers)
        self.files = Files(self.engine, self.containers, notes, helpers)
        self.observer = Observer(self.engine, self.containers, notes, Ends(self.engine, notes))
        self.lifecycle = Lifecycle(
            self.engine, self.containers, notes=notes, volumes=Volumes(self.engine, self.containers),
            networks=Networks(self.engine, self.containers), files=self.files, observer=self.observer,
        )  # fmt: skip
        self.candidates = Candidates(self.engine, self.containers)
        self.commands = Commands(self.engine, self.containers, helpers)
        self.ports = Ports(self.engine, self.containers)
        self.meter = Meter(self.engine, self.containers)

    def close(self) -> None:
        self.engine.close()

    # ---- what is there

    def inspect(self, ref: Ref) -> Observed:
        return self.observer.inspect(ref)

    def observe(self) -> list[Observed]:
        return self.observer.observe()

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        return self.observer.watch(stop)

    def sample(self) -> list[Sample]:
        return self.meter.sample()

    def capacity(self) -> Capacity:
        return self.meter.capacity()

    def unmanaged(self, name: str = "") -> list[UnmanagedWorkload]:
        with map_errors():
            return [unmanaged.described(self.engine.client, name)] if name else unmanaged.listing(self.engine.client)

    def recognise(self, refs: Iterable[Ref]) -> None:
        self.containers.recognised = {ref.unmanaged_id: ref for ref in refs if ref.unmanaged_id}

    # ---- its life

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        self.containers.name(ref)
        return naming.layout(image.artifacts if image else {})

    def prepared(self, artifact: Artifact) -> bool:
        with map_errors():
            return images.present(self.engine.client, artifact.packages[0])

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        images.pull(self.engine.connect(LONG), artifact.packages[0], progress)

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        self.candidates.check(ref, workload, secrets)

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        return self.lifecycle.apply(ref, workload, secrets)

    def resume(self, ref: Ref) -> Observed:
        return self.lifecycle.resume(ref)

    def stop(self, ref: Ref, grace: float) -> None:
        self.lifecycle.stop(ref, grace)

    def kill(self, ref: Ref) -> None:
        self.lifecycle.kill(ref)

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        self.lifecycle.remove(ref, keep_data=keep_data)

    # ---- its files, words and ways in

    def write_files(self, ref: Ref, workload: Workload) -> None:
        self.files.update(ref, workload)

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        return self.files.read(ref, root, path, limit)

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        return self.files.entries(ref, root, path)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        return self.files.pull(ref, root, path)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        self.files.push(ref, root, path, chunks)

    def move_file(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        self.files.changes.move(ref, root, path, target_root, target)

    def remove_file(self, ref: Ref, root: str, path: str) -> None:
        self.files.changes.remove(ref, root, path)

    def find_files(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        return self.files.changes.find(ref, root, path, text, limit)

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        with map_errors(ref):
            found = self.containers.of(ref, previous=previous)
            plain = bool(ref.unmanaged_id and found) and unmanaged.has_terminal(self.engine.client, ref)
        chosen = [(entry["Id"], entry["Labels"].get(naming.PROCESS, "main")) for entry in found]
        follow = follow and not previous
        return logs.read(self.engine.connect, chosen, tail=tail, since=since, follow=follow, stop=stop, plain=plain)

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        return self.commands.start(ref, argv, tty=tty, columns=columns, rows=rows)

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        return self.ports.address(ref, port)

    # ---- the engine

    def port_free(self, port: int) -> bool:
        return diagnosis.port_free(port)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        with map_errors(ref):
            return diagnosis.events(self.engine.connect(10), ref, podman=self.engine.podman)

    def separation(self) -> Separation:
        """A container is the wall; a network may lead around it."""
        if self.engine.settings.network != "tenant":
            words, remedy = _m("Claws of all organisations share one network."), _m("Set the network of this cluster to tenant.")
        elif self.engine.podman:
            words = _m(
                "Networks of Podman reach each other in many versions, so that claws of different organisations may do so."
            )
            remedy = _m("Use Docker where organisations must not reach each other's claws.")
        else:
            return IN_CONTAINERS
        return Separation(SeparationLevel.CONTAINER, (DoctorResult(_m("separation: network"), False, words, remedy),))

    def diagnose(self) -> list[DoctorResult]:
        return diagnosis.findings(self.engine.connect, self.engine.settings)

    def version(self) -> str:
        with map_errors():
            return diagnosis.version(self.engine.client)
