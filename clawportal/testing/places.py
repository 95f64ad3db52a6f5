"""A runtime that runs nothing and a claw that says nothing: small real implementations whose character a test chooses."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from clawportal.adapter_helpers import change_by_paths, exit_verdict, json_file
from clawportal.contracts.adapters import AdapterIO, Change, ChatEvent, ExitVerdict, Health, HealthState, LogRecord, Version
from clawportal.contracts.runtimes import (
    Capacity,
    LogLine,
    Observed,
    Place,
    Progress,
    Ref,
    RunState,
    Runtime,
    Sample,
    Separation,
    UnmanagedWorkload,
)
from clawportal.contracts.specs import InstanceSpec
from clawportal.contracts.workloads import Artifact, Check, Context, Image, Layout, PortSpec, Probe, Process, Workload
from clawportal.errors import Conflict, FieldError, GiveUp, NotFound, Unavailable
from clawportal.runtime_helpers import IN_CONTAINERS, Without


@dataclass
class Character:
    """How a `MemoryRuntime` behaves; changed by tests at any time."""

    reachable: bool = True
    """Off: every call raises `Unavailable`."""
    blind: bool = False
    """On: it answers, but cannot tell what runs."""
    apply_seconds: float = 0.0
    apply_fails: Exception | None = None
    check_refuses: str = ""
    """The words with which a claw refuses its configuration; `{secrets}` stands for all secret values."""
    stubborn: bool = False
    """It ignores being asked to stop."""
    immortal: bool = False
    """Not even a kill ends it."""
    deaf: threading.Event | None = None
    """While it is there and not set, whoever asks to watch is not listening yet."""
    silent: bool = False
    """`watch` tells nothing."""
    hangs: threading.Event | None = None
    """While it is there and not set, every call waits for it: a place that takes questions and never answers."""
    answer_seconds: float = 0.0
    """How long every call takes."""
    lost: bool = False
    """On: the machine that everything runs on does not answer; the place itself does."""
    pending: str = ""
    """While it is there, what is applied waits for a machine, for this reason."""
    separation: Separation = IN_CONTAINERS
    drift: str = ""
    """What somebody changed by hand in everything that runs there, until it is applied again."""


class MemoryRuntime(Without):
    """Keeps workloads in memory; several portals may share one. See `clawportal.contracts.runtimes.Runtime`."""

    capabilities = frozenset({"logs", "metrics", "files", "artifacts"})

    def __init__(self, character: Character | None = None, *capabilities: str) -> None:
        self.character = character or Character()
        self.capabilities = MemoryRuntime.capabilities | frozenset(capabilities)
        self.order: list[str] = []
        """Instances in the order in which they were started."""
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self.lines: dict[str, list[str]] = {}
        """What each claw has said."""
        self.installed: set[str] = set()
        self.prepare_with: Callable[[Artifact, Progress], None] | None = None
        """What an install does; None installs at once."""
        self._there: dict[str, Observed] = {}
        self._changed: list[str] = []
        self._lock = threading.RLock()
        self._count = itertools.count(1)

    # ---- what a test does to it

    def exit(self, instance_id: str, code: int | None = 1, signal: int | None = None, reason: str = "") -> None:
        """The claw ends by itself."""
        with self._lock:
            seen = self._there[instance_id]
            self._there[instance_id] = replace(
                seen, state=RunState.EXITED, exit_code=code, exit_signal=signal, exited_at=datetime.now(UTC), reason=reason
            )
            self._changed.append(instance_id)

    def vanish(self, instance_id: str) -> None:
        """Somebody deletes the claw in its place."""
        with self._lock:
            del self._there[instance_id]
            self._changed.append(instance_id)

    def restart_in_place(self, instance_id: str, code: int | None = 1, reason: str = "") -> None:
        """The claw ended, and the place started it again by itself. Only with the capability `restarts`."""
        with self._lock:
            seen = self._there[instance_id]
            self._there[instance_id] = replace(
                seen, incarnation=f"start-{next(self._count)}", started_at=datetime.now(UTC), exit_code=code, reason=reason,
                restarts=seen.restarts + 1,
            )  # fmt: skip
            self._changed.append(instance_id)

    def running(self) -> list[str]:
        with self._lock:
            return [name for name, seen in self._there.items() if seen.state is RunState.RUNNING]

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.character.hangs is not None:
            self.character.hangs.wait()
        time.sleep(self.character.answer_seconds)
        if not self.character.reachable:
            raise Unavailable("nobody answers at this address")

    def separation(self) -> Separation:
        return self.character.separation

    # ---- software

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        base = f"/srv/{ref.instance_id}"
        names = {artifact.name: f"/srv/artifacts/{artifact.key}" for artifact in artifacts}
        return Layout(f"{base}/home", f"{base}/state", f"{base}/work", f"{base}/scratch", names)

    def prepared(self, artifact: Artifact) -> bool:
        return artifact.key in self.installed

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        self._called("prepare")
        if self.prepare_with:
            self.prepare_with(artifact, progress)
        self.installed.add(artifact.key)

    # ---- running

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        self._called("check")
        if self.character.check_refuses:
            words = self.character.check_refuses.format(secrets=" ".join(secrets.values()))
            raise GiveUp("ConfigRefused", f"The claw refuses this configuration: {words}", "Correct it.", (words,))

    def write_files(self, ref: Ref, workload: Workload) -> None:
        self._called("write_files")
        with self._lock:
            if ref.instance_id in self._there:
                self._there[ref.instance_id] = replace(self._there[ref.instance_id], digest=workload.digest())

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        self._called("apply")
        time.sleep(self.character.apply_seconds)
        if self.character.apply_fails:
            raise self.character.apply_fails
        with self._lock:
            seen = self._there.get(ref.instance_id)
            if seen is None or seen.state is not RunState.RUNNING:
                number = next(self._count)
                seen = Observed(ref, RunState.RUNNING, workload.digest(), f"start-{number}", datetime.now(UTC), pid=number)
                self._there[ref.instance_id] = seen
                self.order.append(ref.instance_id)
            elif self.character.drift:
                self.character.drift = ""
            return self._as_seen(seen)

    def _as_seen(self, seen: Observed) -> Observed:
        """With what the character does to everything that runs."""
        if seen.state is not RunState.RUNNING:
            return seen
        if self.character.lost:
            words = "The machine that it runs on does not answer."
            return replace(seen, state=RunState.UNKNOWN, reason="NodeLost", message=words, remedy="Bring it back, or kill it.")
        if self.character.pending:
            words = f"No machine has room: {self.character.pending}"
            return replace(seen, state=RunState.PENDING, reason=self.character.pending, message=words, remedy="Add a machine.")
        return replace(seen, drift=self.character.drift) if self.character.drift else seen

    def stop(self, ref: Ref, grace: float) -> None:
        self._called("stop")
        if not self.character.stubborn and not self.character.immortal:
            self._end(ref, None, 15)

    def kill(self, ref: Ref) -> None:
        self._called("kill")
        if not self.character.immortal:
            self._end(ref, None, 9)

    def _end(self, ref: Ref, code: int | None, signal: int) -> None:
        with self._lock:
            if ref.instance_id in self.running():
                self.exit(ref.instance_id, code, signal, "Stopped")

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        self._called("remove")
        with self._lock:
            self._there.pop(ref.instance_id, None)

    # ---- looking

    def inspect(self, ref: Ref) -> Observed:
        self._called("inspect")
        if self.character.blind:
            return Observed(ref, RunState.UNKNOWN, message="It cannot tell.")
        with self._lock:
            return self._as_seen(self._there.get(ref.instance_id, Observed(ref, RunState.ABSENT)))

    def observe(self) -> list[Observed]:
        self._called("observe")
        with self._lock:
            return [self._as_seen(seen) for seen in self._there.values()]

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        with self._lock:
            self._changed = []  # nobody has listened
        if self.character.deaf is not None:
            self.character.deaf.wait(30)
        yield None
        while not stop():
            time.sleep(0.02)
            with self._lock:
                names, self._changed = self._changed, []
                told = [self._there.get(name) or Observed(Ref(name), RunState.ABSENT) for name in names]
            yield from () if self.character.silent else told

    def sample(self) -> list[Sample]:
        self._called("sample")
        return [Sample(Ref(name), 1.0, 1_000_000, 1, datetime.now(UTC)) for name in self.running()]

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        for text in self.lines.get(ref.instance_id, [])[-(tail or 1000) :]:
            yield LogLine(datetime.now(UTC), "stdout", "main", text)

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        raise FileNotFoundError(path)

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def capacity(self) -> Capacity:
        return Capacity(1.0, 1, 1, 1, 1)

    def port_free(self, port: int) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class UnmanagedRun:
    """Something that somebody else runs in a `YardRuntime`; changed by tests at any time."""

    item: UnmanagedWorkload
    running: bool = True
    starts: int = 1
    healthy: bool | None = None
    exit_code: int = 0


class YardRuntime(MemoryRuntime):
    """Knows what others made as well: it can be listed, observed and, once adopted, started and ended as it is."""

    def __init__(self, *items: UnmanagedWorkload) -> None:
        super().__init__(None, "import")
        self.unmanaged_runs = {item.id: UnmanagedRun(item) for item in items}
        self._recognised: list[Ref] = []

    def unmanaged(self, name: str = "") -> list[UnmanagedWorkload]:
        self._called("unmanaged")
        found = [one.item for one in self.unmanaged_runs.values()]
        if not name:
            return found
        if named := [item for item in found if name in (item.id, item.name)]:
            return named
        raise NotFound(f"There is no container {name!r}.")

    def recognise(self, refs: Iterable[Ref]) -> None:
        self._recognised = list(refs)

    def observe(self) -> list[Observed]:
        seen = [self.inspect(ref) for ref in self._recognised]
        return [*super().observe(), *(one for one in seen if one.state is not RunState.ABSENT)]

    def inspect(self, ref: Ref) -> Observed:
        if not ref.unmanaged_id:
            return super().inspect(ref)
        self._called("inspect")
        one = self.unmanaged_runs.get(ref.unmanaged_id)
        if one is None:
            return Observed(ref, RunState.ABSENT)
        seen = Observed(ref, RunState.RUNNING, incarnation=f"run-{one.starts}", started_at=datetime.now(UTC), healthy=one.healthy)
        return seen if one.running else replace(seen, state=RunState.EXITED, exit_code=one.exit_code, healthy=None)

    def _mine(self, ref: Ref) -> UnmanagedRun | None:
        if ref.read_only:
            raise Conflict(f"{ref} is only observed.")
        return self.unmanaged_runs.get(ref.unmanaged_id)

    def resume(self, ref: Ref) -> Observed:
        self._called("resume")
        one = self._mine(ref)
        if one is None:
            raise GiveUp("Gone", "It is gone.", "Forget it.")
        if not one.running:
            one.running, one.starts = True, one.starts + 1
        return self.inspect(ref)

    def stop(self, ref: Ref, grace: float) -> None:
        if one := self._mine(ref):
            self._called("stop")
            one.running = False
        else:
            super().stop(ref, grace)

    def kill(self, ref: Ref) -> None:
        if one := self._mine(ref):
            self._called("kill")
            one.running = False
        else:
            super().kill(ref)

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        self._mine(ref)
        super().remove(ref, keep_data=keep_data)
        self.unmanaged_runs.pop(ref.unmanaged_id, None)


class _NoSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class MemoryDriver:
    """Brings one `MemoryRuntime`, the same for whoever connects."""

    runtime: Runtime = field(default_factory=MemoryRuntime)
    kind: str = "memory"
    title: str = "Memory"

    def settings_model(self) -> type[BaseModel]:
        return _NoSettings

    def connect(self, place: Place) -> Runtime:
        return self.runtime


class QuietSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    word: str = Field("", title="Word", description="Stands in its file; a change is noticed while it runs.")
    cold: str = Field("", title="Cold word", description="Stands in its file; read only at the start.")
    password: str = Field("", title="Password", description="A secret.", json_schema_extra={"x-secret": True})


@dataclass
class QuietAdapter:
    """A claw of one process without ports. What it says of its health, and what has to be installed, a test chooses."""

    kind: str = "quiet"
    title: str = "Quiet"
    description: str = "Says nothing."
    capabilities: frozenset[str] = frozenset({"check", "hot-config"})
    suggested_memory: str = "64Mi"
    startup_seconds: float = 30.0
    answer: Health | Exception = field(default_factory=lambda: Health(HealthState.HEALTHY, "Answering", "It answers."))
    needs: tuple[Artifact, ...] = ()
    argv: tuple[str, ...] = ("sleep", "600")
    secret: str = ""
    """Name of a generated secret that it wants in its environment."""
    verdict: ExitVerdict | None = None
    stop_grace: float = 5.0

    def versions(self) -> tuple[Version, ...]:
        return (Version("1.0", default=True),)

    def settings_model(self, version: str) -> type[BaseModel]:
        return QuietSettings

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        return self.needs

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        return ()

    def image(self, version: str) -> Image | None:
        return Image("quiet:1.0")

    def probe(self, version: str) -> Probe | None:
        return None

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        return (self.secret,) if self.secret else ()

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        return []

    def plan(self, context: Context) -> Workload:
        environment = {name.upper(): name for name in context.secrets}
        return Workload(
            files=(json_file("quiet.json", context.settings.model_dump()),),
            processes=(Process("main", self.argv, secret_env=environment),),
            check=Check(("true",), secret_env=environment),
            artifacts=self.needs,
            stop_grace=self.stop_grace,
        )

    def health(self, io: AdapterIO, context: Context) -> Health:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        yield ChatEvent("final", "")

    def parse_log(self, line: str) -> LogRecord:
        return LogRecord("", line)

    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        return self.verdict or exit_verdict(code, signal, lines)

    def change(self, old: Workload, new: Workload) -> Change:
        return change_by_paths(old, new, hot=lambda name: name == "quiet.json:word")


def healthy(on: bool = True) -> Any:
    """Two answers that tests use most."""
    if on:
        return Health(HealthState.HEALTHY, "Answering", "It answers.")
    return Health(HealthState.UNHEALTHY, "NotAnswering", "It does not answer.")
