"""What each kind of rule lets through and what it does not, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clawportal.contracts.specs import parse_quantity
from clawportal_policies.kinds import ACTIONS, EXAMPLES, KINDS, WEEKDAYS, Facts, applies

SPEC: dict[str, Any] = {
    "model": {"provider": "openai", "name": "gpt-5-mini"}, "expose": False, "persona": "", "restart": "always",
    "settings": {"exec": {"enabled": True, "level": 0}, "tools": [{"name": "web"}], "note": ""},
}  # fmt: skip
FACTS = Facts(
    "create", datetime(2026, 11, 23, 9, 30, tzinfo=UTC), name="one", adapter="nanobot", version="0.3.5", cluster="local",
    runtime="process", labels={"team": "support", "tier": ""}, spec=SPEC, cpu="500m", memory="1Gi", storage="5Gi",
    served=("practice",),
)  # fmt: skip


def hit(kind: str, facts: Facts = FACTS, **parameters: Any) -> str:
    """The field that is hit, `-` for none in particular, nothing for a pass."""
    found = KINDS[kind].model_validate(parameters).hit(facts)
    return "" if found is None else found.path or "-"


TABLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("adapters", {"allowed": ["nanobot"]}, {}, ""),
    ("adapters", {"allowed": ["nano*", "x"]}, {}, ""),
    ("adapters", {"allowed": ["openclaw"]}, {}, "adapter"),
    ("adapters", {"allowed": ["NANOBOT"]}, {}, "adapter"),
    ("versions", {"allowed": ["0.3.5"]}, {}, ""),
    ("versions", {"allowed": ["0.3.*"]}, {}, ""),
    ("versions", {"allowed": ["0.4.*"]}, {}, "version"),
    ("versions", {"allowed": [">=0.3,<0.4"]}, {}, ""),
    ("versions", {"allowed": [">=0.3.6"]}, {}, "version"),
    ("versions", {"allowed": [">=0.3.10"]}, {"version": "0.3.9"}, "version"),
    ("versions", {"allowed": [">=2026.9"]}, {"version": "2026.10.1"}, ""),
    ("versions", {"allowed": [">=1"]}, {"version": "nightly"}, "version"),
    ("versions", {"allowed": ["nightly"]}, {"version": "nightly"}, ""),
    ("versions", {"adapter": "openclaw", "allowed": ["1"]}, {}, ""),
    ("versions", {"adapter": "nanobot", "allowed": ["1"]}, {}, "version"),
    ("models", {"providers": ["openai", "anthropic"]}, {}, ""),
    ("models", {"providers": ["practice"]}, {}, "spec.model.provider"),
    ("models", {"models": ["gpt-5*"]}, {}, ""),
    ("models", {"models": ["gpt-4*"]}, {}, "spec.model.name"),
    ("models", {"providers": ["openai"], "models": ["qwen*"]}, {}, "spec.model.name"),
    ("models", {"models": ["qwen*"]}, {"spec": {"model": {"provider": "practice", "name": ""}}}, ""),
    ("models", {"models": ["qwen*"]}, {"spec": {"model": {"provider": "practice", "name": "tiny"}}}, ""),
    ("models", {"models": ["qwen*"]}, {"spec": {"model": {"provider": "openai", "name": ""}}}, "spec.model.name"),
    ("models", {"models": ["qwen*"]}, {"spec": {}}, "spec.model.name"),
    (
        "models",
        {"providers": ["openai"], "models": ["qwen*"]},
        {"spec": {"model": {"provider": "practice"}}},
        "spec.model.provider",
    ),
    ("models", {"providers": ["openai"]}, {"spec": {}}, "spec.model.provider"),
    ("models", {"providers": ["practice"]}, {"uses_model": False}, ""),
    ("runtimes", {"allowed": ["process"]}, {}, ""),
    ("runtimes", {"allowed": ["docker"]}, {}, "cluster"),
    ("clusters", {"allowed": ["loc*"]}, {}, ""),
    ("clusters", {"allowed": ["eu-1"]}, {}, "cluster"),
    ("clusters", {"allowed": ["eu-1"]}, {"cluster": ""}, "cluster"),
    ("size", {"cpu": "500m"}, {}, ""),
    ("size", {"cpu": "0.5"}, {}, ""),
    ("size", {"cpu": "499m"}, {}, "spec.resources.cpu"),
    ("size", {"cpu": "8"}, {"cpu": ""}, "spec.resources.cpu"),
    ("size", {"memory": "1024Mi"}, {}, ""),
    ("size", {"memory": "1G"}, {}, "spec.resources.memory"),
    ("size", {"memory": "1Gi"}, {"memory": "nonsense"}, "spec.resources.memory"),
    ("size", {"storage": "5Gi"}, {}, ""),
    ("size", {"storage": "4Gi"}, {}, "spec.resources.storage"),
    ("size", {"memory": "1Gi", "storage": "5Gi"}, {"storage": ""}, "spec.resources.storage"),
    ("labels", {"required": {"team": ""}}, {}, ""),
    ("labels", {"required": {"team": "sup*", "tier": ""}}, {}, ""),
    ("labels", {"required": {"team": "sales"}}, {}, "labels.team"),
    ("labels", {"required": {"owner": ""}}, {}, "labels.owner"),
    ("settings", {"forbidden": ["expose"]}, {}, ""),
    ("settings", {"forbidden": ["expose"]}, {"spec": {"expose": True}}, "spec.expose"),
    ("settings", {"forbidden": ["expose=false"]}, {}, "spec.expose"),
    ("settings", {"forbidden": ["spec.settings.exec.enabled"]}, {}, "spec.settings.exec.enabled"),
    ("settings", {"forbidden": ["settings.*.enabled"]}, {}, "spec.settings.exec.enabled"),
    ("settings", {"forbidden": ["settings.exec.level"]}, {}, "spec.settings.exec.level"),
    ("settings", {"forbidden": ["settings.note", "settings.none", "persona"]}, {}, ""),
    ("settings", {"forbidden": ["settings.tools.*.name=web"]}, {}, "spec.settings.tools.0.name"),
    ("settings", {"forbidden": ["restart=never"]}, {}, ""),
    ("settings", {"forbidden": ["restart=al*"]}, {}, "spec.restart"),
]


@pytest.mark.parametrize(("kind", "parameters", "changed", "path"), TABLE)
def test_each_kind(kind: str, parameters: dict[str, Any], changed: dict[str, Any], path: str) -> None:
    assert hit(kind, replace(FACTS, **changed), **parameters) == path


@pytest.mark.parametrize(
    ("window", "at", "open_"),
    [
        ({}, "2026-11-23T08:00", True), ({}, "2026-11-23T07:59", False), ({}, "2026-11-23T18:00", False),
        ({}, "2026-11-23T17:59", True), ({}, "2026-11-21T12:00", False),
        ({"timezone": "Europe/Berlin"}, "2026-11-23T07:00", True), ({"timezone": "Europe/Berlin"}, "2026-11-23T17:00", False),
        ({"timezone": "Europe/Berlin"}, "2026-07-01T06:00", True),  # summer time
        ({"from": "22:00", "to": "06:00", "weekdays": ["mon"]}, "2026-11-23T22:00", True),
        ({"from": "22:00", "to": "06:00", "weekdays": ["mon"]}, "2026-11-24T05:59", True),
        ({"from": "22:00", "to": "06:00", "weekdays": ["mon"]}, "2026-11-23T05:00", False),
        ({"from": "22:00", "to": "06:00", "weekdays": ["sun"]}, "2026-11-23T05:00", True),
        ({"from": "00:00", "to": "24:00", "weekdays": ["mon"]}, "2026-11-23T23:59", True),
        ({"from": "00:00", "to": "24:00", "weekdays": ["mon"]}, "2026-11-24T00:00", False),
        ({"from": "09:00", "to": "09:00", "weekdays": ["mon"]}, "2026-11-24T08:59", True),
    ],
)  # fmt: skip
def test_hours(window: dict[str, Any], at: str, open_: bool) -> None:
    facts = replace(FACTS, now=datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert hit("hours", facts, **window) == ("" if open_ else "-")


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 7 * 1440 - 1))
def test_a_window_and_the_rest_of_the_day_cover_each_moment_once(start: int, end: int, minute: int) -> None:
    if start == end:
        return
    clock = [f"{m // 60:02}:{m % 60:02}" for m in (start, end)]
    facts = replace(FACTS, now=datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minute))
    days = list(WEEKDAYS)
    inside = hit("hours", facts, weekdays=days, **{"from": clock[0], "to": clock[1]})
    outside = hit("hours", facts, weekdays=days, **{"from": clock[1], "to": clock[0]})
    assert (inside == "") != (outside == "")


UNITS = st.sampled_from(["m", "", "k", "Ki", "Mi", "G", "Gi"])


@given(st.integers(1, 10**6), UNITS, st.integers(1, 10**6), UNITS)
def test_sizes_are_compared_exactly(a: int, unit: str, b: int, other: str) -> None:
    found = hit("size", replace(FACTS, memory=f"{a}{unit}"), memory=f"{b}{other}")
    assert bool(found) == (parse_quantity(f"{a}{unit}") - parse_quantity(f"{b}{other}") > Decimal(0))


WORDS = st.text(max_size=5)
LEAVES = st.none() | st.booleans() | WORDS | st.integers()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=10
)


@given(st.dictionaries(WORDS, VALUES))
def test_no_spec_breaks_a_rule_of_settings_or_models(spec: dict[str, Any]) -> None:
    facts = replace(FACTS, spec=spec)
    assert hit("settings", facts, forbidden=["*.*", "a.b.c", "*=x"]) is not None
    if isinstance(spec.get("model", {}), dict):
        hit("models", facts, providers=["x"], models=["y"])


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("adapters", {"allowed": []}), ("adapters", {}), ("adapters", {"allowed": ["a"], "more": 1}),
        ("versions", {"allowed": [">=x y"]}), ("models", {}), ("size", {}), ("size", {"cpu": "lots"}), ("size", {"cpu": "0"}),
        ("labels", {"required": {}}), ("labels", {"required": {"a b": ""}}), ("settings", {"forbidden": ["a..b"]}),
        ("settings", {"forbidden": [""]}), ("hours", {"from": "8"}), ("hours", {"to": "25:00"}), ("hours", {"weekdays": []}),
        ("hours", {"timezone": "Mars/Base"}), ("hours", {"timezone": "../../etc/passwd"}), ("expression", {"expression": ""}),
        ("expression", {"expression": "x" * 2001}),
    ],
)  # fmt: skip
def test_what_cannot_be_saved(kind: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KINDS[kind].model_validate(parameters)


def test_which_actions_are_looked_at() -> None:
    assert {action for action in ACTIONS if applies("adapters", [], action)} == set(ACTIONS) - {"stop", "delete"}
    assert {action for action in ACTIONS if applies("hours", [], action)} == set(ACTIONS)
    assert {action for action in ACTIONS if applies("hours", ["update"], action)} == {"update", "version"}
    assert {action for action in ACTIONS if applies("hours", ["version"], action)} == {"version"}
    assert not applies("hours", [], "kill"), "nothing holds the emergency brake back"


def test_the_examples_are_right() -> None:
    assert len(EXAMPLES) >= 5
    for example in EXAMPLES.values():
        KINDS[example["kind"]].model_validate(example["parameters"])
