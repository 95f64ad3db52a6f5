"""The nanobot adapter: what to install, what to write, how to tell that it is well, and how to talk to it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast
from urllib.parse import parse_qsl, quote

from pydantic import BaseModel

from clawportal.sdk import _m, _n
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
    Usage,
    Version,
    Workload,
    change_by_paths,
    exit_verdict,
    json_file,
    level_of,
    plain,
)
from clawportal.sdk.bounded import STREAM, TURN, Budget, parse_json
from clawportal.sdk.errors import FieldError, Retry, Unavailable
from clawportal_nanobot.activity import how
from clawportal_nanobot.settings import SEARCH_KEY, NanobotSettings
from clawportal_nanobot.websocket import Refused, TextSocket

TOKEN = "nanobot_token"
_SILENCE = 300.0
"""Seconds without any event after which a turn is given up; an agent that uses tools may be quiet for long."""
_AFTER_COMMAND = 2.0
"""Seconds that the answer to a command waits for an end of the turn."""
_KIMI = re.compile(r"(?:^|/)kimi-k(?:2\.[5-7]|3)(?:-|$)", re.IGNORECASE)
_USUAL = 0.1
_CHAT_ID = re.compile(r"^[A-Za-z0-9_-]{1,48}$")
_SAID = re.compile(r"""(['"])message\1: ?(['"])(.*?)(?:\2[,}]|$)""", re.DOTALL)
_SAMPLING = re.compile(r"temperature|top_p|sampling", re.IGNORECASE)
_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| ([A-Z]+) *\| (.*)$")
_ADVICE = (
    "Using config:",
    "Invalid configuration:",
    "Check again after editing:",
    "Fix the listed setting",
    "nanobot status --config",
)
_TAKES_UP = timedelta(seconds=2.5)
"""Its watcher gathers changes for 1.6 s at most (`watchfiles`), and tells the event loop that answers for its health."""
_HOT = ("config.json:agents.defaults.", "config.json:providers.", "SOUL.md")

# `nanobot status` reports missing variables and providers but exits 0, and does not look at the WebSocket channel at all.
# This asks the two functions that `nanobot gateway` asks before it starts.
_CHECK = """
import contextlib, io, sys
import typer
from nanobot.cli.runtime_config import _load_runtime_config
from nanobot.cli.webui_support import _validate_gateway_startup
words, problem = io.StringIO(), None
with contextlib.redirect_stdout(words):
    try:
        problem = _validate_gateway_startup(_load_runtime_config(config=sys.argv[1]))
    except typer.Exit as refusal:
        problem = words.getvalue() or f"refused with code {refusal.exit_code}"
advice = ("Using config:", "Invalid configuration:", "Check again", "Fix the listed", "nanobot status", '"/')
if problem:
    print("\\n".join(line for line in problem.splitlines() if line.strip() and not line.startswith(advice)))
    sys.exit(1)
"""


_PAGE = PortSpec(
    "ws", 8765, _m("WebSocket and its own web page"), "ws", page=True,
    # its page asks there for credentials of its own, which last for minutes, and for the address of the WebSocket
    proof=PortProof(TOKEN, "X-Nanobot-Auth", paths=("/webui/bootstrap",)), named="public",
)  # fmt: skip


class NanobotAdapter:
    kind = "nanobot"
    title = _m("nanobot")
    description = _m("A small personal agent in Python. Ready within seconds, content with 256 MB.")
    capabilities = frozenset({"model", "model-query", "chat", "persona", "check", "hot-config", "attachments"})
    model_dialects = frozenset({"openai", "anthropic"})
    suggested_memory = "1Gi"
    startup_seconds = 90.0

    def versions(self) -> tuple[Version, ...]:
        return (Version("0.3.5", "nanobot 0.3.5", default=True),)

    def settings_model(self, version: str) -> type[BaseModel]:
        return NanobotSettings

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        return (
            Artifact(
                "nanobot",
                version,
                "pip",
                (f"nanobot-ai=={version}",),
                expected_packages=89,
                expected_bytes=420_000_000,
                check=("bin/nanobot", "--version"),
            ),
        )

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        return (PortSpec("gateway", 18790, "Health"), _PAGE)

    def image(self, version: str) -> Image | None:
        return Image(f"clawportal/nanobot:{version}", {"nanobot": "/opt/nanobot"})

    def probe(self, version: str) -> Probe | None:
        return Probe("gateway", "/health")

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        return (TOKEN,)

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        findings: list[FieldError] = []
        settings = NanobotSettings.model_validate(spec.settings)
        if settings.search_key_missing(secrets):
            message = _m("is needed for web search with %(title)s.", title=settings.web_search_provider.title())
            findings.append(FieldError(f"secrets.{SEARCH_KEY}", message, "missing"))
        if settings.web_enabled and settings.web_search_provider == "searxng" and not settings.web_search_url:
            findings.append(FieldError("settings.web_search_url", _m("is needed for web search with SearXNG."), "missing"))
        return findings

    def plan(self, context: Context) -> Workload:
        folder, state = context.layout.artifacts["nanobot"], context.layout.state
        files = [json_file("config.json", _config(context))]
        if context.spec.persona:
            files.append(File("SOUL.md", context.spec.persona + "\n", root="work"))
        env = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
        secret_env = _secret_env(context)
        return Workload(
            files=tuple(files),
            processes=(
                Process(
                    "gateway", (f"{folder}/bin/nanobot", "gateway", "--foreground", "-c", f"{state}/config.json"), env, secret_env
                ),
            ),
            check=Check((f"{folder}/bin/python", "-I", "-c", _CHECK, "{candidate}/config.json"), env, secret_env),
            ports=dict(context.ports),
            artifacts=self.artifacts(context.version),
            stop_grace=20.0,
        )

    def health(self, io: AdapterIO, context: Context) -> Health:
        try:
            answer = io.get("gateway", "/health")
        except (OSError, Unavailable):
            return Health(HealthState.UNHEALTHY, _n("NotAnswering"), _m("The gateway does not answer."))
        body = answer.json()
        if answer.status == 200 and isinstance(body, dict) and body.get("ready") is True:
            return Health(HealthState.HEALTHY, _n("Ready"), _m("The gateway is ready."))
        if answer.status == 503:
            channel = body.get("websocket", "down") if isinstance(body, dict) else "down"
            return Health(
                HealthState.DEGRADED,
                _n("ChannelNotReady"),
                _m("The gateway runs, but its WebSocket is %(channel)s.", channel=channel),
            )
        return Health(
            HealthState.UNHEALTHY,
            _n("HealthFailed"),
            _m("The gateway answers its health check with status %(status)s.", status=answer.status),
        )

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        host, port = io.address("ws")
        target = f"/?client_id=clawportal&token={quote(io.secret(TOKEN), safe='')}"
        chat_id = _chat_id(session)
        try:
            with TextSocket(host, port, target, budget=Budget(TURN, STREAM)) as socket:
                socket.send(json.dumps({"type": "message", "chat_id": chat_id, "content": text}))
                command = text.lstrip().startswith("/")
                for event in _turn(socket, chat_id, context.model.name, command=command):
                    yield _with_reason(event, io) if event.kind == "error" else event
        except Refused as refusal:
            yield ChatEvent("error", _m("The claw refused the chat with status %(status)s.", status=refusal.status))
        except OSError as error:
            yield ChatEvent("error", _m("The chat broke off: %(error)s.", error=error))

    def parse_log(self, line: str) -> LogRecord:
        text = plain(line)
        found = _LINE.match(text)
        return LogRecord(level_of(found[1]), found[2].removeprefix("- | ")) if found else LogRecord("", text)

    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        words = [plain(line).strip() for line in lines]
        starts = [number for number, line in enumerate(words) if line.startswith("Invalid configuration:")]
        if signal is None and code != 0 and starts:
            said = [line for line in words[starts[-1] :] if line and not line.strip('"').startswith(("/", *_ADVICE))]
            return ExitVerdict(
                _n("ConfigRefused"), "\n".join(said) or _m("It refused its configuration."), False, _m("Correct the settings.")
            )
        return exit_verdict(code, signal, lines)

    def has_read(self, io: AdapterIO, workload: Workload, written: timedelta) -> bool:
        """It confirms nothing. But what its loop answers after that time, it answers after it was told of the change."""
        return written >= _TAKES_UP and io.get("gateway", "/health", timeout=3.0).status == 200

    def change(self, old: Workload, new: Workload) -> Change:
        lost = {file.path for file in old.files} - {file.path for file in new.files}
        return change_by_paths(old, new, hot=lambda name: name.startswith(_HOT) and name not in lost)


def _config(context: Context) -> dict[str, Any]:
    """config.json as nanobot 0.3.5 reads it."""
    settings = cast(NanobotSettings, context.settings)
    provider, access = _provider(context)
    token = "${CLAWPORTAL_WS_TOKEN}"
    return {
        "agents": {
            "defaults": {
                "workspace": context.layout.work,
                "model": context.model.name,
                "provider": provider,
                **settings.defaults(),
            }
        },
        "providers": {provider: access},
        # exec: a /restart in the chat keeps the process id, so the runtime does not take it for a crash
        "gateway": {
            "host": context.bind_host,
            "port": context.ports["gateway"],
            "restartMode": "exec",
            "heartbeat": settings.heartbeat(),
        },
        "channels": {
            "websocket": {
                "enabled": True,
                "host": context.bind_host,
                "port": context.ports["ws"],
                "token": token,
                "tokenIssueSecret": token,
                "allowFrom": ["*"],
            }
        },
        "tools": settings.tools(context.secrets),
    }


def _provider(context: Context) -> tuple[str, dict[str, Any]]:
    """Name of the provider in nanobot's words, and how to reach it."""
    model, settings = context.model, cast(NanobotSettings, context.settings)
    # its clients want some key even where the server wants none
    key = "${CLAWPORTAL_MODEL_KEY}" if model.key_secret in context.secrets else "none"
    address, _, query = model.base_url.partition("?")
    access: dict[str, Any] = {"apiKey": key, "apiBase": address.rstrip("/")}
    if query:
        access["extraQuery"] = dict(parse_qsl(query, keep_blank_values=True))
    if model.api == "anthropic":
        return "anthropic", access
    if settings.temperature in (None, _USUAL) and _KIMI.search(model.name):
        return "moonshot", access  # it knows which of these models have a temperature of their own
    if settings.temperature is None or (model.fixed_sampling and settings.temperature == _USUAL):
        access["extraBody"] = {"temperature": None}  # it always sends one; null is as good as none
    return ("openai" if model.provider == "openai" else "custom"), access


def _secret_env(context: Context) -> dict[str, str]:
    names = {"CLAWPORTAL_WS_TOKEN": TOKEN}
    if context.model.key_secret in context.secrets:
        names["CLAWPORTAL_MODEL_KEY"] = context.model.key_secret
    if SEARCH_KEY in context.secrets:
        names["CLAWPORTAL_SEARCH_KEY"] = SEARCH_KEY
    return names


def _chat_id(session: str) -> str:
    """nanobot takes 64 letters at most; anything unusual is hashed, which keeps sessions apart all the same."""
    return f"portal-{session if _CHAT_ID.match(session) else hashlib.sha256(session.encode()).hexdigest()[:32]}"


def _turn(socket: TextSocket, chat_id: str, model: str, *, command: bool) -> Iterator[ChatEvent]:
    """One turn, from the message that was sent to `turn_end`. Text between two uses of tools comes in streams of its own."""
    said: list[str] = []
    stream, answered = "", False
    while True:
        try:
            event = _event(socket.receive(_AFTER_COMMAND if answered else _SILENCE))
        except OSError:
            if not answered:
                raise
            event = {"event": "turn_end", "chat_id": chat_id}  # commands such as /status and /stop end without one
        kind = event.get("event")
        if kind == "error":
            yield ChatEvent("error", _refusal(event))
            return
        if event.get("chat_id") != chat_id:
            continue
        yield from how(event)
        if kind == "delta" or (kind == "message" and not event.get("kind")):
            part, before, stream = str(event.get("text") or ""), stream, str(event.get("stream_id") or "")
            answered = command and kind == "message"
            if part:
                part = f"\n\n{part}" if said and stream != before else part
                said.append(part)
                yield ChatEvent("delta", part)
        elif kind == "turn_end":
            yield from _ending(event, "".join(said), model)
            return


def _event(text: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise OSError(f"the claw sent what is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise OSError("the claw sent something that is no event")
    return found


def _ending(event: dict[str, Any], text: str, model: str) -> Iterator[ChatEvent]:
    used = event.get("usage")
    if isinstance(used, dict) and used.get("total_tokens"):
        yield ChatEvent("usage", usage=Usage(int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0), model))
    if event.get("failure_message") or event.get("outcome") == "failed":
        yield ChatEvent("error", str(event.get("failure_message") or text or "The claw could not finish its answer."))
    else:
        yield ChatEvent("final", text)


def _with_reason(event: ChatEvent, io: AdapterIO) -> ChatEvent:
    """What the provider itself said stands in the log alone; nanobot's own words only say that it refused."""
    if not event.text.startswith(_m("Model provider")):
        return event
    try:
        found = [words for line in io.last_lines() if (words := provider_said(plain(line)))]
    except (OSError, Unavailable, Retry):
        return event
    if not found:
        return event
    said = found[-1]
    return ChatEvent(
        "error",
        _m("The model's provider refused: %(said)s", said=said),
        remedy=_m("If it refuses the temperature, leave that empty in the settings of the claw.")
        if _SAMPLING.search(said)
        else "",
    )


def provider_said(line: str) -> str:
    """The provider's sentence out of a line of the log; empty for any other line."""
    _, mark, said = line.partition("LLM returned error: ")
    said = said.removeprefix("Error: ").strip()
    found = _SAID.search(said)
    return (found[3] if found else said).strip() if mark else ""


def _refusal(event: dict[str, Any]) -> str:
    if event.get("reason") == "text_too_large":
        return _m("The message is too long: nanobot takes 64 KB at most.")
    return _m("The claw refused the message: %(get)s.", get=event.get("reason") or event.get("detail") or _m("no reason given"))
