"""An adapter to copy: everything that a new kind of claw needs, for a claw that only repeats what it is told.

An adapter describes and never acts. Core asks it what to install, what to ask people, which files and processes an
instance consists of; a runtime then makes it so. Only `health` and `chat` talk to a running claw, through `io`.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from clawportal.sdk import _m, _n, bounded, hookimpl
from clawportal.sdk.adapters import (
    Adapter,
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
    json_file,
    last_words,
    level_of,
)
from clawportal.sdk.errors import FieldError, Unavailable

SUMMARY = _m("An adapter to copy: everything that a new kind of claw needs, for a claw that only repeats what it is told.")

# The claw travels as a file of the workload: so it also runs where the portal's own files are out of reach.
_CLAW = Path(__file__).with_name("claw.py").read_text(encoding="utf-8")
# In a single-file binary sys.executable is the portal itself, so the machine's own Python has to do.
_PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
_PYTHON = "python3" if getattr(sys, "frozen", False) else sys.executable
_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ([A-Z]+) (.*)$")
_TRYING: JsonDict = {"x-group": _m("For trying out the portal"), "x-advanced": True}


class Settings(BaseModel):
    """What only this claw knows. Titles, descriptions and limits become the form; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    greeting: str = Field(
        "You said",
        title=_m("Greeting"),
        description=_m("Stands before every answer."),
        max_length=200,
        json_schema_extra={"x-group": _m("Answers")},
    )
    log_every: float = Field(
        0,
        ge=0,
        le=3600,
        title=_m("Sign of life every (seconds)"),
        description=_m("Writes a line to the log; 0 is never."),
        json_schema_extra={"x-group": _m("Answers")},
    )
    startup_delay: float = Field(
        0, ge=0, le=600, title=_m("Slow start (seconds)"), description=_m("Waits before it listens."), json_schema_extra=_TRYING
    )
    exit_after: float = Field(
        0, ge=0, title=_m("Exit after (seconds)"), description=_m("Ends by itself; 0 is never."), json_schema_extra=_TRYING
    )
    exit_code: int = Field(
        1, ge=0, le=255, title=_m("Exit code"), description=_m("The code it then ends with."), json_schema_extra=_TRYING
    )
    ignore_sigterm: bool = Field(
        False, title=_m("Ignore being asked to stop"), description=_m("Only killing ends it."), json_schema_extra=_TRYING
    )
    flood: int = Field(
        0,
        ge=0,
        le=100_000,
        title=_m("Flood (lines per second)"),
        description=_m("Fills the log; 0 is off."),
        json_schema_extra=_TRYING,
    )
    refuse: Literal["no", "start", "always"] = Field(
        "no",
        title=_m("Refuse its configuration"),
        description=_m("At the start only, or already when it is checked."),
        json_schema_extra=_TRYING,
    )


class EchoAdapter:
    kind = "echo"
    title = _m("Echo")
    description = _m("Repeats what it is told. Needs no model and nothing installed; for trying out the portal.")
    capabilities = frozenset({"chat", "check", "hot-config"})
    suggested_memory = "128Mi"
    startup_seconds = 30.0

    def versions(self) -> tuple[Version, ...]:
        return (Version("1.0", "Echo 1.0", default=True),)

    def settings_model(self, version: str) -> type[BaseModel]:
        return Settings

    def artifacts(self, version: str) -> tuple[Artifact, ...]:
        return ()  # nothing to install; see clawportal_nanobot for pip and clawportal_openclaw for npm

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        # people find its page at this port; the portal shows the token in their place
        return (PortSpec("http", 8700, "Echo", page=True, proof=PortProof("echo_token", "Authorization", "Bearer ")),)

    def image(self, version: str) -> Image | None:
        return Image("docker.io/library/python:3.12-slim", {"python": "/usr/local"})

    def probe(self, version: str) -> Probe | None:
        return Probe("http", "/health")

    def generated_secrets(self, version: str) -> tuple[str, ...]:
        return ("echo_token",)  # the portal makes it up; we only ever name it

    def validate(self, spec: InstanceSpec, secrets: frozenset[str]) -> list[FieldError]:
        return []  # types and limits are checked already; this is for what they cannot say

    def plan(self, context: Context) -> Workload:
        settings, layout = cast(Settings, context.settings), context.layout
        config = {"host": context.bind_host, "port": context.ports["http"], **settings.model_dump()}
        # in an image Python is where that has it; on this machine it is the portal's own
        python = f"{layout.artifacts['python']}/bin/python3" if "python" in layout.artifacts else _PYTHON
        program = (python, "-I", "-S", f"{layout.state}/claw.py")
        return Workload(
            files=(File("claw.py", _CLAW), File("page.html", _PAGE), json_file("echo.json", config)),
            processes=(Process("echo", (*program, f"{layout.state}/echo.json"), secret_env={"ECHO_TOKEN": "echo_token"}),),
            check=Check((python, "-I", "-S", "{candidate}/claw.py", "--check", "{candidate}/echo.json"), timeout=20),
            ports=dict(context.ports),
            stop_grace=5.0,
        )

    def health(self, io: AdapterIO, context: Context) -> Health:
        try:
            answer = io.get("http", "/health")
        except (OSError, Unavailable):
            return Health(HealthState.UNHEALTHY, _n("NotAnswering"), _m("It does not answer on its port."))
        body = answer.json()
        if answer.status == 200 and isinstance(body, dict) and body.get("status") == "ok":
            return Health(HealthState.HEALTHY, _n("Answering"), _m("It answers."))
        return Health(
            HealthState.UNHEALTHY,
            _n("HealthFailed"),
            _m("It answers its health check with status %(status)s.", status=answer.status),
        )

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        budget = bounded.Budget(bounded.TURN, bounded.STREAM, silence=30)
        connection = bounded.HTTPConnection(*io.address("http"), budget)
        try:
            headers = {"Authorization": f"Bearer {io.secret('echo_token')}", "Content-Type": "application/json"}
            connection.request("POST", "/chat", json.dumps({"session": session, "text": text}), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                yield ChatEvent("error", _m("The claw answered with status %(status)s.", status=answer.status))
                return
            for line in bounded.lines(answer):
                piece = bounded.parse_json(line)
                yield ChatEvent("final", piece["final"]) if "final" in piece else ChatEvent("delta", piece["delta"])
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            yield ChatEvent("error", _m("The claw did not answer: %(error)s", error=error))
        finally:
            connection.close()

    def parse_log(self, line: str) -> LogRecord:
        found = _LINE.match(line)
        return LogRecord(level_of(found[1]), found[2]) if found else LogRecord("", line)

    def explain_exit(self, code: int | None, signal: int | None, lines: tuple[str, ...]) -> ExitVerdict:
        if code == 2:
            return ExitVerdict(
                _n("ConfigRefused"),
                last_words(lines, 1) or _m("It refused its configuration."),
                False,
                _m("Correct the settings."),
            )
        return exit_verdict(code, signal, lines)

    def change(self, old: Workload, new: Workload) -> Change:
        return change_by_paths(old, new, hot=lambda name: name == "echo.json:greeting")


@hookimpl
def register_adapters() -> list[Adapter]:
    return [EchoAdapter()]
