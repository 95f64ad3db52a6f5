"""What an organisation says, laid over what an instance says: the pure rules, for made-up layers and instances."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clawportal.contracts.layers import DEFAULT, ENFORCED, NOTHING, Layer, Part, merge, resources_of
from clawportal.contracts.providers import ModelProvider, ModelProviders
from clawportal.contracts.specs import InstanceSpec

FEW = settings(max_examples=60, deadline=None)
BUILT_IN = {"greeting": "Hello", "loud": False, "limit": None}
NAMES = st.sampled_from([*BUILT_IN, "unknown"])
VALUES = st.one_of(st.sampled_from(["Hello", "Good day", ""]), st.booleans(), st.none(), st.integers(0, 3))
SETTINGS = st.dictionaries(NAMES, VALUES, max_size=4)
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", ""]), max_size=3)
QUANTITY = st.sampled_from(["", "1", "2Gi", "500m"])
MODEL = st.one_of(
    st.none(),
    st.fixed_dictionaries({
        "provider": st.sampled_from(["practice", "openai", "anthropic"]), "name": st.sampled_from(["", "one", "two"]),
        "base_url": st.sampled_from(["", "https://a.example/v1"]),
    }),
)  # fmt: skip
RESOURCES = st.fixed_dictionaries({"cpu": QUANTITY, "memory": QUANTITY, "storage": QUANTITY})
PARTS = st.fixed_dictionaries({
    "model": MODEL, "resources": RESOURCES, "labels": LABELS,
    "settings": st.dictionaries(st.sampled_from(["echo", "nanobot"]), SETTINGS, max_size=2),
})  # fmt: skip
LAYERS = st.fixed_dictionaries({"defaults": PARTS, "enforced": PARTS}).map(Layer.model_validate)
SPECS = st.fixed_dictionaries({"model": MODEL.map(lambda m: m or {}), "resources": RESOURCES, "settings": SETTINGS}).map(
    lambda document: InstanceSpec.model_validate(document).model_dump(mode="json")
)


PROVIDERS = ModelProviders({one.id: one for one in (
    ModelProvider("practice", "Practice", served=True), ModelProvider("openai", "OpenAI", base_url="https://api.openai.com/v1"),
    ModelProvider("anthropic", "Anthropic", dialect="anthropic", base_url="https://api.anthropic.com/v1"),
    ModelProvider("openai-compatible", "Own"),
)})  # fmt: skip
SILENT = (
    {"provider": "", "base_url": "", "name": "", "credential": ""},
    {"provider": "practice", "base_url": "", "name": "", "credential": ""},
)
"""Choices of a model that say nothing."""


def laid(layer: Layer, spec: dict[str, Any], labels: dict[str, str] | None = None) -> Any:
    return merge(layer, "echo", spec, labels or {}, BUILT_IN, PROVIDERS)


@FEW
@given(LAYERS, SPECS, LABELS)
def test_what_is_enforced_always_wins(layer: Layer, spec: dict[str, Any], labels: dict[str, str]) -> None:
    found, said = laid(layer, spec, labels), layer.enforced
    if said.model is not None:
        assert found.spec["model"] == said.model.model_dump() and found.sources["model.name"] == ENFORCED
    for name, value in said.resources.model_dump().items():
        assert not value or found.spec["resources"][name] == value
    for name, value in said.settings.get("echo", {}).items():
        assert name not in BUILT_IN or found.spec["settings"][name] == value
    assert all(found.labels[name] == value for name, value in said.labels.items())


@FEW
@given(LAYERS, SPECS, LABELS)
def test_laying_twice_is_laying_once(layer: Layer, spec: dict[str, Any], labels: dict[str, str]) -> None:
    once = laid(layer, spec, labels)
    twice = laid(layer, once.spec, once.labels)
    assert (once.spec, once.labels) == (twice.spec, twice.labels)


@FEW
@given(SPECS, LABELS)
def test_an_empty_layer_changes_nothing(spec: dict[str, Any], labels: dict[str, str]) -> None:
    found = laid(NOTHING, spec, labels)
    assert (found.spec, found.labels, found.sources) == (spec, labels, {})


@FEW
@given(PARTS.map(Part.model_validate), SPECS)
def test_a_default_never_replaces_what_was_said(part: Part, spec: dict[str, Any]) -> None:
    found = laid(Layer(defaults=part), spec)
    if spec["model"] not in SILENT:
        assert found.spec["model"] == spec["model"]
    assert all(found.spec["resources"][name] == value for name, value in spec["resources"].items() if value)
    for name, value in spec["settings"].items():
        if name not in BUILT_IN or value != BUILT_IN[name]:
            assert found.spec["settings"][name] == value


def over(below: Part, above: Part) -> Part:
    """Two enforced parts as one: the upper one wins."""
    resources = {name: value or below.resources.model_dump()[name] for name, value in above.resources.model_dump().items()}
    kinds = {*below.settings, *above.settings}
    settings_ = {kind: {**below.settings.get(kind, {}), **above.settings.get(kind, {})} for kind in kinds}
    model = above.model or below.model
    document = {"resources": resources, "settings": settings_, "labels": {**below.labels, **above.labels}}
    return Part.model_validate(document | ({"model": model} if model else {}))


@FEW
@given(LAYERS, LAYERS, LAYERS, SPECS)
def test_what_is_enforced_needs_no_brackets(one: Layer, two: Layer, three: Layer, spec: dict[str, Any]) -> None:
    """Holds for enforced parts only: whether a default is used depends on what lies below it."""
    a, b, c = (layer.enforced for layer in (one, two, three))
    left, right = Layer(enforced=over(over(a, b), c)), Layer(enforced=over(a, over(b, c)))
    step = laid(Layer(enforced=c), laid(Layer(enforced=b), laid(Layer(enforced=a), spec).spec).spec)
    assert laid(left, spec).spec == laid(right, spec).spec == step.spec


@FEW
@given(LAYERS, SPECS)
def test_settings_of_other_kinds_and_unknown_ones_are_ignored(layer: Layer, spec: dict[str, Any]) -> None:
    found = laid(layer, spec)
    assert set(found.spec["settings"]) <= set(spec["settings"]) | set(BUILT_IN)
    other = Layer.model_validate({"enforced": {"settings": {"nanobot": {"greeting": "Other"}}}})
    assert laid(other, spec).spec == spec


@FEW
@given(LAYERS, SPECS)
def test_counting_and_laying_agree(layer: Layer, spec: dict[str, Any]) -> None:
    resources = laid(layer, spec).spec["resources"]
    names = ("cpu", "memory", "storage")
    assert resources_of(layer, *(spec["resources"][name] for name in names)) == tuple(resources[name] for name in names)


def test_a_model_is_taken_as_a_whole_and_its_source_is_told() -> None:
    ours = {"provider": "openai-compatible", "base_url": "https://llm.example/v1", "name": "big", "credential": ""}
    layer = Layer.model_validate({"defaults": {"model": ours, "resources": {"memory": "1Gi"}}})
    silent = InstanceSpec().model_dump(mode="json")
    found = laid(layer, silent)
    assert found.spec["model"] == ours and found.sources["model.base_url"] == DEFAULT
    assert found.sources["resources.memory"] == DEFAULT and "resources.cpu" not in found.sources
    own = {"provider": "openai", "base_url": "", "name": "small", "credential": ""}
    assert laid(layer, {**silent, "model": own}).spec["model"] == own, "never the address of one and the name of another"
    for nothing in (*SILENT, {"provider": "gone", "base_url": "", "name": "", "credential": ""}):
        assert laid(layer, {**silent, "model": nothing}).spec["model"] == ours, nothing
    practice = {"provider": "practice", "base_url": "", "name": "practice", "credential": ""}
    assert laid(layer, {**silent, "model": practice}).spec["model"] == practice, "practice by name is said"
