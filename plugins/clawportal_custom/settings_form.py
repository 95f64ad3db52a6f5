"""The settings of a kind of claw as the model that becomes its form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from clawportal_custom.document import Kind, Setting

_TYPES: dict[str, Any] = {"string": str, "secret": str, "number": float, "integer": int, "boolean": bool, "list": list[str]}


def settings_model(kind: Kind) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (_type(setting), _field(setting)) for name, setting in kind.settings.items()}
    config = ConfigDict(extra="forbid", validate_default=True)
    return create_model("Settings", __config__=config, __doc__=kind.title, **fields)


def _type(setting: Setting) -> Any:
    return Literal[tuple(setting.choices)] if setting.type == "choice" else _TYPES[setting.type]


def _field(setting: Setting) -> Any:
    hints = {
        "x-group": setting.group or None, "x-advanced": setting.advanced or None, "x-safe": setting.safe,
        "x-unique": setting.unique or None, "x-secret": setting.type == "secret" or None,
        "x-widget": "textarea" if setting.multiline else None,
    }  # fmt: skip
    limits: dict[str, Any] = {}
    if setting.type in ("number", "integer"):
        limits = {"ge": setting.minimum, "le": setting.maximum}
    if setting.type in ("string", "secret"):
        limits = {"max_length": setting.max_length, "pattern": f"^(?:{setting.pattern})?$" if setting.pattern else None}
    if setting.type == "list":
        limits = {"max_length": 1000}
    return Field(
        setting.default, title=setting.title, description=setting.description,
        json_schema_extra={name: hint for name, hint in hints.items() if hint is not None}, **limits,
    )  # fmt: skip
