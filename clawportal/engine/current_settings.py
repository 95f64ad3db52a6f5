"""The settings that hold now: what the environment and the file say, and below them what people stored while the portal ran.

What the environment or the file has is fixed, as `CLAWPORTAL_PLUGINS` outranks what is stored: whoever runs the portal sees in
one place what it was started with. Each process looks for stored values every `EVERY` seconds, so a change reaches all replicas
within that time. A stored value that this version cannot use is left out and named; it never keeps the portal from starting.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clawportal import redact, sections
from clawportal.contracts.extensions import STORED_SETTINGS
from clawportal.contracts.features import Feature
from clawportal.db import db
from clawportal.errors import FieldError
from clawportal.messages import _m
from clawportal.pluginmanager import Registry
from clawportal.secret_settings import secret_fields
from clawportal.settings import Settings, Unreadable, Values, in_file
from clawportal.validation import judge

if TYPE_CHECKING:
    from clawportal.engine.portal import Portal

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks of each process: so old may what it believes be."""

Source = Literal["default", "environment", "file", "command", "page"]


@dataclass(frozen=True)
class Setting:
    """One setting that can be given to this portal."""

    name: str
    """In the portal: `session_hours`, or `files.trash_days` of a feature."""
    feature: Feature | None
    """None: the portal itself."""
    model: type[BaseModel]
    field: str

    @property
    def info(self) -> FieldInfo:
        return self.model.model_fields[self.field]

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"{sections.prefix(self.feature.name) if self.feature else 'CLAWPORTAL_'}{self.field.upper()}"

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=True)

    @property
    def secret(self) -> bool:
        return redact.names_secret(self.field) or self.field in secret_fields(self.model)

    @property
    def changeable(self) -> bool:
        """Whether a value that people store holds without a restart."""
        extra = self.info.json_schema_extra
        return isinstance(extra, dict) and bool(extra.get("x-changeable")) and not self.secret

    @property
    def least(self) -> float | None:
        """Less than this is not taken from what people store, as it would keep them all out."""
        extra = self.info.json_schema_extra
        found = extra.get("x-least") if isinstance(extra, dict) else None
        return float(found) if isinstance(found, int | float) else None

    def too_little(self, value: Any) -> str:
        """What is wrong with a value of the right type that people store."""
        if self.least is None or not isinstance(value, int | float) or value >= self.least:
            return ""
        return _m("must be %(least)s or more: less would keep everybody out. Only %(variable)s in the environment may say less.",
                  least=f"{self.least:g}", variable=self.variable)  # fmt: skip


class CurrentSettings:
    """What holds now in one process, and why."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._registry = registry
        self._began: dict[type[BaseModel], BaseModel] = {Values: settings, **registry.sections}
        self._held = dict(self._began)
        self._file = _file_of(settings)
        self.looking = threading.RLock()
        """Held from reading what is stored until it holds, so that nobody puts something older over it."""
        self.stored: Mapping[str, Any] = {}
        """Values that people stored, as of the last look; also those that hold nowhere."""
        self.faults: Mapping[str, str] = {}
        """Why a stored value does not hold, by the name of its setting."""

    def everything(self) -> Iterator[Setting]:
        """All settings of the portal and of its features, in their order."""
        yield from (Setting(field, None, Values, field) for field in Values.model_fields)
        having = [(feature, model) for feature in self._registry.features for model in self._models(feature)]
        yield from (Setting(f"{one.name}.{field}", one, model, field) for one, model in having for field in model.model_fields)

    def _models(self, feature: Feature) -> list[type[BaseModel]]:
        module, _, name = feature.settings.partition(":")
        return [model for model in self._registry.sections if (model.__module__, model.__name__) == (module, name)]

    def find(self, name: str) -> Setting | None:
        return next((one for one in self.everything() if one.name == name), None)

    def fixed(self, setting: Setting) -> bool:
        """Whether the portal was started with it."""
        return setting.field in self._began[setting.model].model_fields_set

    def source(self, setting: Setting) -> Source:
        if self.fixed(setting):
            if any(name.upper() == setting.variable for name in os.environ):
                return "environment"
            return "file" if setting.field in self._file.get(setting.feature.name if setting.feature else "", {}) else "command"
        return "page" if setting.name in self.stored and setting.name not in self.faults and setting.changeable else "default"

    def value(self, setting: Setting) -> Any:
        """What holds now."""
        return getattr(self._held[setting.model], setting.field)

    def shown(self, setting: Setting) -> Any:
        """The same for people and logs: without what nobody may read over a shoulder."""
        return masked(setting.field, self.value(setting), secret=setting.secret)

    def judge(self, setting: Setting, value: Any, path: str = "value") -> tuple[Any, list[FieldError]]:
        """The value as the setting takes it, beside what else the portal was started with; or what is wrong with it."""
        made, errors = judge(setting.model, _dump(self._began[setting.model]) | {setting.field: value})
        found = [FieldError(path, error.message, error.code) for error in errors]
        if made is not None and (flaw := setting.too_little(getattr(made, setting.field))):
            return None, [FieldError(path, flaw)]
        return (made.model_dump(mode="json")[setting.field] if made is not None else None), found

    def use(self, stored: Mapping[str, Any]) -> Settings:
        """Let these values hold from now on, those of features too; returns the portal's own settings."""
        known = {one.name: one for one in self.everything()}
        held = {model: _dump(began) for model, began in self._began.items()}
        faults: dict[str, str] = {}
        for name, value in stored.items():
            setting = known.get(name)
            if setting is not None and setting.changeable and not self.fixed(setting):
                made, errors = judge(setting.model, held[setting.model] | {setting.field: value})
                if flaw := errors[0].message if made is None else setting.too_little(getattr(made, setting.field)):
                    faults[name] = flaw
                elif made is not None:
                    held[setting.model] = _dump(made)
        self._tell(faults, stored.keys() - known.keys())
        self.stored, self.faults = dict(stored), faults
        self._held = {model: began.model_copy(update=held[model]) for model, began in self._began.items()}
        self._registry.sections.update({model: one for model, one in self._held.items() if model is not Values})
        settings = self._held[Values]
        assert isinstance(settings, Settings)
        return settings

    def _tell(self, faults: Mapping[str, str], lost: Collection[str]) -> None:
        for name, why in faults.items():
            if self.faults.get(name) != why:
                log.warning("the stored value of the setting %s is not used, the default holds: it %s", name, why)
        for name in sorted(lost - self.stored.keys()):
            log.warning("a value is stored for the setting %s, which nothing here reads", name)


def masked(name: str, value: Any, *, secret: bool = False) -> Any:
    """Without what nobody may read over a shoulder, or in the log of a terminal."""
    if value and (secret or redact.names_secret(name)):
        return redact.MASK
    return redact.text(value) if isinstance(value, str) else _masked_inside(name, value)


def _masked_inside(name: str, value: Any) -> Any:
    """The same of what has parts: tables, lists, and models with fields of their own that are secret."""
    if isinstance(value, BaseModel):
        secrets = secret_fields(type(value))
        return {part: masked(part, item, secret=part in secrets) for part, item in value}
    if isinstance(value, Mapping):
        return {part: masked(str(part), item) for part, item in value.items()}
    return [masked(name, item) for item in value] if isinstance(value, list | tuple | set | frozenset) else value


def _dump(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def _file_of(settings: Settings) -> dict[str, dict[str, Any]]:
    try:
        return in_file(settings.data_dir)
    except Unreadable:  # whoever reads its values says so
        return {}


def look(portal: Portal) -> None:
    """Take up what is stored now. Where that cannot be read, what held holds on."""
    try:
        with portal.current.looking:
            stored: dict[str, Any] = {}
            for read in portal.registry.targets(STORED_SETTINGS):
                stored |= read(portal)
            portal.settings = portal.current.use(stored)
    except Exception as error:  # of a database, or of whatever a plugin does
        db.session.rollback()
        if not _before_the_tables(error):
            log.warning("the stored settings cannot be read; what held holds on: %s", error)


def _before_the_tables(error: Exception) -> bool:
    """Whoever works on a database without tables says so in words of their own."""
    said = str(getattr(error, "orig", ""))
    return "no such table" in said or ("relation" in said and "does not exist" in said)


def follow(portal: Portal, context: Callable[[], AbstractContextManager[Any]]) -> threading.Thread:
    """Look again and again until the portal stops, also in a process without background work."""

    def again() -> None:
        while not portal.stopping.wait(EVERY):
            try:
                with context():
                    look(portal)
            except Exception:  # of the context, or of a database that is gone also for a rollback: the next look may find it
                log.warning("the stored settings cannot be looked at; what held holds on", exc_info=True)

    thread = threading.Thread(target=again, name="settings", daemon=True)
    thread.start()
    return thread
