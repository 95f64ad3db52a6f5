"""What people ask for: the documents in which they say what an instance shall be like."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from clawportal.messages import _m


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
        raise ValueError(_m("%(text)s is not a quantity; write for example 500m, 2 or 512Mi", text=repr(text)))
    return Decimal(found[1]) * _FACTORS[found[2] or ""]


class ModelChoice(Strict):
    """Which language model the claw talks to."""

    provider: str = Field(
        "",
        title=_m("Provider"),
        description=_m(
            "Id of a model provider; `GET /model-providers` lists them. Empty: the one that the portal serves itself, if any."
        ),
        pattern=r"^[a-z0-9-]{0,40}$",
    )
    base_url: str = Field(
        "",
        title=_m("Base URL"),
        description=_m("Address of the API, including its version such as /v1. Empty: that of the provider, if it has one."),
        json_schema_extra={"x-placeholder": "http://llm.example.internal/v1"},
        max_length=500,
    )
    name: str = Field(
        "",
        title=_m("Model"),
        description=_m("Name of the model as the provider spells it."),
        json_schema_extra={"x-placeholder": "gpt-5-mini"},
        max_length=200,
    )
    credential: str = Field(
        "",
        title=_m("Stored key"),
        description=_m("Id of a key that the organisation keeps for several claws, instead of one of its own."),
        max_length=100,
    )

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not re.match(r"^https?://[^\s/]+", value):
            raise ValueError(_m("must start with http:// or https:// and name a host"))
        return value.rstrip("/")


class Resources(Strict):
    """Upper limits for the whole process tree of the instance."""

    memory: str = Field(
        "", title=_m("Memory limit"), description=_m("For example 512Mi or 2Gi. Empty: the adapter's suggestion.")
    )
    cpu: str = Field("", title=_m("CPU limit"), description=_m("For example 500m or 2. Empty: no limit."))
    storage: str = Field(
        "",
        title=_m("Storage"),
        description=_m(
            "Size of its data, such as 5Gi. Where volumes have a size it is that of the volume; elsewhere its files are "
            "measured: it is told when they take more, and stopped at 110 percent. Empty: no limit."
        ),
    )

    @field_validator("memory", "cpu", "storage")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and parse_quantity(value) <= 0:
            raise ValueError(_m("must be greater than zero"))
        return value


class InstanceSpec(Strict):
    """The claw-neutral description of what is wanted. Secrets never stand in here: they are stored apart, encrypted."""

    model: ModelChoice = Field(default_factory=lambda: ModelChoice.model_validate({}), title=_m("Model"))
    persona: str = Field(
        "",
        title=_m("Persona"),
        description=_m("Who the claw is and how it should behave, in Markdown. Empty keeps the claw's own."),
        max_length=50_000,
        json_schema_extra={"x-widget": "textarea"},
    )
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}), title=_m("Resources"))
    restart: Literal["always", "on-failure", "never"] = Field(
        "always", title=_m("Restart policy"), description=_m("What to do when the claw exits by itself.")
    )
    priority: Literal["low", "normal", "high"] = Field(
        "normal",
        title=_m("Priority of starting"),
        description=_m("Who is started first when many have to start, such as after an outage."),
    )
    expose: bool = Field(
        False,
        title=_m("Reachable from the network"),
        description=_m("Off: its ports listen on this machine only. On: they listen on all addresses."),
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, title=_m("Settings"), description=_m("What only this kind of claw knows; see its JSON Schema.")
    )
