"""Who may do what: every route declares its permission, strangers learn nothing, and roles are kept to."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask

from clawportal.api._layer import OPERATIONS
from clawportal.http.security import MARK
from clawportal.permissions import ROLES, Permission
from tests.conftest import PASSWORD, People, Person, portal_of

PUBLIC = {"healthz", "readyz", "trade_password", "get_openapi"}
BODIES: dict[str, Any] = {
    "create_instance": {"name": "new", "adapter": "echo"},
    "check_instance": {"name": "new", "adapter": "echo"},
    "bulk_instances": {"action": "stop", "ids": ["x"]},
    "replace_instance": {"version": "1.0", "spec": {}, "generation": 1},
    "change_instance": {"generation": 1},
    "create_token": {"name": "x"},
    "chat_with_instance": {"text": "hello"},
}


def filled(path: str, **ids: str) -> str:
    return "/api/v1" + re.sub(r"{(\w+)}", lambda found: ids.get(found[1], "absent"), path)


def test_every_rule_declares_its_permission(portal_app: Flask) -> None:
    for rule in portal_app.url_map.iter_rules():
        if rule.endpoint.startswith("api."):
            mark = getattr(portal_app.view_functions[rule.endpoint], MARK)
            assert isinstance(mark, Permission) or mark.startswith("public: "), rule
    assert {operation.name for operation in OPERATIONS if operation.permission is None} == PUBLIC


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: item.name)
def test_nobody_gets_401(portal_app: Flask, operation: Any) -> None:
    answer = portal_app.test_client().open(
        filled(operation.path),
        method=operation.method,
        json=BODIES.get(operation.name),
        headers={"Authorization": "Bearer wrong"},
    )
    if operation.name in PUBLIC - {"get_openapi"}:
        return
    assert answer.status_code == 401 and answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    document = answer.get_json()
    assert document["code"] == "unauthenticated" and document["status"] == 401 and document["request_id"]


@pytest.fixture
def claw(people: People) -> dict[str, Any]:
    return people.owner.create("hidden-name", labels={"team": "hidden-label"})


def test_a_stranger_learns_nothing(people: People, claw: dict[str, Any]) -> None:
    operation_id = people.owner.get("operations").get_json()["items"][0]["id"]
    token_id = people.owner.get("tokens").get_json()["items"][0]["id"]
    ids = {"instance_id": claw["id"], "operation_id": operation_id, "token_id": token_id}
    for operation in OPERATIONS:
        if not set(ids) & set(operation.path_names):
            continue
        there = people.stranger.request(operation.method, filled(operation.path, **ids), json=BODIES.get(operation.name))
        absent = people.stranger.request(operation.method, filled(operation.path), json=BODIES.get(operation.name))
        assert there.status_code == 404, (operation.name, there.get_data(as_text=True))
        for answer in (there, absent):
            document = answer.get_json()
            del document["instance"], document["request_id"]
            answer.document = document  # type: ignore[attr-defined]
        assert there.document == absent.document, operation.name  # type: ignore[attr-defined]
    for path in ("instances", "events", "operations", "projects", "counts"):
        text = people.stranger.get(path).get_data(as_text=True)
        assert "hidden" not in text and claw["id"] not in text, path
    assert people.stranger.get("counts").get_json()["total"] == 0
    bulk = people.stranger.post("instances/bulk", {"action": "delete", "ids": [claw["id"]]}).get_json()
    assert bulk["failed"] == 1 and "hidden" not in json.dumps(bulk)
    assert people.owner.get(f"instances/{claw['id']}").get_json()["desired"] == "running"


CHANGES = {
    "stop_instance": Permission.INSTANCE_OPERATE,
    "restart_instance": Permission.INSTANCE_OPERATE,
    "kill_instance": Permission.INSTANCE_KILL,
    "rekey_instance": Permission.INSTANCE_UPDATE,
    "change_instance": Permission.INSTANCE_UPDATE,
    "replace_instance": Permission.INSTANCE_UPDATE,
    "delete_instance": Permission.INSTANCE_DELETE,
    "create_instance": Permission.INSTANCE_CREATE,
}


@pytest.mark.parametrize("name", CHANGES)
def test_roles_are_kept_to(people: People, claw: dict[str, Any], name: str) -> None:
    operation = next(item for item in OPERATIONS if item.name == name)
    assert operation.permission is CHANGES[name]
    roles = {"viewer": people.viewer, "developer": people.developer, "operator": people.operator}
    for role, person in roles.items():
        answer = person.request(operation.method, filled(operation.path, instance_id=claw["id"]), json=BODIES.get(name))
        allowed = CHANGES[name] in ROLES[role]
        assert (answer.status_code != 403) is allowed, (role, answer.get_json())
        if not allowed:
            assert "You lack the right" in answer.get_json()["detail"]
    assert people.viewer.get(f"instances/{claw['id']}").status_code == 200


def test_bulk_asks_for_the_right_of_its_action(people: People, claw: dict[str, Any]) -> None:
    for person, action, status in (
        (people.viewer, "stop", 403), (people.developer, "kill", 403), (people.operator, "delete", 403),
        (people.operator, "stop", 200),
    ):  # fmt: skip
        assert person.post("instances/bulk", {"action": action, "ids": [claw["id"]]}).status_code == status


def test_what_needs_no_tenant(people: People) -> None:
    for person in people.everybody:
        assert person.get("adapters").status_code == 200 and person.get("auth/me").status_code == 200
        assert person.get("plugins").status_code == (200 if person is people.admin else 403)


# ---- signing in and tokens


def test_trading_a_password(admin: Person) -> None:
    client = admin.app.test_client()
    answer = client.post("/api/v1/auth/token", json={"name": "admin", "password": PASSWORD, "token_name": "laptop", "days": 7})
    assert answer.status_code == 201
    made = answer.get_json()
    assert made["token"].startswith(made["prefix"]) and made["name"] == "laptop" and made["expires_at"]
    me = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {made['token']}"}).get_json()
    assert (
        me["name"] == "admin" and me["kind"] == "token" and me["token_id"] == made["id"] and "instance.read" in me["permissions"]
    )


def test_wrong_passwords_are_throttled(admin: Person) -> None:
    client = admin.app.test_client()
    statuses = [client.post("/api/v1/auth/token", json={"name": "admin", "password": "no"}).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    answer = client.post("/api/v1/auth/token", json={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 429 and answer.headers["Retry-After"]
    assert PASSWORD not in answer.get_data(as_text=True)


def test_own_tokens(people: People) -> None:
    made = people.viewer.post("tokens", {"name": "build server", "days": None}).get_json()
    assert made["expires_at"] is None
    listed = people.viewer.get("tokens").get_json()["items"]
    assert {item["name"] for item in listed} == {"tests", "build server"} and "token" not in listed[0]
    assert made["token"] not in json.dumps(listed)
    assert people.owner.delete(f"tokens/{made['id']}").status_code == 404
    assert people.viewer.delete(f"tokens/{made['id']}").status_code == 204
    assert people.viewer.delete(f"tokens/{made['id']}").status_code == 409
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert people.viewer.app.test_client().get("/api/v1/auth/me", headers=headers).status_code == 401


def test_a_session_needs_a_csrf_token(people: People, claw: dict[str, Any]) -> None:
    browser = people.owner.browser()
    assert browser.get("/api/v1/auth/me").get_json()["kind"] == "user"
    answer = browser.post(f"/api/v1/instances/{claw['id']}/stop")
    assert answer.status_code == 400 and answer.get_json()["code"] == "csrf"


# ---- health


def test_health_without_signing_in(portal_app: Flask) -> None:
    client = portal_app.test_client()
    for path in ("/healthz", "/api/v1/healthz"):
        assert client.get(path).get_json() == {"status": "ok"}
    for path in ("/readyz", "/api/v1/readyz"):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.get_json()["status"] == "ok"


def test_readiness_names_what_fails(make_app: Any) -> None:
    from clawportal.db import db

    app = make_app(jobs=True)  # background work is wanted and does not run
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    parts = answer.get_json()["parts"]
    assert not parts["jobs"]["ok"] and parts["database"]["ok"]
    with app.app_context():
        db.drop_all()
    answer = app.test_client().get("/readyz").get_json()
    assert not answer["parts"]["database"]["ok"] and "SELECT" not in json.dumps(answer)
    assert app.test_client().get("/healthz").status_code == 200


def test_readiness_with_jobs(running_app: Flask) -> None:
    assert portal_of(running_app).settings.jobs
    assert running_app.test_client().get("/readyz").get_json()["parts"]["jobs"]["ok"]
