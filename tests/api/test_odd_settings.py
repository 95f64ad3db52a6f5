"""Whatever is written into the settings of a claw: the answer names the field, and is never the portal's own failure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from clawportal import validation
from clawportal.services.configuration import secrets
from clawportal.timezones import check, suggestion
from clawportal_nanobot.settings import NanobotSettings
from clawportal_openclaw.settings import OpenClawSettings
from tests.conftest import Person, portal_of

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


@settings(deadline=None)
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
    assert validation.judge(Brittle, {"place": "a"})[1] == []
    _, errors = validation.judge(Brittle, {"number": "1", "place": "c"}, "spec.settings")
    assert [(error.path, error.message) for error in errors] == [
        ("spec.settings.place", "cannot be judged (KeyError); enter another value")
    ]


def test_a_check_of_a_plugin_may_raise_anything() -> None:
    def fails() -> Any:
        raise RuntimeError("oops")

    (error,) = validation.of_plugin(fails, "settings", "odd")
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


# ---- what is pasted


def taken(person: Person, name: str, url: str, kind: str = "nanobot", **keys: str) -> Any:
    model = {"provider": "openai-compatible", "base_url": url, "name": "m"}
    body = {"name": name, "adapter": kind, "spec": {"model": model}, "secrets": keys, "start": False}
    return person.post("instances", json=body)


@pytest.mark.parametrize(
    ("pasted", "meant", "noted"),
    [
        ("https://llm.example/v1/chat/completions", "https://llm.example/v1", "adds /chat/completions itself"),
        ("https://llm.example/v1/messages", "https://llm.example/v1", "/messages"),
        ("https://llm.example/v1/responses/", "https://llm.example/v1", "/responses"),
        ("https://llm.example/v1/embeddings", "https://llm.example/v1", "/embeddings"),
        ("https://llm.example/v1/models?api-version=1", "https://llm.example/v1?api-version=1", "/models"),
        ("https://llm.example/v1/", "https://llm.example/v1", ""),
        (' "https://llm.example/v1" ', "https://llm.example/v1", "taken as"),
        ("\ufeffhttps://llm.example/v1\u200b", "https://llm.example/v1", "taken as"),
        ("llm.example/v1", "https://llm.example/v1", "taken as https"),
        ("localhost:11434/v1", "http://localhost:11434/v1", "taken as http:"),
        ("[::1]:11434/v1", "http://[::1]:11434/v1", "taken as http:"),
        (
            "https://x.services.ai.azure.com/models/chat/completions",
            "https://x.services.ai.azure.com/models",
            "/chat/completions",
        ),
    ],
)
def test_an_address_is_taken_as_it_was_meant(admin: Person, pasted: str, meant: str, noted: str) -> None:
    answer = taken(admin, "pasted", pasted)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    document = answer.get_json()
    assert document["spec"]["model"]["base_url"] == meant
    assert noted in " ".join(document["notes"]) and bool(document["notes"]) == bool(noted)
    assert admin.get(f"instances/{document['id']}").get_json()["notes"] == []


@pytest.mark.parametrize(
    ("url", "kind", "word"),
    [
        ("https://llm.example/v1?api-version=1", "openclaw", "does not send"),
        ("https://llm.example/a b", "nanobot", "blank"),
        ("ftp://llm.example", "nanobot", "http"),
        ("https:/llm.example", "nanobot", "http"),
        ("nonsense", "nanobot", "http"),
        ("https://llm.example:99999/v1", "nanobot", "http"),
    ],
)
def test_an_address_that_cannot_be_used_is_told(admin: Person, url: str, kind: str, word: str) -> None:
    answer = taken(admin, "bad", url, kind)
    assert answer.status_code == 422
    assert word in {error["path"]: error["message"] for error in answer.get_json()["errors"]}["spec.model.base_url"]


@pytest.mark.parametrize("around", ["\ufeff", "\u200b", " ", "\n", "\u00a0"])
def test_what_stands_around_a_key_is_left_out(admin: Person, around: str) -> None:
    answer = taken(admin, "key", "https://llm.example/v1", model_api_key=f"{around}sk-1{around}")
    assert answer.status_code == 201
    assert around.isspace() or "around the API key" in answer.get_json()["notes"][0]
    with admin.app.app_context():
        portal = portal_of(admin.app)
        assert secrets.open_all(portal, answer.get_json()["id"])["model_api_key"] == "sk-1"


@pytest.mark.parametrize(
    ("key", "word"),
    [("sk-\u200b1", "zero width space (U+200B) as letter number 4"), ("schlüssel", "“ü”"), ("a\nb", "a line break"),
     ("a\x7fb", "number 2"),
     ("sk-\ufeffx", "U+FEFF"), ("\u0441k-1", "cyrillic small letter es")],
)  # fmt: skip
def test_a_key_that_no_request_can_carry_is_told_with_the_place(admin: Person, key: str, word: str) -> None:
    answer = taken(admin, "key", "https://llm.example/v1", model_api_key=key)
    assert answer.status_code == 422
    (error,) = answer.get_json()["errors"]
    assert error["path"] == "secrets.model_api_key" and word in error["message"]
