"""Pages of configuration templates: list, editor, versions, a claw of one and its tab, and who sees what."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from tests.conftest import People, Person

GREETER: dict[str, Any] = {
    "name": "greeter", "adapter": "echo",
    "variables": [{"name": "who", "required": True}, {"name": "key", "type": "secret"},
                  {"name": "mood", "type": "choice",
                   "choices": ["<b>", "calm"]},
                  {"name": "often", "type": "number", "default": 0, "set_by": "writers", "seen_by": "writers"}],
    "body": {"spec": {"settings": {"greeting": "Hello ${who}", "log_every": "${often}"}}, "secrets": {"model_api_key": "${key}"}},
}  # fmt: skip
_ROW = (
    "name",
    "type",
    "title",
    "default",
    "choices",
    "pattern",
    "minimum",
    "maximum",
    "description",
    "required",
    "seen_by",
    "set_by",
)


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


@pytest.fixture
def one(people: People, home: str) -> dict[str, Any]:
    found: dict[str, Any] = people.owner.post("configs", {**GREETER, "tenant": home}).get_json()
    return found


class Browser:
    """Somebody at the pages, with the token that a form needs."""

    def __init__(self, person: Person) -> None:
        self.client: FlaskClient = person.browser()
        found = re.search(r'<meta name="csrf-token" content="([^"]+)">', self.get("/profile"))
        assert found
        self.token = html.unescape(found[1])

    def get(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, (path, answer.status_code)
        return answer.get_data(as_text=True)

    def post(self, path: str, status: int, rows: list[dict[str, str]] | None = None, **form: str) -> TestResponse:
        fields = MultiDict({"csrf_token": self.token, **form})
        for row in rows or []:
            for name in _ROW:
                fields.add(f"variables.{name}", row.get(name, ""))
        answer = self.client.post(path, data=fields)
        assert answer.status_code == status, (path, answer.status_code, answer.get_data(as_text=True)[:2000])
        return answer


def test_the_editor(people: People, home: str) -> None:
    owner = Browser(people.owner)
    assert "No templates yet" in owner.get("/configs") and "Echo" in owner.get("/configs/new")
    rows = [{"name": "who", "type": "string", "required": "true"}, {"name": ""}]
    form = {"adapter": "echo", "name": "made", "target": f"tenant:{home}", "labels.name": "team", "labels.value": "x"}
    wrong = owner.post("/configs/new", 200, rows, **form, check="1", body="spec:\n  settings:\n    colour: the ${who}\n  x: 1\n")
    marks = re.search(r"data-marks='([^']*)'", wrong.get_data(as_text=True))
    assert marks and {(mark["line"], mark["path"]) for mark in json.loads(html.unescape(marks[1]))} == {
        (4, "body.spec.x"), (3, "body.spec.settings.colour"),
    }  # fmt: skip
    good = "spec:\n  settings: {greeting: 'Hi ${who}'}\n"
    checked = owner.post("/configs/new", 200, rows, **form, check="1", body=good).get_data(as_text=True)
    assert "It is good as it is" in checked and "Each claw needs a value for: who." in checked
    assert people.owner.get("configs").get_json()["total"] == 0, "a check stores nothing"
    assert "is not YAML" in owner.post("/configs/new", 422, rows, **form, body="spec: [").get_data(as_text=True)
    broken = owner.post("/configs/new", 422, [{"name": "Big"}], **form, body=good).get_data(as_text=True)
    assert 'data-error-for="variables.0.name"' in broken and "small letters, digits and underscores" in broken
    place = owner.post("/configs/new", 303, rows, **form, body=good, message="First").location
    assert "Hi ${who}" in owner.get(place)
    edited = {"adapter": "echo", "name": "made", "revision": "1", "body": good.replace("Hi", "Bye"), "message": "Second"}
    owner.post(f"{place}/edit", 303, rows, **edited)
    assert "is at revision 2 now" in owner.post(f"{place}/edit", 412, rows, **edited).get_data(as_text=True)
    shown = owner.get(f"{place}/versions?before=1&after=2")
    assert "Second" in shown and "body.spec.settings.greeting" in shown and '<span class="line add">' in shown
    owner.post(f"{place}/versions/1/restore", 303)
    owner.post(f"{place}/duplicate", 303)
    assert {item["name"]: item["latest"] for item in people.owner.get("configs").get_json()["items"]} == {"made": 3, "made-2": 1}
    owner.get(f"{place}/versions?before=1&after=99", 404)
    owner.get(f"{place}/versions?before=x&after=1", 404)
    assert "made" in owner.get(f"{place}/delete")
    owner.post(f"{place}/delete", 303)
    owner.get(place, 404)


def test_what_was_typed_comes_back_as_text(people: People, one: dict[str, Any]) -> None:
    owner = Browser(people.owner)
    page = owner.get(f"/configs/{one['id']}/edit")
    assert "&lt;b&gt;, calm" in page and "<b>, calm" not in page
    form = {"adapter": "echo", "name": "greeter", "revision": "1", "body": "x"}
    again = owner.post(f"/configs/{one['id']}/edit", 422, [{"name": "<script>"}], **form)
    assert "<script>" not in again.get_data(as_text=True).replace("<script type", "")


def test_a_claw_of_it_and_its_tab(people: People, one: dict[str, Any]) -> None:
    developer, owner = Browser(people.developer), Browser(people.owner)
    place = f"/configs/{one['id']}/instances/new"
    asked = developer.get(place)
    assert 'name="variables.who"' in asked and 'name="variables.often"' not in asked, "what only writers see is not asked"
    assert 'name="variables.often"' in owner.get(place)
    typed = {"variables.key": "s3cret-value", "variables.mood": "calm"}
    missing = developer.post(place, 422, name="desk", **typed, **{"variables.who": ""}).get_data(as_text=True)
    assert "who is needed." in missing and "s3cret-value" not in missing
    made = developer.post(place, 303, name="desk", **typed, **{"variables.who": "kim"})
    tab = f"{made.location}/template"
    assert "greeter" in developer.get(made.location) and "Outdated" not in developer.get(tab)
    people.owner.request("PUT", f"/api/v1/configs/{one['id']}", json={
        "revision": 1, "body": {**GREETER["body"], "spec": {"settings": {"greeting": "Bye ${who}"}}},
    })  # fmt: skip
    assert "Outdated" in developer.get(tab) and "Outdated" in developer.get(made.location)
    assert "Outdated" in owner.get(f"/configs/{one['id']}")
    given = {"variables.who": "kim", "variables.mood": "calm"}
    looked = developer.post(tab, 200, version="2", generation="1", **given).get_data(as_text=True)
    assert "Bye kim" in looked and "Move to version 2" in looked
    stale = {"version": "2", "generation": "9", "move": "1", **given}
    developer.post(tab, 412, **stale)
    developer.post(tab, 303, **stale | {"generation": "1"})
    assert "Outdated" not in developer.get(tab) and "s3cret-value" not in developer.get(tab)
    assert "desk" in owner.get(f"/configs/{one['id']}/delete")
    owner.post(f"/configs/{one['id']}/delete", 409)
    developer.post(f"{tab}/make", 403, name="mine")
    assert "already a configuration template" in owner.post(f"{tab}/make", 422, name="greeter").get_data(as_text=True)
    owner.post(f"{tab}/make", 303, name="like-desk")


def test_who_may_not_write_sees_no_buttons(people: People, one: dict[str, Any]) -> None:
    viewer, stranger = Browser(people.viewer), Browser(people.stranger)
    page = viewer.get(f"/configs/{one['id']}")
    assert "greeter" in page and "/edit" not in page and "/delete" not in page and "instances/new" not in page
    assert "/configs/new" not in viewer.get("/configs") and "/restore" not in viewer.get(f"/configs/{one['id']}/versions")
    viewer.get(f"/configs/{one['id']}/edit", 403)
    viewer.post(f"/configs/{one['id']}/duplicate", 403)
    assert "greeter" not in stranger.get("/configs")
    for path in ("", "/versions", "/edit", "/delete", "/instances/new"):
        stranger.get(f"/configs/{one['id']}{path}", 404)


def test_the_tab_and_the_api_name_secrets_that_would_go(people: People, one: dict[str, Any]) -> None:
    developer = Browser(people.developer)
    typed = {"variables.who": "kim", "variables.key": "s3cret-value"}
    made = developer.post(f"/configs/{one['id']}/instances/new", 303, name="desk", **typed)
    tab = f"{made.location}/template"
    look = {"version": "2", "generation": "1", "variables.who": "kim"}
    assert "These secrets are deleted" not in developer.post(tab, 200, **look | {"version": "1"}).get_data(as_text=True)
    people.owner.request("PUT", f"/api/v1/configs/{one['id']}", json={"revision": 1, "body": {"spec": GREETER["body"]["spec"]}})
    looked = developer.post(tab, 200, **look).get_data(as_text=True)
    assert "These secrets are deleted: <code>model_api_key</code>" in looked and "s3cret-value" not in looked
    shown = people.developer.post(f"instances/{tab.split('/instances/')[1]}/preview", {})
    assert shown.get_json()["removed_secrets"] == ["model_api_key"]
