"""What only OpenClaw knows, as people see it in the form."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic.config import JsonDict

from clawportal.sdk import _m, timezones

_AGENT: JsonDict = {"x-group": _m("Agent")}
_TOOLS: JsonDict = {"x-group": _m("Tools")}
_BACKGROUND: JsonDict = {"x-group": _m("Work in the background")}
_MODEL: JsonDict = {"x-group": _m("Model"), "x-advanced": True}
_OPERATION: JsonDict = {"x-group": _m("Operation"), "x-advanced": True}

Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+$", max_length=200)]


class OpenClawSettings(BaseModel):
    """Defaults spend nothing in the background, run no commands, and stay off the web."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    timezone: str = Field(
        "UTC",
        title=_m("Time zone"),
        description=_m("Name as in the IANA list. The agent tells the time in it."),
        max_length=60,
        json_schema_extra={**_AGENT, "x-placeholder": "Europe/Berlin"},
    )
    starter_files: bool = Field(
        False,
        title=_m("Starter files"),
        description=_m("OpenClaw writes its own AGENTS.md and others into an empty workspace and asks who it is."),
        json_schema_extra=_AGENT,
    )
    turn_timeout: int = Field(
        600,
        ge=10,
        le=86_400,
        title=_m("Time for an answer (seconds)"),
        description=_m("An answer that takes longer is given up."),
        json_schema_extra={**_AGENT, "x-advanced": True},
    )
    tool_profile: Literal["minimal", "messaging", "coding", "full"] = Field(
        "coding", title=_m("Tools"), description=_m("Which set of tools the agent has."), json_schema_extra=_TOOLS
    )
    exec_mode: Literal["deny", "allowlist", "full"] = Field(
        "deny",
        title=_m("Run commands"),
        json_schema_extra={**_TOOLS, "x-safe": ["deny"]},
        description=_m("deny: never. allowlist: safe commands only. full: any command, on the machine it lives on."),
    )
    workspace_only: bool = Field(
        True,
        title=_m("Keep to its workspace"),
        description=_m("Its file tools reach only the working folder of the instance."),
        json_schema_extra={**_TOOLS, "x-safe": [True]},
    )
    web_search: bool = Field(
        False, title=_m("Search the web"), description=_m("The agent may search the web."), json_schema_extra=_TOOLS
    )
    web_fetch: bool = Field(
        False, title=_m("Read web pages"), description=_m("The agent may read pages by their address."), json_schema_extra=_TOOLS
    )
    heartbeat_minutes: int = Field(
        0,
        ge=0,
        le=10_080,
        title=_m("Heartbeat every (minutes)"),
        description=_m("Wakes the agent, which costs tokens each time. 0 is never."),
        json_schema_extra=_BACKGROUND,
    )
    automations: bool = Field(
        False,
        title=_m("Automations"),
        description=_m("Work that the agent or its owner put on a timetable is carried out."),
        json_schema_extra=_BACKGROUND,
    )
    memory_plugin: bool = Field(
        False,
        title=_m("Long-term memory"),
        description=_m("Loads memory-core, which also works over its notes every night and costs tokens."),
        json_schema_extra=_BACKGROUND,
    )
    learn_skills: Literal["off", "propose", "auto"] = Field(
        "off",
        title=_m("Learn skills by itself"),
        description=_m("propose: it suggests new skills. auto: it also takes them."),
        json_schema_extra=_BACKGROUND,
    )
    context_window: int = Field(
        128_000,
        ge=16_000,
        le=10_000_000,
        title=_m("Context window (tokens)"),
        description=_m("How much the model can take in."),
        json_schema_extra=_MODEL,
    )
    max_tokens: int = Field(
        8192,
        ge=16,
        le=1_000_000,
        title=_m("Longest answer (tokens)"),
        description=_m("Limit for one answer of the model."),
        json_schema_extra=_MODEL,
    )
    thinking: Literal["off", "low", "medium", "high"] = Field(
        "off", title=_m("Thinking"), description=_m("For models that think first."), json_schema_extra=_MODEL
    )
    control_ui: bool = Field(
        False,
        title=_m("Its own web page"),
        description=_m(
            "OpenClaw's Control UI, to which “Open” on the page of the instance leads. Off: there is none. "
            "Needs about 60 MB more disk."
        ),
        json_schema_extra={"x-group": _m("Operation")},
    )
    control_ui_origins: list[Origin] = Field(
        [],
        max_length=20,
        title=_m("Addresses of its web page"),
        description=_m(
            "Needed where its page is used from other machines: what stands in the browser, such as https://claw.example.internal."
        ),
        json_schema_extra=_OPERATION,
    )
    log_level: Literal["error", "warn", "info", "debug"] = Field(
        "info",
        title=_m("Log level"),
        description=_m("At info and below the log also has the answers of the agent."),
        json_schema_extra=_OPERATION,
    )
    heap_mb: int = Field(
        1536,
        ge=512,
        le=65_536,
        title=_m("JavaScript heap (MB)"),
        description=_m("Keep it below the memory limit by at least 400 MB."),
        json_schema_extra=_OPERATION,
    )
    drain_seconds: int = Field(
        30,
        ge=1,
        le=330,
        title=_m("Time to stop (seconds)"),
        description=_m("How long a running answer may take to end when the instance is stopped. An idle one stops in seconds."),
        json_schema_extra=_OPERATION,
    )

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        return timezones.check(value)
