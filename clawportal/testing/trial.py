"""Runs one planned claw for real on any runtime, for tests: install, check, start, wait, chat, stop, and always clean up."""

from __future__ import annotations

import contextlib
import secrets as random_bytes
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from clawportal.contracts.adapters import Adapter, ChatEvent, Health, HealthState
from clawportal.contracts.runtimes import Observed, Ref, RunState, Runtime
from clawportal.contracts.workloads import Context, Model, Workload
from clawportal.errors import Retry
from clawportal.testing.fakes import LoopbackIO, free_ports, make_context


class ClawFailed(AssertionError):
    """The claw ended, or did not get well in time; the message has its last words."""


class Trial:
    """One instance of `adapter` on `runtime`. As a context manager it leaves no process and no file behind."""

    def __init__(
        self,
        runtime: Runtime,
        adapter: Adapter,
        *,
        spec: Mapping[str, Any] | None = None,
        model: Model | None = None,
        secrets: Mapping[str, str] | None = None,
        version: str = "",
    ) -> None:
        self.runtime, self.adapter = runtime, adapter
        self.version = version or next(known.version for known in adapter.versions() if known.default)
        self.ref = Ref(f"trial-{random_bytes.token_hex(4)}", "trial", "acme")
        generated = {name: random_bytes.token_urlsafe(24) for name in adapter.generated_secrets(self.version)}
        self.secrets = {**generated, **(secrets or {})}
        self.ports = free_ports(port.name for port in adapter.ports(self.version))
        self.model = model
        self.context: Context
        self.workload: Workload
        self.plan(spec or {})

    def plan(self, spec: Mapping[str, Any]) -> Workload:
        """Plan anew with another spec; nothing is applied."""
        layout = self.runtime.layout(self.ref, self.adapter.artifacts(self.version))
        self.context = make_context(
            self.adapter, version=self.version, spec=spec, secrets=self.secrets, ports=self.ports, layout=layout, model=self.model
        )
        self.workload = self.adapter.plan(self.context)
        return self.workload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.runtime.kill(self.ref)
        self.wait_ended(15)
        self.runtime.remove(self.ref, keep_data=False)

    @property
    def io(self) -> LoopbackIO:
        return LoopbackIO(self.ports, self.secrets, lines=self.lines)

    def install(self) -> None:
        for artifact in self.adapter.artifacts(self.version):
            self.runtime.prepare(artifact, lambda fraction, words: None)

    def check(self, workload: Workload | None = None) -> None:
        self.runtime.check(self.ref, workload or self.workload, self.secrets)

    def start(self) -> float:
        """Apply and wait until it is healthy. Returns the seconds that this took."""
        begun = time.monotonic()
        self._apply(attempts=30)
        self.wait_healthy()
        return time.monotonic() - begun

    def _apply(self, attempts: int) -> None:
        """Core would come again after a Retry, so this does too."""
        for left in reversed(range(attempts)):
            try:
                self.runtime.apply(self.ref, self.workload, self.secrets)
                return
            except Retry:
                if not left:
                    raise
                time.sleep(0.2)

    def wait_healthy(self) -> None:
        until = time.monotonic() + self.adapter.startup_seconds
        while (health := self.health()).state is not HealthState.HEALTHY:
            seen = self.runtime.inspect(self.ref)
            if seen.state is not RunState.RUNNING:
                raise ClawFailed(f"it ended with code {seen.exit_code}, signal {seen.exit_signal}:\n{self.last_words()}")
            if time.monotonic() > until:
                raise ClawFailed(f"not healthy in time: {health}\n{self.last_words()}")
            time.sleep(0.1)

    def health(self) -> Health:
        return self.adapter.health(self.io, self.context)

    def chat(self, session: str, text: str) -> Iterator[ChatEvent]:
        return self.adapter.chat(self.io, self.context, session, text)

    def lines(self) -> list[str]:
        return [line.text for line in self.runtime.logs(self.ref, tail=200) if line is not None]

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.lines()[-30:])
        return ""

    def wait_ended(self, seconds: float) -> Observed:
        """Wait for its end, whoever asked for it."""
        until = time.monotonic() + seconds
        while (seen := self.runtime.inspect(self.ref)).state is RunState.RUNNING:
            if time.monotonic() > until:
                raise ClawFailed(f"it still runs after {seconds:g} s:\n{self.last_words()}")
            time.sleep(0.05)
        return seen

    def stop(self) -> Observed:
        """Ask it to end with the grace that its plan gives."""
        self.runtime.stop(self.ref, self.workload.stop_grace)
        return self.wait_ended(self.workload.stop_grace + 15)


def text_of(events: Iterable[ChatEvent]) -> str:
    """The final text of a turn; ClawFailed when it ended in an error."""
    final = list(events)[-1]
    if final.kind != "final":
        raise ClawFailed(f"the turn ended with {final.kind}: {final.text}")
    return final.text
