"""The contract of an adapter, which knows one kind of claw: pure description, and how to talk to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from clawportal.bounded import parse_json
from clawportal.contracts.providers import DIALECTS
from clawportal.contracts.specs import InstanceSpec
from clawportal.contracts.workloads import Artifact, Context, Image, PortSpec, Probe, Workload
from clawportal.errors import FieldError
from clawportal.messages import _n


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
    cost_usd: float | None = None
    """US dollars; None where the claw does not tell."""


@dataclass(frozen=True)
class ToolUse:
    """A claw uses a tool: told when it begins, and again with the same `id` when it is over."""

    id: str
    name: str
    state: Literal["begun", "done", "failed"] = "begun"
    input: str = ""
    """What the tool was given, such as JSON."""
    output: str = ""
    """What it answered, or why it failed."""


@dataclass(frozen=True)
class ChatEvent:
    """A piece of an answer. `final` carries the whole text and ends the turn; so does `error`.

    `thinking` and `tool` tell how the claw comes to its answer and are no part of that; a claw need not tell them.
    """

    kind: Literal["delta", "final", "error", "usage", "thinking", "tool"]
    text: str = ""
    usage: Usage | None = None
    remedy: str = ""
    """With `error`: what the person can do about it."""
    tool: ToolUse | None = None


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

    def run(self, argv: Sequence[str], timeout: float) -> tuple[int, bytes]:
        """Run a command in the surroundings of the claw: exit code and standard output. `Unsupported` where its place cannot."""

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


ADAPTER_CAPABILITIES = (
    _n("model"), _n("model-query"), _n("chat"), _n("persona"), _n("check"), _n("hot-config"),
    _n("attachments"),
)  # fmt: skip
"""What an adapter may say of itself in `capabilities`."""


class Adapter(Protocol):
    """Knows one kind of claw. Pure but for `health` and `chat`, which talk to a running instance through `io`."""

    kind: str
    """Lower-case word, unique: `nanobot`."""
    title: str
    description: str
    capabilities: frozenset[str]
    """Of `model` (needs a language model), `model-query` (sends the query of the model's address), `chat`, `persona`, `check`,
    `hot-config`, `attachments` (a claw that is told paths in its work folder reads these files)."""
    suggested_memory: str
    """Kubernetes quantity."""
    startup_seconds: float
    """How long a start may take before it counts as failed."""

    def versions(self) -> tuple[Version, ...]: ...
    def settings_model(self, version: str) -> type[BaseModel]:
        """Pydantic model of what only this claw knows. Hints for the form go in `json_schema_extra`:
        `x-secret` (stored encrypted, never in the spec), `x-widget`, `x-group`, `x-advanced`, `x-placeholder`, and
        `x-safe`: the harmless values of a setting by which the claw can run commands or leave its work tree. Any other value
        needs the right `instance.console`. `x-unique`: why two claws must not have the same value, as a sentence, such as for
        the key of a bot, whose messages go to one of them only."""

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
class SpeaksDialects(Protocol):
    """What an adapter has besides whose claw cannot speak to every model; without it the claw speaks all dialects."""

    model_dialects: frozenset[str]
    """Of `clawportal.contracts.providers.DIALECTS`."""


def dialects_of(adapter: Adapter) -> frozenset[str]:
    return adapter.model_dialects if isinstance(adapter, SpeaksDialects) else frozenset(DIALECTS)


@runtime_checkable
class Yields(Protocol):
    """What an adapter has besides that nobody wrote for this portal alone: another plugin's of the same kind goes before."""

    yields: bool


@runtime_checkable
class TakesUpLater(Protocol):
    """What an adapter has besides whose claw reads a changed file some time after it was written.

    Without it a claw is taken to read its files whenever it needs them.
    """

    def has_read(self, io: AdapterIO, workload: Workload, written: timedelta) -> bool:
        """Whether the running claw works by the files of `workload`, which were written so long ago.

        Asked again and again until it says so; `OSError` and `Unavailable` count as no.
        """


@runtime_checkable
class HandsOver(Protocol):
    """What an adapter has besides whose page asks for a credential that is made beside the claw, never by it."""

    handover_paths: tuple[str, ...]
    """Paths that the portal answers in the claw's place, for whoever may open the page."""

    def handover(self, io: AdapterIO, context: Context, port: str, path: str) -> HttpAnswer:
        """JSON for the page. May take as long as the page waits; `OSError` and `Unavailable` are told as 503."""

    def fragment(self, told: HttpAnswer, origin: str) -> str:
        """The same for the address of the page, behind its #, where the page asks for it over TLS only. `origin`: of the page."""
