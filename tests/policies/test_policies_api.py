"""Policies over the API: who may do what, what is told, and that a refusal names the rule."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from clawportal.sdk.data import db, transaction
from clawportal.sdk.fleet import Tenant
from clawportal_policies.api import _KIND
from clawportal_policies.kinds import ACTIONS, KINDS
from tests.conftest import People, Person

NO_ECHO = {"name": "no-echo", "title": "Only nanobot", "kind": "adapters", "parameters": {"allowed": ["nanobot"]}}


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def made(person: Person, tenant: str | None, status: int = 201, **body: Any) -> Any:
    answer = person.post("policies", {"tenant": tenant, **body})
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_json()


def test_the_life_of_a_rule(people: People, home: str) -> None:
    owner = people.owner
    rule = made(owner, home, **NO_ECHO)
    assert rule["tenant_id"] == home and rule["mode"] == "enforce" and rule["enabled"] and rule["created_by"] == "owner"
    assert owner.get("policies").get_json()["total"] == 1
    assert owner.get(f"policies?tenant={home}").get_json()["items"] == [rule]
    answer = owner.post("instances", {"name": "one", "adapter": "echo"})
    problem = answer.get_json()
    assert answer.status_code == 409 and problem["code"] == "policy" and problem["type"] == "urn:clawportal:problem:policy"
    assert [item["name"] for item in problem["policies"]] == ["no-echo"] and problem["errors"][0]["path"] == "adapter"
    checked = owner.post("instances/check", {"name": "one", "adapter": "echo"}).get_json()
    assert not checked["ok"] and checked["errors"][0]["code"] == "policy"
    changed = owner.patch(f"policies/{rule['id']}", {"mode": "warn", "remedy": "Ask Kim."}).get_json()
    assert changed["mode"] == "warn" and changed["parameters"] == rule["parameters"]
    one = owner.create("one")
    assert one["warnings"][0]["name"] == "no-echo" and "Ask Kim." in one["warnings"][0]["sentence"]
    assert owner.get(f"instances/{one['id']}").get_json()["warnings"] == []
    bulk = owner.post("instances/bulk", {"action": "restart", "ids": [one["id"]]}).get_json()
    assert "Only nanobot" in bulk["items"][0]["warning"]
    breaking = owner.get(f"policies/{rule['id']}/breaking").get_json()
    assert (breaking["broken"], breaking["looked_at"], breaking["items"][0]["name"]) == (1, 1, "one")
    assert owner.delete(f"policies/{rule['id']}").status_code == 204
    assert owner.get(f"policies/{rule['id']}").status_code == 404


def test_what_is_wrong_says_where(people: People, home: str) -> None:
    bad = {"name": "x", "kind": "expression", "parameters": {"expression": "true &&\n foo"}}
    problem = made(people.owner, home, 422, **bad)
    assert problem["errors"] == [
        {"path": "parameters.expression", "message": "Line 2, column 2: undeclared reference to 'foo'.", "code": "invalid"}
    ]
    assert made(people.owner, home, 422, **(NO_ECHO | {"kind": "magic"}))["errors"][0]["path"] == "kind"
    assert made(people.owner, home, 422, **(NO_ECHO | {"parameters": {}}))["errors"][0]["path"] == "parameters.allowed"
    made(people.owner, "0" * 26, 404, **NO_ECHO)


def test_the_rights(people: People, home: str) -> None:
    rule = made(people.owner, home, **NO_ECHO)
    path = f"policies/{rule['id']}"
    for person in (people.viewer, people.developer, people.operator):
        assert person.get(path).status_code == 200
        assert person.patch(path, {"enabled": False}).status_code == 403
        made(person, home, 403, **NO_ECHO)
        assert person.post("policies/dry-run", {"tenant": home, "adapter": "echo"}).status_code == 200
    for method in ("get", "delete"):
        assert getattr(people.stranger, method)(path).status_code == 404
    assert people.stranger.patch(path, {"enabled": False}).status_code == 404
    assert people.stranger.get("policies").get_json()["total"] == 0
    assert people.stranger.get(f"policies?tenant={home}").status_code == 404
    assert people.stranger.post("policies/dry-run", {"tenant": home, "adapter": "echo"}).status_code == 404
    made(people.owner, None, 403, **NO_ECHO)


def test_a_rule_of_the_portal_binds_everybody(people: People, home: str) -> None:
    rule = made(people.admin, None, **NO_ECHO)
    for person in (people.owner, people.stranger, people.admin):
        assert person.post("instances", {"name": "one", "adapter": "echo"}).status_code == 409
        assert person.get(f"policies/{rule['id']}").get_json()["tenant_id"] is None
    for person in (people.owner, people.stranger):
        assert person.delete(f"policies/{rule['id']}").status_code == 403
    assert people.admin.patch(f"policies/{rule['id']}", {"enabled": False}).status_code == 200
    people.stranger.create("one")


def test_trying(people: People, home: str) -> None:
    owner = people.owner
    made(owner, home, **NO_ECHO)
    made(owner, home, **(NO_ECHO | {"name": "off", "enabled": False}))
    tried = owner.post("policies/dry-run", {"tenant": home, "adapter": "echo"}).get_json()
    assert not tried["allowed"] and [(i["name"], i["outcome"], i["enabled"]) for i in tried["items"]] == [
        ("no-echo", "refuses", True), ("off", "refuses", False),
    ]  # fmt: skip
    rule = {"kind": "size", "parameters": {"memory": "1Gi"}}
    body = {"tenant": home, "adapter": "nanobot", "memory": "2Gi", "rule": rule}
    tried = owner.post("policies/dry-run", body).get_json()
    assert (
        not tried["allowed"] and tried["items"][0]["name"] == "not-saved" and tried["items"][0]["path"] == "spec.resources.memory"
    )
    body = {"tenant": home, "adapter": "echo", "rule": {"kind": "expression", "parameters": {"expression": "1 +"}}}
    answer = owner.post("policies/dry-run", body)
    assert answer.status_code == 422 and "Line 1, column 4" in answer.get_json()["detail"]
    assert people.viewer.post("policies/dry-run", body).status_code == 403


def test_the_kinds_are_documented(people: People) -> None:
    found = people.viewer.get("policy-kinds").get_json()
    assert [item["kind"] for item in found["items"]] == list(KINDS) == list(_KIND.__args__)
    assert all(item["parameters"]["properties"] for item in found["items"])
    assert found["actions"] == ACTIONS and found["examples"]


def test_the_choices_of_the_document_are_those_of_the_rules(portal_app: Flask) -> None:
    from clawportal_policies.api import _ACTION

    assert _ACTION.__args__ == tuple(ACTIONS)


def test_where_a_second_factor_is_asked_for_rules_say_so(people: People, home: str) -> None:
    """As every other row: who only lacks the factor is told how to get one, and strangers learn nothing."""
    ours, everywhere = made(people.owner, home, **NO_ECHO), made(people.admin, None, **NO_ECHO)
    with people.owner.app.app_context(), transaction():
        db.session.get_one(Tenant, home).require_totp = True
    told = people.viewer.get(f"policies/{ours['id']}")
    assert (told.status_code, told.get_json()["code"]) == (403, "totp_required")
    assert people.viewer.get(f"policies/{everywhere['id']}").get_json()["code"] == "totp_required"
    assert people.stranger.get(f"policies/{ours['id']}").status_code == 404
