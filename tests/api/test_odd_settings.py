"""Whatever is written into the settings of a claw: the answer names the field, and is never the portal's own failure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from clawportal.services import findings
from clawportal.timezones import check, suggestion
from clawportal_nanobot.settings import NanobotSettings
from clawportal_openclaw.settings import OpenClawSettings
from tests.conftest import Person

ZONES = {
    "Asia/Beijing": "Asia/Shanghai", "UTC+8": "Etc/GMT-8", "CST": "Asia/Shanghai", "asia/shanghai": "Asia/Shanghai",
    "GMT-3": "Etc/GMT+3", "+05:30": "Asia/Kolkata", "Berlin": "Europe/Berlin", "America/New York": "America/New_York",
    "utc": "UTC", "PST": "America/Los_Angeles", "Europe/Munich": "Europe/Berlin", "Asia/Shangahi": "Asia/Shanghai",
}  # fmt: skip


def create(person: Person, kind: str, spec: dict[str, Any]) -> Any:
    model = {"provider": "openai-compatible", "base_url": "http://llm.example/v1", "name": "m"}
    body = {"name": "odd", "adapter": kind, "spec": {"model": model, **spec}, "start": False}
    return person.post("instances", json=body)


@pytest.mark.parametrize("kind", ["nanobot", "openclaw"])
@pytest.mark.parametrize("zone", [*ZONES, "no such place", "../../etc/passwd", "America", "\ud83d\ude00", "UTC+99", "x" * 60])
def test_a_time_zone_that_is_none_is_told_with_what_was_meant(admin: Person, kind: str, zone: str) -> None:
    answer = create(admin, kind, {"settings": {"timezone": zone}})
    assert answer.status_code == 422, answer.get_data(as_text=True)
    (error,) = answer.get_json()["errors"]
    assert error["path"] == "spec.settings.timezone" and ZONES.get(zone, "write for example") in error["message"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Etc/GMT-8", "America/Argentina/Buenos_Aires"])
def test_a_time_zone_is_taken_as_it_is(zone: str) -> None:
    assert check(zone) == zone


@given(st.text(max_size=80))
def test_any_text_as_a_time_zone(text: str) -> None:
    assert suggestion(text) is not None
    try:
        check(text)
    except ValueError as error:
        assert "time zone" in str(error)


class Brittle(BaseModel):
    """A plugin's settings whose author did not think of everything."""

    place: str = "a"
    number: int = 1

    @field_validator("place")
    @classmethod
    def _known(cls, value: str) -> str:
        return {"a": "A", "b": "B"}[value]


def test_a_validator_may_raise_anything() -> None:
    assert findings.judge(Brittle, {"place": "a"})[1] == []
    _, errors = findings.judge(Brittle, {"number": "1", "place": "c"}, "spec.settings")
    assert [(error.path, error.message) for error in errors] == [
        ("spec.settings.place", "cannot be judged (KeyError); enter another value")
    ]


def test_a_check_of_a_plugin_may_raise_anything() -> None:
    def fails() -> Any:
        raise RuntimeError("oops")

    (error,) = findings.of_plugin(fails, "settings", "odd")
    assert error.path == "settings" and "RuntimeError" in error.message


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=50),
    st.sampled_from(["", " ", "0", "-1", "1e400", "9" * 400, "NaN", "UTC+8", "http://", "http://[", "\u202e", "\ufeff", "null"]),
    st.lists(st.text(max_size=5), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip
NAMES = {
    "nanobot": tuple(NanobotSettings.model_fields), "openclaw": tuple(OpenClawSettings.model_fields),
    "echo": ("greeting", "log_every", "exit_code", "refuse"),
}  # fmt: skip
SPEC = st.fixed_dictionaries(
    {},
    optional={
        "model": st.one_of(ODD, st.dictionaries(st.sampled_from(["provider", "base_url", "name"]), ODD)),
        "resources": st.one_of(ODD, st.dictionaries(st.sampled_from(["memory", "cpu", "storage"]), ODD)),
        "persona": ODD, "restart": ODD, "priority": ODD, "expose": ODD,
    },
)  # fmt: skip


@pytest.mark.parametrize("kind", sorted(NAMES))
def test_odd_values_are_never_the_portals_failure(admin: Person, kind: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from(NAMES[kind]), ODD, max_size=6), SPEC)
    def odd(values: dict[str, Any], spec: dict[str, Any]) -> None:
        body = {"name": "odd", "adapter": kind, "spec": {"settings": values, **spec}, "start": False}
        answer = admin.post("instances/check", json=body)
        assert answer.status_code < 500, (values, spec, answer.get_data(as_text=True))
        assert all(error["path"] for error in answer.get_json().get("errors") or [])

    odd()
