"""A portal whose plugin for rules was left out: nothing of rules is there, the rest works, and back in, all is there again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from clawportal.db import db
from clawportal.pluginmanager import BUNDLED
from tests.conftest import People, Person, make_people, portal_of
from tests.rights.test_rights_pages import Browser

REST = ",".join(name for name in BUNDLED if name != "clawportal_policies")
NO_ECHO = {"name": "no-echo", "title": "Only nanobot", "kind": "adapters", "parameters": {"allowed": ["nanobot"]}}


@pytest.fixture
def ruled(make_app: Callable[..., Flask]) -> tuple[People, str]:
    """A portal with all plugins, and a rule that refuses the echo claw; with the id of the organisation."""
    people = make_people(make_app())
    home = str(people.owner.get("tenants").get_json()["items"][0]["id"])
    assert people.owner.post("policies", {"tenant": home, **NO_ECHO}).status_code == 201
    return people, home


def again(make_app: Callable[..., Flask], person: Person, **settings: Any) -> Person:
    """The same person at the next portal on the same folder."""
    return replace(person, app=make_app(**settings))


def rules(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(text("SELECT name FROM policy")))


def create(person: Person, name: str) -> int:
    return int(person.post("instances", {"name": name, "adapter": "echo", "start": False}).status_code)


def test_nothing_of_rules_is_there(ruled: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, home = ruled
    owner = again(make_app, people.owner, plugins=REST)
    assert [rule.endpoint for rule in owner.app.url_map.iter_rules() if "polic" in str(rule)] == []
    assert owner.get("policies").status_code == 404 and owner.get("policy-kinds").status_code == 404
    document = owner.get("openapi.json").get_json()
    assert "Policies" not in {tag["name"] for tag in document["tags"]} and not any("polic" in path for path in document["paths"])
    with owner.app.app_context():
        portal = portal_of(owner.app)
        assert not [right for right in portal.permissions if right.startswith("policy.")]
        assert portal.registry.feature("policies") is None and "policy" not in portal.registry.nouns
    there = [
        one.app.extensions["clawportal_catalogues"].label("Rules of the whole portal", "zh_Hans") for one in (people.owner, owner)
    ]
    assert there == ["整个门户的规则", "Rules of the whole portal"], "words come and go with it"
    page = Browser(owner).page(f"/tenants/{home}")
    assert "/policies" not in page and "Members" in page
    assert "/policies" not in Browser(again(make_app, people.admin, plugins=REST)).page("/tenants")


def test_the_rest_works_and_the_data_stays(ruled: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, _home = ruled
    assert create(people.owner, "refused") == 409
    assert "Not allowed by the rule" in Browser(people.owner).page("/instances/new?adapter=echo")
    owner = again(make_app, people.owner, plugins=REST)
    assert create(owner, "free") == 201
    assert owner.post("instances/check", {"name": "other", "adapter": "echo"}).get_json()["ok"]
    assert "Not allowed by the rule" not in Browser(owner).page("/instances/new?adapter=echo")
    found = owner.get("instances").get_json()["items"][0]
    bulk = owner.post("instances/bulk", {"action": "start", "ids": [found["id"]]})
    assert bulk.status_code == 200 and bulk.get_json()["failed"] == 0, bulk.get_data(as_text=True)
    assert "policy.created" in {event["kind"] for event in owner.get("events").get_json()["items"]}, "what happened is still told"
    assert rules(owner.app) == ["no-echo"]


def test_back_in_all_is_there_again(ruled: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, home = ruled
    again(make_app, people.owner, plugins=REST)
    owner = again(make_app, people.owner)
    assert [rule["name"] for rule in owner.get(f"policies?tenant={home}").get_json()["items"]] == ["no-echo"]
    assert create(owner, "one") == 409
    assert f"/tenants/{home}/policies" in Browser(owner).page(f"/tenants/{home}")
    assert "/policies" in Browser(again(make_app, people.admin)).page("/tenants")
    assert "/policies" not in Browser(owner).page("/tenants"), "the rules of the whole portal are not theirs to write"


@pytest.mark.parametrize(("plugins", "there"), [("", True), (REST, False)])
def test_the_command_comes_and_goes(plugins: str, there: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clawportal.cli.claw", "policy", "--help"],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "CLAWPORTAL_PLUGINS": plugins},
    )  # fmt: skip
    assert (done.returncode == 0) is there, done.stdout + done.stderr
    assert there or "No such command" in done.stderr


def test_expressions_are_known_to_the_plugin_alone() -> None:
    """A portal without it starts without the engine for expressions."""
    program = (
        "import sys, clawportal.app, clawportal.pluginmanager as p; "
        f"r = p.load({REST.split(',')!r}); "
        "print(*(one for one in sys.modules if one.startswith(('clawportal_policies', 'cel_expr_python'))))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert found.stdout.split() == []
