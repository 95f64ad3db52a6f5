"""What an adapter plans and a runtime runs: plain immutable data, and the context that an adapter plans from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from pydantic import BaseModel

from clawportal.contracts.providers import Dialect
from clawportal.contracts.specs import InstanceSpec


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
    api: Dialect = "openai"
    key_secret: str = "model_api_key"
    """Name of the secret that holds the API key."""
    fixed_sampling: bool = False
    """It refuses every temperature but its own."""
    key_version: str = ""
    """Of a key that several claws share; empty: the claw has one of its own, or none."""


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
class PortProof:
    """How the portal shows a port that it may come in, when it passes on what a browser asks. Browsers never see the secret."""

    secret: str
    """Name of the secret."""
    header: str
    """Header of each request that carries it, such as `Authorization`; what the browser sends under that name is left out."""
    prefix: str = ""
    """Before the value, such as `Bearer `."""
    paths: tuple[str, ...] = ("/",)
    """Beginnings of the paths that get it; others are passed on without."""


@dataclass(frozen=True)
class PortSpec:
    """A port that the claw listens on."""

    name: str
    default: int
    """The claw's own default; used where ports are not shared, such as in a container."""
    title: str = ""
    protocol: Literal["http", "ws", "tcp"] = "http"
    page: bool = False
    """Whether people find a page of the claw at it."""
    page_needs: str = ""
    """Name of the setting of the claw that has to be on for its page; empty: it is always there."""
    proof: PortProof | None = None
    named: Literal["own", "public"] = "own"
    """By which name a browser's request reaches it: its own address, as if the browser were on its machine; or the one that the
    browser asked for, with `X-Forwarded-For` and `X-Forwarded-Proto` of the portal alone."""


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
