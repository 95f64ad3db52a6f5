"""The contract of a runtime, which runs workloads and does not know what a claw is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.workloads import Artifact, Image, Layout, Workload


@dataclass(frozen=True)
class TenantLimits:
    """The quota of a tenant; None is no limit."""

    instances: int | None = None
    cpu_cores: float | None = None
    memory_bytes: int | None = None
    storage_bytes: int | None = None


@dataclass(frozen=True)
class Ref:
    """Names one workload to a runtime."""

    instance_id: str
    name: str = ""
    tenant: str = ""
    """Id of the tenant; for what belongs together and is kept apart from others."""
    tenant_name: str = ""
    """What people call the tenant in names; may change, so that a runtime finds its things by `tenant`."""
    limits: TenantLimits | None = field(default=None, compare=False)
    """What all instances of the tenant together may use, for a place that can hold them to it."""
    unmanaged_id: str = field(default="", compare=False)
    """`UnmanagedWorkload.id` where somebody else made what this instance is; the place then knows it by that alone."""
    read_only: bool = field(default=False, compare=False)
    """Only observed: whatever would change it is refused with Conflict."""

    def __str__(self) -> str:
        return f"{self.name or 'instance'} ({self.instance_id})"


GONE = "Gone"
"""Reason of a `GiveUp`, and of an instance: what somebody else made no longer exists in its place."""


class RunState(StrEnum):
    PENDING = "pending"
    """The place has taken it on, but it does not run yet: its image is fetched, or it waits for a machine; see `reason`."""
    RUNNING = "running"
    EXITED = "exited"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Observed:
    """What is there, as the runtime sees it now."""

    ref: Ref
    state: RunState
    digest: str = ""
    """`Workload.digest()` of what was applied last."""
    incarnation: str = ""
    """Different for each start; equal as long as it is the same running thing."""
    started_at: datetime | None = None
    exited_at: datetime | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    reason: str = ""
    """Such as `OutOfMemory`, where the runtime knows why it ended, or why it does not run yet."""
    message: str = ""
    remedy: str = ""
    """What a person can do about `reason`."""
    restarts: int = 0
    """How often the place itself started it again since it was applied."""
    drift: str = ""
    """What differs from what was applied, where somebody else changed it. Empty: nothing, or the runtime cannot tell."""
    node: str = ""
    """Name of the machine it runs on, where there are several."""
    pid: int | None = None
    healthy: bool | None = None
    """What a check of the place's own says, of something that the portal did not make. None: there is none, or not yet."""


@dataclass(frozen=True)
class Sample:
    """Resources of the whole process tree at one moment."""

    ref: Ref
    cpu_seconds: float
    """Used since the start; ever growing."""
    memory_bytes: int
    processes: int
    at: datetime
    disk_bytes: int | None = None
    """What its folders or volumes hold; None where that is not measured."""


@dataclass(frozen=True)
class RuntimeEvent:
    """What the place itself says about an instance."""

    at: datetime
    level: Literal["info", "warning"]
    reason: str
    message: str
    count: int = 1


@dataclass(frozen=True)
class FileEntry:
    """One entry of a folder of an instance."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int
    modified: datetime
    mode: int = 0o600


class NoFolderYet(FileNotFoundError):
    """The instance has no folders at all, as it never ran there; its message says so to people."""


class FoundFiles(list[FileEntry]):
    """What a search found."""

    def __init__(self, entries: Iterable[FileEntry] = (), *, cut: bool = False) -> None:
        super().__init__(entries)
        self.cut = cut
        """Whether it ended before all was looked at, so that there may be more."""


OWN_FOLDER = ".clawportal"
"""The portal's folder in `home`: what people deleted, among others. No search finds what is in it."""


@dataclass(frozen=True)
class UnmanagedWorkload:
    """Something in the place, running or ended, that no portal made."""

    id: str
    """By which the runtime finds it again; the same for nothing else anywhere, such as the id of a container."""
    name: str
    image: str
    state: RunState
    created_at: datetime | None = None
    adapter: str = ""
    """The kind of claw that the runtime takes it for; empty where it cannot tell, and the core guesses by its words."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What people need to see, without secrets: `command`, `labels`, `mounts`, and whatever else there is. The core understands
    `ports` (numbers), `memory_bytes`, `cpu_cores` and `restart` (`always`, `on-failure` or `never`)."""


class ExecSession(Protocol):
    """A command inside a running instance. Used by one thread at a time, but for `close`."""

    def send(self, data: bytes) -> None:
        """To its standard input. OSError when it has ended."""

    def close_input(self) -> None: ...
    def resize(self, columns: int, rows: int) -> None:
        """Of its terminal; nothing happens without one."""

    def receive(self, timeout: float) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """The next output, None when there was none within `timeout` seconds. EOFError when it has ended and all was read."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + signal when a signal ended it."""

    def close(self) -> None:
        """End it if it still runs, and let go of everything. May be called twice and from another thread."""


@dataclass(frozen=True)
class LogLine:
    at: datetime
    stream: Literal["stdout", "stderr", "portal"]
    """`portal` for what the runtime itself has to say, such as lines that were dropped."""
    source: str
    """Name of the process."""
    text: str


@dataclass(frozen=True)
class Capacity:
    cpu_cores: float
    memory_bytes: int
    memory_available: int
    disk_bytes: int
    disk_available: int


class SeparationLevel(StrEnum):
    """What keeps a claw to itself, the strongest first."""

    CONTAINER = "container"
    """The place itself runs each claw in a container of its own."""
    USER = "user+landlock"
    """A user of its own for each claw, and rules of the kernel about files, ports and signals."""
    NAMESPACE = "namespace+landlock"
    """The portal's user in user and mount namespaces of its own, and the same rules."""
    SECCOMP = "landlock+seccomp"
    """The portal's user under the same rules, without any local socket."""
    NONE = "none"
    """A claw reaches what the portal's user reaches. Only for people who trust each other with the portal itself."""


@dataclass(frozen=True)
class Separation:
    """What a place proves about the wall around its claws."""

    level: SeparationLevel
    findings: tuple[DoctorResult, ...] = ()
    """What was tried, and why the level is not a higher one. Where the level is `none`, at least one is not `ok`."""


Progress = Callable[[float | None, str], None]
"""Called with a fraction (0..1, None for unknown) and a sentence. Raises `Cancelled` when the work has to end."""


class Runtime(Protocol):
    """One connection to one place. Every method may be called twice; none needs the portal to have been alive in between."""

    capabilities: frozenset[str]
    """Words of `clawportal.runtime_helpers.CAPABILITIES`, which says what each means; exactly one of `artifacts` and `images`.
    The same for the life of a connection."""

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout: ...
    def prepared(self, artifact: Artifact) -> bool: ...
    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        """Install; returns when it is usable. GiveUp or Retry say why not, and leave nothing behind that looks usable."""

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        """Run `workload.check` against a candidate. GiveUp carries the claw's own words."""

    def write_files(self, ref: Ref, workload: Workload) -> None:
        """Bring only the files up to date; the running processes stay."""

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        """Write the files and see that exactly this workload runs. No-op when it does already."""

    def stop(self, ref: Ref, grace: float) -> None:
        """Ask it to end, and see that it ends after `grace` seconds; returns at once."""

    def kill(self, ref: Ref) -> None:
        """End the whole process tree now."""

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        """Take away what `apply` made; only for what does not run."""

    def inspect(self, ref: Ref) -> Observed: ...
    def observe(self) -> list[Observed]:
        """Everything of this portal in this place, in one go."""

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        """Changes as they happen, until `stop()`; may miss some, `observe` is the truth.

        None as soon as it listens, and again after each gap: what changed before that only `observe` tells, so that it is asked
        then.
        """

    def sample(self) -> list[Sample]: ...
    def logs(
        self,
        ref: Ref,
        *,
        tail: int | None = None,
        since: datetime | None = None,
        follow: bool = False,
        previous: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:
        """Oldest first. With `follow`, None comes at least once a second while there is nothing new.
        With `previous`, the lines of the run before the present one; never together with `follow`."""

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        """Run a command in the surroundings of the running claw (capability `exec`). Conflict when it does not run,
        GiveUp `CommandNotFound` when there is no such program. Secrets of the claw are in its environment, as for the claw."""

    def shell(self, ref: Ref) -> tuple[str, ...]:
        """The command of an interactive shell in the instance, for the console."""

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        """Entries of a folder, sorted by name (capability `files`). Symbolic links are told, never followed out of the root.
        FileNotFoundError where there is none; paths that lead out are refused with PermissionError or GiveUp."""

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        """A file or folder as a tar stream (capability `files`), in pieces of at most 1 MiB. Names begin with the last part of
        `path`; those of a whole root are relative to it. FileNotFoundError where there is nothing."""

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        """Unpack a tar stream under the folder `path`, which is made if needed (capability `files`). Entries that lead out of the
        root are refused with GiveUp `UnsafePath`, and nothing outside is touched. Never the whole stream in memory.
        `NoFolderYet` before the first start, where folders come with it."""

    def move_file(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        """Rename a file, link or folder, at once and never over something: FileExistsError (capability `files.change`). Folders
        above the new name are made. FileNotFoundError where there is nothing; paths are refused as by `list_files`."""

    def remove_file(self, ref: Ref, root: str, path: str) -> None:
        """Delete a file, a link itself, or a folder with all in it (capability `files.change`); errors as above."""

    def find_files(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        """At most `limit` entries below a folder, at any depth, whose own name contains `text` in capital or small letters
        (capability `files.change`). `FileEntry.name` is the path in that folder. Links are told, never followed. `OWN_FOLDER`
        and what is in it is passed over; `FoundFiles.cut` says whether it ended early, be it by `limit` or by another bound."""

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        """What the place says about the instance, oldest first (capability `events`)."""

    def diagnose(self) -> list[DoctorResult]:
        """The connection test: each thing that the portal needs in this place, whether it is there, and what to do if not.
        Changes nothing that stays. An unreachable place is a finding, not an exception."""

    def separation(self) -> Separation:
        """What stands between claws, and between a claw and the portal. Measured once for a connection; cheap after that."""

    def version(self) -> str:
        """Of the place's software, such as `Kubernetes v1.36.1`; empty where there is none."""

    def unmanaged(self, name: str = "") -> list[UnmanagedWorkload]:
        """What could be imported (capability `import`). With a name or id: that one alone, with all that is known of it."""

    def recognise(self, refs: Iterable[Ref]) -> None:
        """The unmanaged workloads that are instances now, all of them (capability `import`): `observe`, `watch` and `sample` tell
        of them as well. The other methods need only the `Ref`."""

    def resume(self, ref: Ref) -> Observed:
        """Start what was adopted again, exactly as it is (capability `import`). No-op while it runs; GiveUp `Gone` when it is no
        longer there."""

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes: ...
    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        """Host and port by which the portal reaches a port of the instance."""

    def capacity(self) -> Capacity: ...
    def port_free(self, port: int) -> bool:
        """Whether nobody listens on it; only asked of a runtime with `allocated-ports`."""

    def close(self) -> None: ...


@runtime_checkable
class SendsSecrets(Protocol):
    """What settings may say besides: where their secrets are sent."""

    def secrets_go_to(self) -> dict[str, str]:
        """Name of each secret that goes to an address which the other settings name -> that address, as people know it.

        A stored secret is asked for again when this is another one, so that nobody can have it sent to themselves.
        """


@dataclass(frozen=True)
class Place:
    """What a runtime driver is given to connect: one configured cluster."""

    cluster_id: str
    name: str
    settings: Mapping[str, Any]
    """As the driver's model has it, without what is secret."""
    data_dir: str
    """A folder on the portal's machine that belongs to this cluster alone."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What installers may need from the portal's environment: proxies, certificates, package indexes."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Values of the settings that are marked `x-secret`, such as a kubeconfig."""
    private: tuple[str, ...] = ()
    """Files and folders of the portal that no claw may read, such as its data folder and its key ring."""


@runtime_checkable
class RuntimeDriver(Protocol):
    """A kind of place. Its module imports no client of that place before `connect` is called."""

    kind: str
    title: str

    def settings_model(self) -> type[BaseModel]:
        """Hints for the form as in `Adapter.settings_model`; fields with `x-secret` are sealed and come in `Place.secrets`."""

    def connect(self, place: Place) -> Runtime:
        """Must not wait for the place: a place that cannot be reached is found out by the first call. ValueError or Invalid for
        settings that can never work, with the name of the setting."""
