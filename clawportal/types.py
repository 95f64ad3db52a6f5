"""The words that core, adapters and runtimes share: plain immutable data and the two protocols.

An adapter describes a kind of claw and never touches the world; a runtime runs what was described and never knows what a
claw is. Everything that passes between them is defined here, so that a third-party plugin needs this module and no other.

Units: seconds as float, sizes in bytes as int, CPU in cores as float, times as timezone-aware UTC datetimes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, field_validator

from clawportal.bounded import parse_json
from clawportal.errors import FieldError

# --------------------------------------------------------------------------------------------------------------------
# What people ask for


class Strict(BaseModel):
    """Base of every document that people send: an unknown field is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_FACTORS: dict[str, Decimal] = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000), "M": Decimal(1000) ** 2, "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4, "Ki": Decimal(1024), "Mi": Decimal(1024) ** 2, "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
}  # fmt: skip


def parse_quantity(text: str) -> Decimal:
    """Read a Kubernetes quantity (`500m`, `2Gi`, `1.5`) exactly. ValueError says what is accepted."""
    found = _QUANTITY.match(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a quantity; write for example 500m, 2 or 512Mi")
    return Decimal(found[1]) * _FACTORS[found[2] or ""]


class ModelChoice(Strict):
    """Which language model the claw talks to."""

    provider: Literal["practice", "openai-compatible", "openai", "anthropic"] = Field(
        "practice",
        title="Provider",
        description="Practice answers without provider or key. Choose OpenAI-compatible for vLLM, Ollama, LiteLLM and others.",
    )
    base_url: str = Field(
        "",
        title="Base URL",
        description="Address of the API, including /v1. Needed for OpenAI-compatible; others have a default.",
        json_schema_extra={"x-placeholder": "http://llm.example.internal/v1"},
        max_length=500,
    )
    name: str = Field(
        "",
        title="Model",
        description="Name of the model as the provider spells it.",
        json_schema_extra={"x-placeholder": "gpt-5-mini"},
        max_length=200,
    )

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not re.match(r"^https?://[^\s/]+", value):
            raise ValueError("must start with http:// or https:// and name a host")
        return value.rstrip("/")


class Resources(Strict):
    """Upper limits for the whole process tree of the instance."""

    memory: str = Field("", title="Memory limit", description="For example 512Mi or 2Gi. Empty: the adapter's suggestion.")
    cpu: str = Field("", title="CPU limit", description="For example 500m or 2. Empty: no limit.")
    storage: str = Field(
        "",
        title="Storage",
        description="Size of its data, such as 5Gi. Where volumes have a size it is that of the volume; elsewhere its files are "
        "measured: it is told when they take more, and stopped at 110 percent. Empty: no limit.",
    )

    @field_validator("memory", "cpu", "storage")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and parse_quantity(value) <= 0:
            raise ValueError("must be greater than zero")
        return value


class InstanceSpec(Strict):
    """The claw-neutral description of what is wanted. Secrets never stand in here: they are stored apart, encrypted."""

    model: ModelChoice = Field(default_factory=lambda: ModelChoice.model_validate({}), title="Model")
    persona: str = Field(
        "",
        title="Persona",
        description="Who the claw is and how it should behave, in Markdown. Empty keeps the claw's own.",
        max_length=50_000,
        json_schema_extra={"x-widget": "textarea"},
    )
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}), title="Resources")
    restart: Literal["always", "on-failure", "never"] = Field(
        "always", title="Restart policy", description="What to do when the claw exits by itself."
    )
    priority: Literal["low", "normal", "high"] = Field(
        "normal",
        title="Priority of starting",
        description="Who is started first when many have to start, such as after an outage.",
    )
    expose: bool = Field(
        False,
        title="Reachable from the network",
        description="Off: its ports listen on this machine only. On: they listen on all addresses.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, title="Settings", description="What only this kind of claw knows; see its JSON Schema."
    )


# --------------------------------------------------------------------------------------------------------------------
# What an adapter says about a claw


@dataclass(frozen=True)
class Artifact:
    """Software that is installed once per machine and shared by all instances that name it."""

    name: str
    """Short name, unique for its content together with `version`: `nanobot`, `node`."""
    version: str
    kind: Literal["pip", "node", "npm", "image"]
    """`pip`: a virtual environment. `node`: Node.js out of a PyPI wheel. `npm`: an npm prefix; needs a `node` artifact.
    `image`: a container image, made by the core for runtimes with `images.pull`; `packages` holds its reference alone."""
    packages: tuple[str, ...] = ()
    """Exact requirements in the installer's own syntax: `nanobot-ai==0.3.5`, `openclaw@2026.9.6`."""
    needs: tuple[str, ...] = ()
    """Names of artifacts that have to be installed before."""
    expected_packages: int = 0
    """About how many packages arrive; only the progress bar uses it."""
    expected_bytes: int = 0
    """About how much disk it takes; checked against free space before the install starts."""
    check: tuple[str, ...] = ()
    """Command, relative to the artifact's folder, that must exit 0 before the install counts: `("bin/nanobot", "--version")`."""

    @property
    def key(self) -> str:
        """Folder name: readable, and different whenever the content is different."""
        raw = json.dumps([self.kind, self.packages, self.needs], sort_keys=True).encode()
        return f"{self.name}-{self.version}-{hashlib.sha256(raw).hexdigest()[:8]}"


@dataclass(frozen=True)
class Image:
    """A container image that holds a claw's software. Places that run images need no artifacts."""

    reference: str
    """`registry/name:tag`, or without registry; a cluster may map it to a mirror or to an image of its own."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Folder inside the image of each artifact by its name: what `Layout.artifacts` says there."""
    uid: int = 1000
    gid: int = 1000
    """The user that the claw runs as; its folders belong to this user. Never 0."""
    read_only_root: bool = True
    """Whether the claw writes only to its own folders and to its temporary one."""


@dataclass(frozen=True)
class Probe:
    """How a place that probes by itself asks whether the claw is up. HTTP GET of `path`, or, without path, a TCP connection."""

    port: str
    """Name of the port."""
    path: str = ""


@dataclass(frozen=True)
class Layout:
    """Where things are, as the processes of the instance see it. Absolute paths; the runtime decides them."""

    home: str
    """HOME; private to the instance."""
    state: str
    """Configuration and state of the claw; kept over stop and restart."""
    work: str
    """Working tree of the agent; kept over stop and restart."""
    tmp: str
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Folder of each installed artifact by its name."""


@dataclass(frozen=True)
class Model:
    """A model as the instance reaches it: `ModelChoice` after the portal filled in addresses."""

    provider: str
    base_url: str
    name: str
    api: Literal["openai", "anthropic"] = "openai"
    key_secret: str = "model_api_key"
    """Name of the secret that holds the API key."""


@dataclass(frozen=True)
class Context:
    """All that an adapter may know when it plans one instance."""

    instance_id: str
    name: str
    tenant: str
    version: str
    spec: InstanceSpec
    settings: BaseModel
    """`spec.settings` validated by the adapter's own model."""
    layout: Layout
    ports: Mapping[str, int]
    """Number of each port that `Adapter.ports` names."""
    bind_host: str
    """`127.0.0.1`, or `0.0.0.0` when the instance may be reached from other machines."""
    model: Model
    secrets: frozenset[str] = frozenset()
    """Names of the secrets that exist for this instance. Values never reach an adapter's plan."""


@dataclass(frozen=True)
class File:
    """One file that the instance needs."""

    path: str
    """Relative to `root`."""
    content: str
    root: Literal["home", "state", "work"] = "state"
    mode: int = 0o600
    policy: Literal["always", "seed_once"] = "always"
    """`always`: the portal owns it and writes it atomically. `seed_once`: only where it does not exist; the claw owns it then."""


@dataclass(frozen=True)
class Process:
    """One long-running process, started without a shell."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> name of the secret whose value it gets."""
    cwd: Literal["home", "state", "work"] = "work"


@dataclass(frozen=True)
class Check:
    """A command by which the claw itself judges a configuration before the running one is replaced.

    The runtime writes every file of root `state` into a scratch folder and puts its path wherever `{candidate}` stands.
    Exit code 0 accepts; anything else refuses, and the output is shown to the person.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0


@dataclass(frozen=True)
class PortSpec:
    """A port that the claw listens on."""

    name: str
    default: int
    """The claw's own default; used where ports are not shared, such as in a container."""
    title: str = ""
    protocol: Literal["http", "ws", "tcp"] = "http"


@dataclass(frozen=True)
class Workload:
    """What a runtime runs: files, processes and limits. Plain data without any secret value."""

    files: tuple[File, ...] = ()
    processes: tuple[Process, ...] = ()
    check: Check | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    memory_bytes: int | None = None
    cpu_cores: float | None = None
    stop_grace: float = 20.0
    """Seconds between SIGTERM and SIGKILL."""
    image: Image | None = None
    """Set by the core where the runtime runs images; `artifacts` is empty then."""
    probe: Probe | None = None
    """Set together with `image`."""
    startup_seconds: float | None = None
    """How long the start may take, for the start-up probe. Set together with `image`."""
    storage_bytes: int | None = None
    """Size of the data volume, for a runtime with `volumes`. None: the cluster's own default."""

    def digest(self) -> str:
        """Content hash: equal digests run the same thing. 16 hexadecimal digits."""
        told = asdict(self)
        for name in ("image", "probe", "startup_seconds", "storage_bytes"):
            if told[name] is None:  # as if there were no such field: digests of older versions stay what they are
                del told[name]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class HealthState(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    STARTING = "starting"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Health:
    """Is it well? `reason` is a CamelCase word, `message` a sentence for people."""

    state: HealthState
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens of one turn as the claw reported them."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""


@dataclass(frozen=True)
class ChatEvent:
    """A piece of an answer. `final` carries the whole text and ends the turn; so does `error`."""

    kind: Literal["delta", "final", "error", "usage"]
    text: str = ""
    usage: Usage | None = None
    remedy: str = ""
    """With `error`: what the person can do about it."""


@dataclass(frozen=True)
class LogRecord:
    """What an adapter reads out of one line of a claw's log."""

    level: Literal["debug", "info", "warning", "error", ""] = ""
    message: str = ""


@dataclass(frozen=True)
class ExitVerdict:
    """What an exit of the claw means."""

    reason: str
    message: str
    retry: bool = True
    """False: starting again cannot help until somebody changes something."""
    remedy: str = ""


@dataclass(frozen=True)
class Change:
    """What has to happen so that a running instance follows a new workload."""

    action: Literal["none", "hot", "restart"]
    """`hot`: writing the files is enough, the claw notices. `restart`: stop and start."""
    reason: str = ""


@dataclass(frozen=True)
class Version:
    """A version of a claw that an adapter can install."""

    version: str
    title: str = ""
    default: bool = False


class AdapterIO(Protocol):
    """The way from an adapter to a running instance. Calls raise `OSError` or `Unavailable` when it does not answer."""

    def address(self, port: str) -> tuple[str, int]:
        """Host and port by which the portal reaches a named port."""

    def secret(self, name: str) -> str:
        """Value of a secret; empty where there is none."""

    def get(self, port: str, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 2.0) -> HttpAnswer:
        """One HTTP GET; an error status is an answer, not an exception."""

    def read_file(self, root: str, path: str, limit: int = 1_000_000) -> bytes:
        """The first `limit` bytes of a file of the instance; FileNotFoundError where there is none."""

    def last_lines(self, count: int = 50) -> tuple[str, ...]:
        """The newest lines of its log, oldest first; empty where its place keeps none."""


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None where it is not JSON."""
        try:
            return parse_json(self.body)
        except ValueError:
            return None


class Adapter(Protocol):
    """Knows one kind of claw. Pure but for `health` and `chat`, which talk to a running instance through `io`."""

    kind: str
    """Lower-case word, unique: `nanobot`."""
    title: str
    description: str
    capabilities: frozenset[str]
    """Of `model` (needs a language model), `model-query` (sends the query of the model's address), `chat`, `persona`, `check`,
    `hot-config`."""
    suggested_memory: str
    """Kubernetes quantity."""
    startup_seconds: float
    """How long a start may take before it counts as failed."""

    def versions(self) -> tuple[Version, ...]: ...
    def settings_model(self, version: str) -> type[BaseModel]:
        """Pydantic model of what only this claw knows. Hints for the form go in `json_schema_extra`:
        `x-secret` (stored encrypted, never in the spec), `x-widget`, `x-group`, `x-advanced`, `x-placeholder`, and
        `x-safe`: the harmless values of a setting by which the claw can run commands or leave its work tree. Any other value
        needs the right `instance.console`."""

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        """In the order of installation; empty where nothing has to be installed."""

    def ports(self, version: str) -> tuple[PortSpec, ...]: ...
    def image(self, version: str) -> Image | None:
        """The image for places that run images; None where there is none, and the claw then cannot run there."""

    def probe(self, version: str) -> Probe | None:
        """What a place that probes by itself should ask; None leaves it to `health`."""

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        """Names of secrets that the portal makes up and keeps, such as the claw's own access token."""

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        """Offline check beyond types, with paths into the spec; secrets have the path `secrets.NAME`."""

    def plan(self, context: Context) -> Workload: ...
    def health(self, io: AdapterIO, context: Context) -> Health: ...
    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]: ...
    def parse_log(self, line: str) -> LogRecord: ...
    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        """What it means that the claw exited by itself; `lines` are its last words, oldest first."""

    def change(self, old: Workload, new: Workload) -> Change: ...


@runtime_checkable
class TakesUpLater(Protocol):
    """What an adapter has besides whose claw reads a changed file some time after it was written.

    Without it a claw is taken to read its files whenever it needs them.
    """

    def has_read(self, io: AdapterIO, workload: Workload, written: timedelta) -> bool:
        """Whether the running claw works by the files of `workload`, which were written so long ago.

        Asked again and again until it says so; `OSError` and `Unavailable` count as no.
        """


# --------------------------------------------------------------------------------------------------------------------
# What a runtime does


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
    foreign: str = field(default="", compare=False)
    """`Foreign.id` where somebody else made what this instance is; the place then knows it by that alone."""
    read_only: bool = field(default=False, compare=False)
    """Only observed: whatever would change it is refused with Conflict."""

    def __str__(self) -> str:
        return f"{self.name or 'instance'} ({self.instance_id})"


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


@dataclass(frozen=True)
class Foreign:
    """Something that runs in the place, or ran there, and that no portal made."""

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
    """Words of `clawportal.runtimes.CAPABILITIES`, which says what each means; exactly one of `artifacts` and `images`.
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
        root are refused with GiveUp `UnsafePath`, and nothing outside is touched. Never the whole stream in memory."""

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        """What the place says about the instance, oldest first (capability `events`)."""

    def diagnose(self) -> list[DoctorResult]:
        """The connection test: each thing that the portal needs in this place, whether it is there, and what to do if not.
        Changes nothing that stays. An unreachable place is a finding, not an exception."""

    def separation(self) -> Separation:
        """What stands between claws, and between a claw and the portal. Measured once for a connection; cheap after that."""

    def version(self) -> str:
        """Of the place's software, such as `Kubernetes v1.36.1`; empty where there is none."""

    def foreign(self, name: str = "") -> list[Foreign]:
        """What could be imported (capability `import`). With a name or id: that one alone, with all that is known of it."""

    def recognise(self, refs: Iterable[Ref]) -> None:
        """Foreign things that are instances now, all of them (capability `import`): `observe`, `watch` and `sample` tell of them
        as well. The other methods need only the `Ref`."""

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


@runtime_checkable
class FileStore(Protocol):
    """A place for whole files by key, such as uploads, exports and backups."""

    kind: str

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store and return the size in bytes; readers see the old file or the new one, never a part."""

    def open(self, key: str) -> Iterator[bytes]: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str = "") -> Iterator[str]: ...


@dataclass(frozen=True)
class DoctorResult:
    """One finding of `clawportal doctor`."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class MenuLink:
    title: str
    href: str
    icon: str = "puzzle"
