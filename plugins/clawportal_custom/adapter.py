"""The adapter of a kind of claw that a file describes."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from clawportal.sdk import _m, _n, bounded, chat_completions
from clawportal.sdk.adapters import (
    AdapterIO,
    Artifact,
    Change,
    ChatEvent,
    Check,
    Context,
    ExitVerdict,
    File,
    Health,
    HealthState,
    Image,
    InstanceSpec,
    LogRecord,
    PortProof,
    PortSpec,
    Probe,
    Process,
    Version,
    Workload,
    change_by_paths,
    exit_verdict,
    last_words,
    level_of,
)
from clawportal.sdk.errors import FieldError, Unavailable, Unsupported
from clawportal_custom.document import Install, Kind, OwnVersion
from clawportal_custom.placeholders import filled, names_in
from clawportal_custom.settings_form import settings_model

_MIB = 1024**2


class CustomAdapter:
    """One for each file."""

    yields = True
    """A plugin's own kind of this name goes before: whoever wrote the file could not know of it."""

    def __init__(self, kind: Kind) -> None:
        self._kind, self._model = kind, settings_model(kind)
        self.kind, self.title, self.description = kind.name, kind.title, kind.description
        self.suggested_memory, self.startup_seconds = kind.memory, kind.startup_seconds
        self.model_dialects = frozenset(kind.model.dialects if kind.model else ())
        self.capabilities = frozenset(
            name
            for name, there in {
                "model": kind.model is not None,
                "chat": kind.chat is not None,
                "check": kind.check is not None,
                "persona": any("persona" in names_in(file.content) for file in kind.files),
                "hot-config": any(file.hot for file in kind.files),
            }.items()
            if there
        )

    # ---- what it is

    def versions(self) -> tuple[Version, ...]:
        default = self._kind.default or self._kind.versions[0].version
        return tuple(
            Version(one.version, one.title or f"{self.title} {one.version}", default=one.version == default)
            for one in self._kind.versions
        )

    def _version(self, version: str) -> OwnVersion:
        return next(one for one in self._kind.versions if one.version == version)

    def settings_model(self, version: str) -> type[BaseModel]:
        return self._model

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        return tuple(_artifact(one) for one in self._version(version).install)

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        return tuple(
            PortSpec(
                name, port.port, port.title, page=port.page,
                proof=PortProof(port.proof.secret, port.proof.header, port.proof.prefix) if port.proof else None,
            )
            for name, port in self._kind.ports.items()
        )  # fmt: skip

    def image(self, version: str) -> Image | None:
        own = self._version(version).image
        return Image(own.reference, own.artifacts, own.uid, own.gid, own.read_only_root) if own else None

    def probe(self, version: str) -> Probe | None:
        health = self._kind.health
        return Probe(health.port, health.path if health.type == "http" else "") if health.port else None

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        return tuple(self._kind.generated_secrets)

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        flaws = []
        for name, setting in self._kind.settings.items():
            value = spec.settings.get(name, setting.default)
            if setting.required and not (name in secrets if setting.type == "secret" else value):
                path = f"secrets.{name}" if setting.type == "secret" else f"settings.{name}"
                flaws.append(FieldError(path, _m("is needed by %(claw)s.", claw=self.title)))
            elif "\0" in json.dumps(value, ensure_ascii=False).replace("\\u0000", "\0"):
                flaws.append(FieldError(f"settings.{name}", _m("must not have a letter with the number zero.")))
        return flaws

    # ---- the plan

    def plan(self, context: Context) -> Workload:
        kind, values = self._kind, _values(self._kind, context)
        return Workload(
            files=tuple(
                File(
                    file.path, filled(file.content, values), root=file.root, mode=int(file.mode, 8),
                    policy="seed_once" if file.seed_once else "always",
                )
                for file in kind.files
            ),
            processes=tuple(
                Process(
                    process.name,
                    _command(process.command, values),
                    {name: filled(text, values) for name, text in process.environment.items()},
                    {name: secret for name, secret in process.secret_environment.items() if secret in context.secrets},
                    process.folder,
                )
                for process in kind.processes
            ),
            check=self._check(values),
            ports=dict(context.ports),
            artifacts=self.artifacts(context.version),
            stop_grace=kind.stop_seconds,
        )  # fmt: skip

    def _check(self, values: dict[str, Any]) -> Check | None:
        wanted = self._kind.check
        if wanted is None:
            return None
        return Check(_command(wanted.command, values | {"candidate": "{candidate}"}), timeout=wanted.timeout)

    def change(self, old: Workload, new: Workload) -> Change:
        hot = {file.path for file in self._kind.files if file.hot}
        return change_by_paths(old, new, hot=lambda name: name.partition(":")[0] in hot)

    # ---- a running one

    def health(self, io: AdapterIO, context: Context) -> Health:
        ask = {"http": self._http, "tcp": self._tcp, "command": self._command_says}[self._kind.health.type]
        try:
            return ask(io, context)
        except (OSError, Unavailable):
            return Health(HealthState.UNHEALTHY, _n("NotAnswering"), _m("It does not answer on its port."))

    def _http(self, io: AdapterIO, context: Context) -> Health:
        wanted = self._kind.health
        answer = io.get(wanted.port, wanted.path, timeout=wanted.timeout)
        if 200 <= answer.status < 300 and wanted.contains.encode() in answer.body:
            return Health(HealthState.HEALTHY, _n("Answering"), _m("It answers."))
        words = _m("It answers its health check with status %(status)s.", status=answer.status)
        if 200 <= answer.status < 300:
            words = _m("Its health check does not answer what it has to.")
        return Health(HealthState.UNHEALTHY, _n("HealthFailed"), words)

    def _tcp(self, io: AdapterIO, context: Context) -> Health:
        with socket.create_connection(io.address(self._kind.health.port), self._kind.health.timeout):
            return Health(HealthState.HEALTHY, _n("Answering"), _m("It answers."))

    def _command_says(self, io: AdapterIO, context: Context) -> Health:
        wanted = self._kind.health
        try:
            code, said = io.run(_command(wanted.command, _values(self._kind, context)), wanted.timeout)
        except Unsupported:
            words = _m("Its place runs no commands, so nobody can ask it.")
            return Health(HealthState.UNKNOWN, _n("NotAsked"), words)
        if code == 0:
            return Health(HealthState.HEALTHY, _n("Answering"), _m("It answers."))
        words = _m("Its health check ended with code %(code)s: %(said)s", code=code, said=last_words(_lines(said), 1) or "-")
        return Health(HealthState.UNHEALTHY, _n("HealthFailed"), words)

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        wanted = self._kind.chat
        assert wanted is not None, "it says so in its capabilities"
        budget = bounded.Budget(bounded.TURN, bounded.STREAM, silence=wanted.silence)
        connection = bounded.HTTPConnection(*io.address(wanted.port), budget)
        model = filled(wanted.model, _values(self._kind, context))
        try:
            connection.request("POST", wanted.path, json.dumps(_question(model, session, text)), self._headers(io, session))
            answer = connection.getresponse()
            if answer.status != 200:
                yield ChatEvent("error", _refusal(answer.status, answer.read(100_000)))
                return
            yield from chat_completions.events(answer, model or self.title, _failure)
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
            yield ChatEvent("error", _m("The claw did not answer: %(error)s", error=error))
        finally:
            connection.close()

    def _headers(self, io: AdapterIO, session: str) -> dict[str, str]:
        wanted = self._kind.chat
        assert wanted is not None
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if wanted.token:
            headers["Authorization"] = f"Bearer {io.secret(wanted.token)}"
        if wanted.session_header:
            headers[wanted.session_header] = session
        return headers

    # ---- what it says

    def parse_log(self, line: str) -> LogRecord:
        wanted = self._kind.log
        entry = chat_completions.json_object(line.strip()) if wanted else None
        if wanted is None or entry is None or not isinstance(entry.get(wanted.message), str):
            return LogRecord("", line)
        return LogRecord(level_of(entry.get(wanted.level)), entry[wanted.message])

    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        if code in self._kind.refused_exit_codes and signal is None:
            said = last_words(lines, 3) or _m("It refused its configuration.")
            return ExitVerdict(_n("ConfigRefused"), said, False, _m("Correct the settings."))
        return exit_verdict(code, signal, lines)


def _artifact(one: Install) -> Artifact:
    return Artifact(
        one.name, one.version, one.kind, tuple(one.packages), tuple(one.needs),
        one.packages_expected, one.megabytes_expected * _MIB, tuple(one.check),
    )  # fmt: skip


def _values(kind: Kind, context: Context) -> dict[str, Any]:
    """What the placeholders of this kind stand for in one instance."""
    layout, model = context.layout, context.model
    values: dict[str, Any] = {
        "state": layout.state, "work": layout.work, "home": layout.home, "tmp": layout.tmp, "bind_host": context.bind_host,
        "persona": context.spec.persona, "instance.name": context.name, "instance.id": context.instance_id,
        "organization": context.tenant, "version": context.version,
        "model.name": model.name, "model.base_url": model.base_url, "model.provider": model.provider, "model.dialect": model.api,
    }  # fmt: skip
    values |= {f"port.{name}": number for name, number in context.ports.items()}
    values |= {f"artifact.{name}": folder for name, folder in layout.artifacts.items()}
    chosen = context.settings.model_dump()
    return values | {f"setting.{name}": chosen[name] for name, one in kind.settings.items() if one.type != "secret"}


def _command(parts: list[str], values: dict[str, Any]) -> tuple[str, ...]:
    """An argument that comes to nothing is left out: `--name=${...}` keeps one that may be empty."""
    return tuple(part for part in (filled(text, values) for text in parts) if part)


def _question(model: str, session: str, text: str) -> dict[str, Any]:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "stream": True, "user": session}
    return asked | {"model": model or "default", "stream_options": {"include_usage": True}}


def _refusal(status: int, body: bytes) -> str:
    words = chat_completions.words_of(chat_completions.json_object(body.decode("utf-8", "replace")) or {})
    return _m("The claw refused the message with status %(status)s: %(words)s.", status=status, words=words)


def _failure(words: str) -> str:
    return _m("The claw could not finish its answer: %(words)s.", words=words)


def _lines(said: bytes) -> list[str]:
    return said.decode("utf-8", "replace").splitlines()
