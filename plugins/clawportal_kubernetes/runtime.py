"""The runtime of one Kubernetes cluster: a namespace for each tenant, a StatefulSet of one pod for each instance.

Everything that has to be known stands in the objects themselves, so that any portal that connects sees the same. Each object
is applied by server-side apply, after a look whether one of that name belongs to somebody else. Put together from parts that
each know one subject.
"""

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
    Without,
    Workload,
)
from clawportal_kubernetes import diagnose, logs, manifests, metrics
from clawportal_kubernetes.checks import Checks
from clawportal_kubernetes.client import ApiError
from clawportal_kubernetes.cluster import WHOLE, Cluster
from clawportal_kubernetes.commands import Commands
from clawportal_kubernetes.helper_pods import HelperPods
from clawportal_kubernetes.instance_files import InstanceFiles
from clawportal_kubernetes.launcher import Launcher
from clawportal_kubernetes.objects import Objects
from clawportal_kubernetes.ports import Ports
from clawportal_kubernetes.tenants import Tenants
from clawportal_kubernetes.terminator import Terminator

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_kubernetes.settings import KubernetesSettings


class KubernetesRuntime(Without):
    """See `contracts.runtimes.Runtime`, which says what each method does; the part that does it is named in its line."""

    title = _m("Kubernetes")
    capabilities = frozenset(
        {
            "images", "logs", "logs.previous", "metrics", "limits.memory", "limits.cpu", "limits.kernel", "volumes",
            "exec", "files", "files.change", "events", "restarts", "drift", "processes",
        }
    )  # fmt: skip

    def __init__(self, place: Place, settings: KubernetesSettings) -> None:
        self.cluster = Cluster(place.cluster_id, settings)
        self.meter = metrics.Meter(self.cluster.api, place.cluster_id)
        objects = Objects(self.cluster)
        tenants = Tenants(self.cluster, objects)
        self.commands = Commands(self.cluster)
        self.helpers = HelperPods(self.cluster, objects, self.commands)
        self.checks = Checks(self.cluster, tenants, objects, self.helpers, self.commands)
        self.ports = Ports(self.cluster)
        self.terminator = Terminator(self.cluster, objects=objects, helpers=self.helpers, checks=self.checks, ports=self.ports)
        self.launcher = Launcher(
            self.cluster,
            tenants=tenants,
            objects=objects,
            helpers=self.helpers,
            commands=self.commands,
            terminator=self.terminator,
        )
        self.files = InstanceFiles(self.cluster, self.helpers, self.commands)

    def close(self) -> None:
        """What runs goes on; only what this connection opened ends."""
        self.cluster.mirror.close()
        self.ports.close()
        self.helpers.close()
        self.cluster.close()

    # ---- what is there

    def inspect(self, ref: Ref) -> Observed:
        self.cluster.look(ref)
        return self.cluster.mirror.look(ref)

    def observe(self) -> list[Observed]:
        self.cluster.mirror.ready()
        return self.cluster.mirror.observe()

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        return self.cluster.mirror.watch(stop)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        owner, _ = self.cluster.look(ref)
        if owner is None:
            return []
        return [
            RuntimeEvent(one.at, "warning" if one.warning else "info", one.reason, one.message, one.count)
            for one in self.cluster.mirror.events_of(owner)
        ]

    def sample(self) -> list[Sample]:
        self.cluster.mirror.ready()
        with self.cluster.mirror.lock:
            pods = {
                (one.space, one.name): one
                for kept in self.cluster.mirror.pod_by.values()
                for one in kept.values()
                if one.phase == "Running"
            }
        with self.cluster.map_errors(WHOLE):
            return self.meter.sample(pods)

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        _, found = self.cluster.look(ref)
        if follow:
            yield from logs.Follow(self.cluster.api, lambda: self.cluster.pod(ref), tail=tail, since=since, stop=stop)
        elif found is not None:
            with self.cluster.map_errors(ref):
                yield from logs.read(self.cluster.api, found, tail=tail, since=since, previous=previous, stop=stop)

    # ---- its life

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        return manifests.layout(self.cluster.settings, ref, image)

    def prepared(self, artifact: Artifact) -> bool:
        return True  # nodes fetch images themselves

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        """Nothing to install in a cluster."""

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        self.checks.check(ref, workload, secrets)

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        return self.launcher.apply(ref, workload, secrets)

    def write_files(self, ref: Ref, workload: Workload) -> None:
        self.launcher.write_files(ref, workload)

    def stop(self, ref: Ref, grace: float) -> None:
        self.terminator.stop(ref, grace)

    def kill(self, ref: Ref) -> None:
        self.terminator.kill(ref)

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        self.terminator.remove(ref, keep_data=keep_data)

    # ---- commands, files and ports

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        return self.commands.start(ref, argv, tty=tty, columns=columns, rows=rows)

    def shell(self, ref: Ref) -> tuple[str, ...]:
        return ("/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        return self.files.entries(ref, root, path)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        return self.files.pull(ref, root, path)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        self.files.push(ref, root, path, chunks)

    def move_file(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        self.files.move(ref, root, path, target_root, target)

    def remove_file(self, ref: Ref, root: str, path: str) -> None:
        self.files.remove(ref, root, path)

    def find_files(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        return self.files.find(ref, root, path, text, limit)

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        return self.files.read(ref, root, path, limit)

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        return self.ports.address(ref, port)

    def port_free(self, port: int) -> bool:
        return True  # every pod has an address of its own

    # ---- the cluster

    def separation(self) -> Separation:
        return IN_CONTAINERS

    def diagnose(self) -> list[DoctorResult]:
        return diagnose.run(self.cluster.api, self.cluster.settings)

    def version(self) -> str:
        with self.cluster.map_errors(WHOLE):
            return f"Kubernetes {self.cluster.api.get('/version').get('gitVersion', '')}"

    def capacity(self) -> Capacity:
        with self.cluster.map_errors(WHOLE):
            nodes = self.cluster.api.items("/api/v1/nodes")
            try:
                used = self.cluster.api.items(f"{metrics.METRICS}/nodes")
            except ApiError:
                used = []
            told = metrics.totals(nodes, used)
        free = max(0.0, told["memory"] - told["memory_used"])
        return Capacity(told["cpu"], int(told["memory"]), int(free), int(told["disk"]), int(told["disk"]))
