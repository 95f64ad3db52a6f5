"""JSON Schema and forms: what is typed is understood, or comes back as it was."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from flask import Flask
from pydantic import BaseModel, Field
from werkzeug.datastructures import MultiDict

from clawportal.http import forms


class Inner(BaseModel):
    depth: int = 1


class Everything(BaseModel):
    text: str = ""
    greeting: str = "Hello"
    whole: int = 5
    maybe: int | None = None
    part: float = 0.5
    yes: bool = False
    choice: Literal["", "a", "b"] = "a"
    size: Literal["s", "m"] = "s"
    names: list[str] = []
    numbers: list[int] = []
    table: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    inner: Inner = Inner()
    key: str = Field("", json_schema_extra={"x-secret": True})


SCHEMA = Everything.model_json_schema()


@pytest.fixture(autouse=True)
def _in_a_request(portal_app: Flask) -> Any:
    with portal_app.test_request_context():
        yield


def said(**fields: str | list[str]) -> forms.Read:
    sent: MultiDict[str, str] = MultiDict({f"s.{name}": value for name, value in fields.items()})
    return forms.read(sent, "s", SCHEMA)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "a\r\nb", "a\nb"),
        ("whole", " 7 ", 7),
        ("maybe", "-3", -3),
        ("part", "1e-3", 0.001),
        ("yes", ["false", "true"], True),
        ("yes", ["false"], False),
        ("choice", "b", "b"),
        ("choice", "", ""),
        ("greeting", "", ""),
        ("names", " a \n\n b,c ", ["a", "b,c"]),
        ("names", "", []),
        ("numbers", "1\n2", [1, 2]),
        ("table", '{"a": 1}', {"a": 1}),
        ("rows", '[{"a": 1}]', [{"a": 1}]),
        ("inner.depth", "3", None),
    ],
)
def test_what_is_typed_is_understood(name: str, text: str | list[str], value: Any) -> None:
    found = said(**{name: text})
    assert not found.errors
    expected = {"inner": {"depth": 3}} if value is None else {name: value}
    assert found.document == expected
    Everything.model_validate(found.document)


@pytest.mark.parametrize("name", ["text", "whole", "maybe", "part", "size"])
def test_an_empty_field_is_not_set(name: str) -> None:
    found = said(**{name: ""})
    assert found.document == {} and found.typed == {name: ""} and not found.errors


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("whole", "five"),
        ("whole", "1_000"),
        ("maybe", "1.5"),
        ("part", "nan"),
        ("part", "0,5"),
        ("numbers", "1\nx"),
        ("table", "{"),
        ("table", "[]"),
        ("rows", "{}"),
    ],
)
def test_what_cannot_be_read_stays(name: str, text: str) -> None:
    found = said(**{name: text})
    assert set(found.errors) == {f"s.{name}"} and found.typed[name] == text and found.document[name] == text


def test_secrets_and_strangers_stay_out() -> None:
    found = said(key="hidden", stranger="x")
    assert found.document == {} and found.typed == {}


def test_secrets_are_read_apart() -> None:
    sent: MultiDict[str, str] = MultiDict({"secrets.key": "k", "secrets.empty": "", "other": "x"})
    assert forms.read_secrets(sent) == {"key": "k"}


def test_a_document_survives_the_form() -> None:
    document = Everything(names=["x", "y"], table={"a": [1]}, rows=[{"b": 2}], inner=Inner(depth=9), yes=True).model_dump()
    seen = forms.shown(document, SCHEMA)
    texts: dict[str, str | list[str]] = {}
    for name, value in seen.items():
        if name == "inner":
            texts["inner.depth"] = str(value["depth"])
        elif isinstance(value, bool):
            texts[name] = ["false", "true"] if value else ["false"]
        elif isinstance(value, list):
            texts[name] = "\n".join(map(str, value))
        elif isinstance(value, dict):
            texts[name] = json.dumps(value)
        else:
            texts[name] = "" if value is None else str(value)
    back = said(**texts)
    assert not back.errors
    assert Everything.model_validate(back.document).model_dump() == document
