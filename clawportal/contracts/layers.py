"""What an organisation says about every claw in it, laid over what each instance says: pure rules, no tables.

A layer has two parts. *Defaults* are used where an instance says nothing; *enforced* values win over it. An instance says
nothing where its value equals the built-in default, so that an untouched form says nothing. A model is taken as a whole:
the address of one provider and the model of another never come together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator

from clawportal.contracts.providers import ModelProviders
from clawportal.contracts.specs import InstanceSpec, ModelChoice, Resources, Strict
from clawportal.messages import _m

INSTANCE, DEFAULT, ENFORCED = "instance", "default", "enforced"
NO_PROVIDERS = ModelProviders()
_NO_MODEL = ModelChoice.model_validate({}).model_dump()
_NO_RESOURCES = Resources.model_validate({}).model_dump()


class Part(Strict):
    """A partial description; what is empty is not said."""

    model: ModelChoice | None = Field(None, description=_m("Provider, address and model, as a whole."))
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}))
    settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, max_length=100, description=_m('Settings of each kind of claw, such as `{"nanobot": {...}}`.')
    )
    labels: dict[str, str] = Field(default_factory=dict, max_length=50)

    @field_validator("settings")
    @classmethod
    def _without_empty(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {kind: settings for kind, settings in value.items() if settings}


class Layer(Strict):
    """Both parts. An empty one changes nothing."""

    defaults: Part = Field(default_factory=lambda: Part.model_validate({}))
    enforced: Part = Field(default_factory=lambda: Part.model_validate({}))

    @property
    def model(self) -> ModelChoice | None:
        """The model that a shared API key belongs to."""
        return self.enforced.model or self.defaults.model


NOTHING = Layer.model_validate({})


@dataclass(frozen=True)
class Effective:
    """What holds for one instance, and where each value comes from."""

    spec: dict[str, Any]
    labels: dict[str, str]
    sources: dict[str, str] = field(default_factory=dict)
    """Path -> `default` or `enforced`; what is absent comes from the instance itself or is built in."""


def merge(
    layer: Layer, kind: str, spec: Mapping[str, Any], labels: Mapping[str, str], built_in: Mapping[str, Any],
    providers: ModelProviders = NO_PROVIDERS,
) -> Effective:  # fmt: skip
    """Lay a layer over the spec of an instance of this kind. `built_in`: the kind's settings with the defaults they have.
    `providers`: they know which choice of a model says as little as none.

    Settings of other kinds, and those that this version of the claw does not know, are ignored.
    """
    merged, sources = dict(spec), dict[str, str]()
    merged["model"] = _model(layer, spec.get("model") or {}, sources, providers)
    said = {**_NO_RESOURCES, **(spec.get("resources") or {})}
    weak, strong = (_said(part.resources.model_dump(), _NO_RESOURCES) for part in (layer.defaults, layer.enforced))
    merged["resources"] = _fields("resources", said, _NO_RESOURCES, weak, strong, sources)
    weak, strong = (
        {name: value for name, value in part.settings.get(kind, {}).items() if name in built_in}
        for part in (layer.defaults, layer.enforced)
    )
    merged["settings"] = _fields("settings", spec.get("settings") or {}, built_in, weak, strong, sources)
    merged_labels = _fields("labels", labels, {}, layer.defaults.labels, layer.enforced.labels, sources)
    return Effective(merged, merged_labels, sources)


def _model(layer: Layer, said: Mapping[str, Any], sources: dict[str, str], providers: ModelProviders) -> dict[str, Any]:
    whole = {**_NO_MODEL, **said}
    chosen, source = whole, INSTANCE
    if layer.enforced.model is not None:
        chosen, source = layer.enforced.model.model_dump(), ENFORCED
    elif layer.defaults.model is not None and providers.says_nothing(whole):
        chosen, source = layer.defaults.model.model_dump(), DEFAULT
    if source != INSTANCE:
        sources.update({f"model.{name}": source for name in chosen})
    return chosen


def _said(document: Mapping[str, Any], nothing: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value != nothing[name]}


def _fields(
    prefix: str, said: Mapping[str, Any], built_in: Mapping[str, Any], defaults: Mapping[str, Any],
    enforced: Mapping[str, Any], sources: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    found = dict(said)
    for name, value in defaults.items():
        if name not in said or (name in built_in and said[name] == built_in[name]):
            found[name], sources[f"{prefix}.{name}"] = value, DEFAULT
    for name, value in enforced.items():
        found[name], sources[f"{prefix}.{name}"] = value, ENFORCED
    return found


def resources_of(layer: Layer, cpu: str, memory: str, storage: str) -> tuple[str, str, str]:
    """CPU, memory and storage of an instance that says these; for counting many at once."""
    said, enforced = layer.defaults.resources, layer.enforced.resources
    return enforced.cpu or cpu or said.cpu, enforced.memory or memory or said.memory, enforced.storage or storage or said.storage


def said_by(layer: Layer, kind: str) -> Iterator[tuple[str, str, Any]]:
    """What a layer says about one kind of claw: strength, path, value."""
    for strength, part in ((DEFAULT, layer.defaults), (ENFORCED, layer.enforced)):
        if part.model is not None:
            yield from ((strength, f"model.{name}", value) for name, value in part.model.model_dump().items() if value)
        yield from (
            (strength, f"resources.{name}", value) for name, value in _said(part.resources.model_dump(), _NO_RESOURCES).items()
        )
        yield from ((strength, f"settings.{name}", value) for name, value in part.settings.get(kind, {}).items())
        yield from ((strength, f"labels.{name}", value) for name, value in part.labels.items())


def spec_of(effective: Effective) -> InstanceSpec:
    return InstanceSpec.model_validate(effective.spec)
