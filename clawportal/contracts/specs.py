"""What people ask for: the documents in which they say what an instance shall be like."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Strict(BaseModel):
    """Base of every document that people send: an unknown field is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_FACTORS: dict[str, Decimal] = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000), "M": Decimal(1000) ** 2, "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4, "Ki": Decimal(1024), "Mi": Decimal(1024) ** 2, "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
}  # fmt: skip


def parse_quantity(text: str) -> Decimal:
    """Read a Kubernetes quantity (`500m`, `2Gi`, `1.5`) exactly. ValueError says what is accepted."""
    found = _QUANTITY.match(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a quantity; write for example 500m, 2 or 512Mi")
    return Decimal(found[1]) * _FACTORS[found[2] or ""]


class ModelChoice(Strict):
    """Which language model the claw talks to."""

    provider: Literal["practice", "openai-compatible", "openai", "anthropic"] = Field(
        "practice",
        title="Provider",
        description="Practice answers without provider or key. Choose OpenAI-compatible for vLLM, Ollama, LiteLLM and others.",
    )
    base_url: str = Field(
        "",
        title="Base URL",
        description="Address of the API, including /v1. Needed for OpenAI-compatible; others have a default.",
        json_schema_extra={"x-placeholder": "http://llm.example.internal/v1"},
        max_length=500,
    )
    name: str = Field(
        "",
        title="Model",
        description="Name of the model as the provider spells it.",
        json_schema_extra={"x-placeholder": "gpt-5-mini"},
        max_length=200,
    )

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not re.match(r"^https?://[^\s/]+", value):
            raise ValueError("must start with http:// or https:// and name a host")
        return value.rstrip("/")


class Resources(Strict):
    """Upper limits for the whole process tree of the instance."""

    memory: str = Field("", title="Memory limit", description="For example 512Mi or 2Gi. Empty: the adapter's suggestion.")
    cpu: str = Field("", title="CPU limit", description="For example 500m or 2. Empty: no limit.")
    storage: str = Field(
        "",
        title="Storage",
        description="Size of its data, such as 5Gi. Where volumes have a size it is that of the volume; elsewhere its files are "
        "measured: it is told when they take more, and stopped at 110 percent. Empty: no limit.",
    )

    @field_validator("memory", "cpu", "storage")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and parse_quantity(value) <= 0:
            raise ValueError("must be greater than zero")
        return value


class InstanceSpec(Strict):
    """The claw-neutral description of what is wanted. Secrets never stand in here: they are stored apart, encrypted."""

    model: ModelChoice = Field(default_factory=lambda: ModelChoice.model_validate({}), title="Model")
    persona: str = Field(
        "",
        title="Persona",
        description="Who the claw is and how it should behave, in Markdown. Empty keeps the claw's own.",
        max_length=50_000,
        json_schema_extra={"x-widget": "textarea"},
    )
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}), title="Resources")
    restart: Literal["always", "on-failure", "never"] = Field(
        "always", title="Restart policy", description="What to do when the claw exits by itself."
    )
    priority: Literal["low", "normal", "high"] = Field(
        "normal",
        title="Priority of starting",
        description="Who is started first when many have to start, such as after an outage.",
    )
    expose: bool = Field(
        False,
        title="Reachable from the network",
        description="Off: its ports listen on this machine only. On: they listen on all addresses.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, title="Settings", description="What only this kind of claw knows; see its JSON Schema."
    )
