"""Large requests: refused in words with the limit, and never answered with more than was asked."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from clawportal.errors import MOST_ERRORS, FieldError, Invalid
from tests.conftest import Person

MIB = 1024**2


def mistakes(number: int, size: int = 3) -> dict[str, Any]:
    return {f"{place:0{size}d}": 1 for place in range(number)}


def test_a_flood_of_mistakes_is_told_in_fifty_sentences(portal_app: Flask) -> None:
    answer = portal_app.test_client().post("/api/v1/auth/login", json=mistakes(4000))
    assert answer.status_code == 422 and len(answer.data) < 16_000
    errors = answer.get_json()["errors"]
    assert len(errors) == MOST_ERRORS + 1 and errors[-1]["message"] == "and 3,952 more"


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/otp/verify", "/api/v1/instances"])
def test_strangers_send_little(portal_app: Flask, path: str) -> None:
    answer = portal_app.test_client().post(path, data=b'{"a": "' + b"x" * (3 * MIB) + b'"}', content_type="application/json")
    assert answer.status_code in (401, 413) and len(answer.data) < 2_000
    if answer.status_code == 413:
        assert answer.get_json()["title"] == "This is too large"
        assert answer.get_json()["detail"] == "64 KB can be sent at most here; this was 3 MB."


def test_a_page_says_so_in_the_readers_language(portal_app: Flask) -> None:
    client = portal_app.test_client()
    form = {"username": "x" * (3 * MIB), "password": "y"}
    for language, words in (("en", "64 KB can be sent at most here"), ("zh", "最多可发送 64 KB")):
        answer = client.post("/login", data=form, headers={"Accept-Language": language})
        assert answer.status_code == 413 and words in answer.get_data(as_text=True) and len(answer.data) < 30_000


def test_members_may_send_more_but_not_without_end(admin: Person) -> None:
    body = {"name": "a", "adapter": "echo", "spec": {"persona": "p" * 60_000, "settings": mistakes(1000)}}
    answer = admin.post("instances/check", json=body)
    messages = {item["path"]: item["message"] for item in answer.get_json()["errors"]}
    assert messages["spec.persona"] == "may have 50,000 characters at most; these are 60,000"
    answer = admin.post("instances", json=mistakes(100_000, 20))
    assert answer.status_code == 400 and "20,000 values" in answer.get_json()["detail"] and len(answer.data) < 2_000
    answer = admin.request("POST", "instances", data=b" " * (5 * MIB), content_type="application/json")
    assert answer.status_code == 413 and answer.get_json()["detail"] == "4 MB can be sent at most here; this was 5 MB."


def test_what_was_sent_does_not_come_back(admin: Person) -> None:
    for body in ({"k" * MIB: 1}, {"name": "n", "adapter": "a" * MIB}, {"name": "n" * MIB, "adapter": "echo"}):
        answer = admin.post("instances", json=body)
        assert answer.status_code == 422 and len(answer.data) < 10_000


def test_a_problem_cuts_what_is_too_long() -> None:
    problem = Invalid("d" * 10_000, errors=[FieldError("p" * 10_000, "m" * 10_000)] * 51)
    assert len(problem.detail) < 5_000 and len(problem.errors) == 51
    assert len(problem.errors[0].path) < 250 and len(problem.errors[0].message) < 1_100
    assert problem.errors[-1].message == "and 1 more"


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [("GET", "/api/v1/auth/login", 405, "This cannot be done here"), ("GET", "/nowhere", 404, "There is no such page")],
)
def test_other_refusals_are_in_words(portal_app: Flask, method: str, path: str, status: int, title: str) -> None:
    answer = portal_app.test_client().open(path, method=method, headers={"Accept": "application/json"})
    assert answer.status_code == status and answer.get_json()["title"] == title
