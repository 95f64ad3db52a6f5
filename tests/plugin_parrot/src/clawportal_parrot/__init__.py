"""The parrot claw, and a little of everything that a plugin can add."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import click
from pydantic import BaseModel, ConfigDict, Field

from clawportal.sdk import hookimpl
from clawportal.sdk.adapters import (
    Adapter,
    AdapterIO,
    Artifact,
    Change,
    ChatEvent,
    Context,
    ExitVerdict,
    Health,
    HealthState,
    Image,
    InstanceSpec,
    LogRecord,
    PortSpec,
    Probe,
    Process,
    Version,
    Workload,
    change_by_paths,
    exit_verdict,
    json_file,
)
from clawportal.sdk.errors import FieldError, Forbidden
from clawportal.sdk.features import ADMISSION, Feature, InstanceChange, NavLink
from clawportal.sdk.runtimes import DoctorResult

heard: list[str] = []
"""Kinds of the events that came by."""

_PROGRAM = "while :; do date +%s > ../state/alive.new && mv ../state/alive.new ../state/alive; sleep 1; done"


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    word: str = Field("Polly", title="Word", description="What it says.", max_length=50)


class Parrot:
    kind = "parrot"
    title = "Parrot"
    description = "Says that it is alive."
    capabilities: frozenset[str] = frozenset()
    suggested_memory = "32Mi"
    startup_seconds = 10.0

    def versions(self) -> tuple[Version, ...]:
        return (Version("1", default=True),)

    def settings_model(self, version: str) -> type[BaseModel]:
        return Settings

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        return ()

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        return ()

    def image(self, version: str) -> Image | None:
        return None  # it runs only where software can be installed

    def probe(self, version: str) -> Probe | None:
        return None

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        return ()

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        return []

    def plan(self, context: Context) -> Workload:
        words = json_file("parrot.json", context.settings.model_dump())
        return Workload(files=(words,), processes=(Process("parrot", ("/bin/sh", "-c", _PROGRAM)),), stop_grace=2.0)

    def health(self, io: AdapterIO, context: Context) -> Health:
        try:
            io.read_file("state", "alive")
        except FileNotFoundError:
            return Health(HealthState.STARTING, "NotHeardYet", "It has said nothing yet.")
        return Health(HealthState.HEALTHY, "Heard", "It says that it is alive.")

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        yield ChatEvent("final", text)

    def parse_log(self, line: str) -> LogRecord:
        return LogRecord("", line)

    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        return exit_verdict(code, signal, lines)

    def change(self, old: Workload, new: Workload) -> Change:
        return change_by_paths(old, new, hot=lambda name: False)


@hookimpl
def register_adapters() -> Iterable[Adapter]:
    return [Parrot()]


@hookimpl
def register_features() -> Iterable[Feature]:
    handbook = NavLink("Parrot handbook", href="https://parrot.example/handbook", icon="book")
    return [Feature("parrot", "Parrot", nav=(handbook,), commands=("clawportal_parrot:add_commands",),
                    extra={ADMISSION: ("clawportal_parrot:admit",)})]  # fmt: skip


def add_commands(cli: click.Group) -> None:
    @cli.command("parrot")
    def say() -> None:
        """Let the parrot speak."""
        click.echo("Polly")


@hookimpl
def actor_grants(actor_id: str) -> Iterable[Any]:
    return []


def admit(portal: Any, actor: Any, change: InstanceChange) -> tuple[()]:
    if change.instance.name == "cat":
        raise Forbidden("No cats near the parrot. Choose another name.")
    return ()


@hookimpl
def doctor_checks(data_dir: str) -> Iterable[DoctorResult]:
    yield DoctorResult("parrot", os.path.exists("/bin/sh"), "it finds its shell", "Install a shell.")


@hookimpl
def on_event(event: Any) -> None:
    heard.append(event.kind)
    if event.kind == "instance.stop_requested":
        raise RuntimeError("the parrot does not like this")
