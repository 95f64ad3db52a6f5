"""What only nanobot knows, as people see it in the form, and how it is spelt in nanobot's own configuration."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from clawportal.sdk import _m, timezones

_AGENT: JsonDict = {"x-group": _m("Agent")}
_TOOLS: JsonDict = {"x-group": _m("Tools")}
_BACKGROUND: JsonDict = {"x-group": _m("Work in the background")}
_ADVANCED: JsonDict = {"x-group": _m("Model"), "x-advanced": True}

SEARCH_KEY = "web_search_key"
_SEARCH_NEEDS_KEY = ("brave", "tavily", "jina", "kagi")


class NanobotSettings(BaseModel):
    """Defaults spend nothing in the background and give the agent no shell and no web."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    timezone: str = Field(
        "UTC",
        title=_m("Time zone"),
        description=_m("Name as in the IANA list. The agent tells the time in it."),
        max_length=60,
        json_schema_extra={**_AGENT, "x-placeholder": "Europe/Berlin"},
    )
    bot_name: str = Field(
        "nanobot",
        title=_m("Name of the agent"),
        description=_m("The name it shows."),
        min_length=1,
        max_length=40,
        json_schema_extra=_AGENT,
    )
    max_tool_iterations: int = Field(
        50,
        ge=1,
        le=500,
        title=_m("Steps per answer"),
        description=_m("After so many uses of tools it has to answer."),
        json_schema_extra={**_AGENT, "x-advanced": True},
    )
    temperature: float | None = Field(
        0.1,
        ge=0,
        le=2,
        title=_m("Temperature"),
        description=_m("Low values answer alike each time. Empty leaves it out, for models that refuse any but their own."),
        json_schema_extra=_ADVANCED,
    )
    max_tokens: int = Field(
        8192,
        ge=16,
        le=1_000_000,
        title=_m("Longest answer (tokens)"),
        description=_m("Limit for one answer of the model."),
        json_schema_extra=_ADVANCED,
    )
    context_window_tokens: int = Field(
        200_000,
        ge=4096,
        le=10_000_000,
        title=_m("Context window (tokens)"),
        description=_m("How much the model can take in. Older parts of a conversation are summed up before it is full."),
        json_schema_extra=_ADVANCED,
    )
    reasoning_effort: Literal["", "none", "low", "medium", "high"] = Field(
        "",
        title=_m("Reasoning effort"),
        description=_m("For models that think first. Empty leaves it to the provider."),
        json_schema_extra=_ADVANCED,
    )
    restrict_to_workspace: bool = Field(
        True,
        title=_m("Keep to its workspace"),
        description=_m("Its file tools reach only the working folder of the instance."),
        json_schema_extra={**_TOOLS, "x-safe": [True]},
    )
    exec_enabled: bool = Field(
        False,
        title=_m("Run commands"),
        description=_m("The agent may run shell commands on the machine it lives on."),
        json_schema_extra={**_TOOLS, "x-safe": [False]},
    )
    exec_timeout: int = Field(
        60,
        ge=1,
        le=600,
        title=_m("Time for a command (seconds)"),
        description=_m("A command that takes longer is ended."),
        json_schema_extra={**_TOOLS, "x-advanced": True},
    )
    web_enabled: bool = Field(
        False, title=_m("Use the web"), description=_m("The agent may search the web and read pages."), json_schema_extra=_TOOLS
    )
    web_search_provider: Literal["duckduckgo", "brave", "tavily", "jina", "kagi", "searxng"] = Field(
        "duckduckgo",
        title=_m("Web search with"),
        description=_m("DuckDuckGo needs no key; SearXNG needs an address."),
        json_schema_extra={**_TOOLS, "x-advanced": True},
    )
    web_search_url: str = Field(
        "",
        title=_m("Address of SearXNG"),
        description=_m("Only for SearXNG."),
        max_length=500,
        pattern=r"^(https?://[^\s]+)?$",
        json_schema_extra={**_TOOLS, "x-advanced": True, "x-placeholder": "https://search.example.internal"},
    )
    web_search_key: str = Field(
        "",
        title=_m("Key for web search"),
        description=_m("For Brave, Tavily, Jina or Kagi."),
        max_length=500,
        json_schema_extra={**_TOOLS, "x-advanced": True, "x-secret": True},
    )
    heartbeat_minutes: int = Field(
        0,
        ge=0,
        le=10_080,
        title=_m("Heartbeat every (minutes)"),
        description=_m("Wakes the agent to look at HEARTBEAT.md, which costs tokens each time. 0 is never."),
        json_schema_extra=_BACKGROUND,
    )
    dream_hours: int = Field(
        0,
        ge=0,
        le=720,
        title=_m("Tidy its memory every (hours)"),
        description=_m("Costs tokens each time. 0 is never."),
        json_schema_extra=_BACKGROUND,
    )
    compact_after_minutes: int = Field(
        0,
        ge=0,
        le=10_080,
        title=_m("Sum up idle conversations after (minutes)"),
        description=_m("Costs tokens each time. 0 is never."),
        json_schema_extra=_BACKGROUND,
    )

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        return timezones.check(value)

    def secrets_go_to(self) -> dict[str, str]:
        where = f" {self.web_search_url}" if self.web_search_provider == "searxng" else ""
        return {SEARCH_KEY: f"{self.web_search_provider}{where}"}

    def search_key_missing(self, secrets: frozenset[str]) -> bool:
        return self.web_enabled and self.web_search_provider in _SEARCH_NEEDS_KEY and SEARCH_KEY not in secrets

    def defaults(self) -> dict[str, Any]:
        """The part of `agents.defaults` that these settings decide."""
        return {
            "timezone": self.timezone,
            "botName": self.bot_name,
            **({} if self.temperature is None else {"temperature": self.temperature}),
            "maxTokens": self.max_tokens,
            "contextWindowTokens": self.context_window_tokens,
            "reasoningEffort": self.reasoning_effort or None,
            "maxToolIterations": self.max_tool_iterations,
            "idleCompactAfterMinutes": self.compact_after_minutes,
            "dream": {"enabled": self.dream_hours > 0, "intervalH": self.dream_hours or 2},
        }

    def tools(self, secrets: frozenset[str]) -> dict[str, Any]:
        search: dict[str, Any] = {"provider": self.web_search_provider}
        if SEARCH_KEY in secrets:
            search["apiKey"] = "${CLAWPORTAL_SEARCH_KEY}"
        if self.web_search_url:
            search["baseUrl"] = self.web_search_url
        return {
            "restrictToWorkspace": self.restrict_to_workspace,
            "exec": {"enable": self.exec_enabled, "timeout": self.exec_timeout},
            "web": {"enable": self.web_enabled, "search": search},
            "cliApps": {"enable": self.exec_enabled},
        }

    def heartbeat(self) -> dict[str, Any]:
        return {"enabled": self.heartbeat_minutes > 0, "intervalS": (self.heartbeat_minutes or 30) * 60}
