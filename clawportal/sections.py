"""Sections of the settings, one for each feature that has some: `[name]` in clawportal.toml, or `CLAWPORTAL_<NAME>_*`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from clawportal.settings import Settings, Unreadable, tables_of


class _FromBoth(BaseSettings):
    """The environment wins over the file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def prefix(feature: str) -> str:
    return f"CLAWPORTAL_{feature.upper()}_"


def read(settings: Settings, feature: str, model: type[BaseModel]) -> BaseModel:
    """The section of a feature, as its model; Unreadable with the name of the setting where something is wrong."""
    config = SettingsConfigDict(env_prefix=prefix(feature), extra="forbid", frozen=True)
    kind: Any = type(model.__name__, (model, _FromBoth), {"model_config": config, "__module__": model.__module__})
    try:
        made = kind(**tables_of(settings.data_dir).get(feature, {}))
        return model.model_construct(made.model_fields_set, **{name: getattr(made, name) for name in model.model_fields})
    except ValidationError as error:
        raise Unreadable("; ".join(_said(feature, item) for item in error.errors())) from error


def _said(feature: str, item: Any) -> str:
    name = ".".join(map(str, item["loc"])) or "all of it"
    what = "is no setting of this section" if item["type"] == "extra_forbidden" else item["msg"]
    return f"{name} in the section [{feature}] of clawportal.toml, or {prefix(feature)}{name.upper()}: {what}"


def unknown(settings: Settings, known: Collection[str]) -> list[str]:
    """Sections in the file that no feature reads: misspelt, or of a plugin that is left out."""
    return sorted(set(tables_of(settings.data_dir)) - set(known))
