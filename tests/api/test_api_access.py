"""Who may do what: every route declares its permission, strangers learn nothing, and roles are kept to."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from flask import Flask

from clawportal.contracts.core_permissions import (
    INSTANCE_CREATE,
    INSTANCE_DELETE,
    INSTANCE_KILL,
    INSTANCE_OPERATE,
    INSTANCE_UPDATE,
)
from clawportal.contracts.permissions import Permission
from clawportal.db import db, transaction
from clawportal.http.security import MARK
from clawportal_notifications.models import Line
from tests.api_operations import OPERATIONS
from tests.conftest import PASSWORD, People, Person, make_cluster, portal_of
from tests.core_roles import ROLES
from tests.single_sign_on.rows import make_provider

PUBLIC = {"healthz", "readyz", "trade_password", "get_openapi", "log_in", "refresh_tokens", "verify_otp"}
BODIES: dict[str, Any] = {
    "create_instance": {"name": "new", "adapter": "echo"},
    "create_instance_file": {"path": "work/x"},
    "move_instance_file": {"path": "work/x", "target": "work/y"},
    "copy_instance_file": {"path": "work/x", "target": "work/y"},
    "delete_instance_file": {"path": "work/x"},
    "restore_instance_file": {},
    "check_instance": {"name": "new", "adapter": "echo"},
    "duplicate_instance": {"name": "new"},
    "preview_duplicate": {"name": "new"},
    "create_filter": {"name": "hidden-filter", "query": {"state": "failed"}},
    "change_filter": {"name": "taken-over"},
    "put_instance_note": {"text": "Taken over", "revision": 0},
    "bulk_instances": {"action": "stop", "ids": ["x"]},
    "replace_instance": {"version": "1.0", "spec": {}, "generation": 1},
    "change_instance": {"generation": 1},
    "create_token": {"name": "x"},
    "chat_with_instance": {"text": "hello"},
    "move_instance": {"project": "default"},
    "create_share": {"member": "viewer", "role": "viewer"},
    "create_member": {"name": "kim", "role": "developer"},
    "change_member": {"role": "developer"},
    "put_layer": {"defaults": {}, "enforced": {}},
    "change_provider": {"title": "x", "issuer": "https://id.example.com", "client_id": "x"},
    "create_group_role": {"group": "x", "role": "viewer"},
    "create_service_account": {"name": "robot", "role": "viewer"},
    "change_service_account": {},
    "create_service_token": {"name": "x"},
    "preview_layer": {"defaults": {}, "enforced": {}},
    "create_policy": {"tenant": None, "name": "x", "kind": "adapters", "parameters": {"allowed": ["*"]}},
    "change_policy": {"enabled": True},
    "create_credential": {"tenant": None, "name": "hidden-key", "provider": "openai", "key": "sk-0123456789"},
    "change_credential": {"title": "Taken over"},
    "rotate_credential": {"key": "sk-taken-over"},
    "create_config": {"tenant": "0" * 26, "name": "x", "adapter": "echo", "body": {}},
    "put_config": {"description": "Taken over", "revision": 1},
    "validate_config": {},
    "restore_config_version": {},
    "put_instance_template": {"generation": 1},
    "try_policies": {"tenant": "x", "adapter": "echo"},
    "create_role": {"name": "night-watch", "permissions": ["instance.read"]},
    "replace_role": {"permissions": ["instance.read"]},
    "create_invitation": {"role": "viewer"},
    "change_tenant": {"title": "Taken over"},
    "replace_tenant": {"title": "Taken over"},
    "replace_project": {"title": "Taken over"},
    "put_tenant_quota": {"instances": 0},
    "change_project": {"title": "Taken over"},
    "put_project_quota": {"instances": 0},
    "change_user": {"active": False},
    "create_cluster": {"name": "taken-over", "runtime": "process"},
    "change_cluster": {"title": "Taken over"},
    "test_new_cluster": {"runtime": "process"},
    "test_cluster": {},
    "import_foreign": {},
}


def body_of(operation: Any) -> Any:
    """What a request for this operation carries: as said above, else as its own example."""
    if "body" not in operation.parameters:
        assert operation.name not in BODIES, operation.name
        return None
    return BODIES.get(operation.name, operation.example if operation.example is not None else {})


def filled(path: str, **ids: str) -> str:
    return "/api/v1" + re.sub(r"{(\w+)}", lambda found: ids.get(found[1], "absent"), path)


def test_every_rule_declares_its_permission(portal_app: Flask) -> None:
    for rule in portal_app.url_map.iter_rules():
        if rule.endpoint.startswith("api."):
            mark = getattr(portal_app.view_functions[rule.endpoint], MARK)
            assert isinstance(mark, Permission) or mark.startswith("public: "), rule
    assert {operation.name for operation in OPERATIONS if operation.permission is None} == PUBLIC


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: item.name)
def test_nobody_gets_401(quiet_app: Flask, operation: Any) -> None:
    answer = quiet_app.test_client().open(
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


NOBODYS = {"kind", "verb", "name", "port"}
"""Parts of a path that name nothing of anybody's."""


def things(owner: Person, member: Person, claw: dict[str, Any]) -> dict[str, str]:
    """One thing for each kind of id that stands in a path, all in the owner's tenant."""

    def first(path: str) -> dict[str, Any]:
        return cast("dict[str, Any]", owner.get(path).get_json()["items"][0])

    owner.browser()  # begins a session
    tenant = first("tenants")["id"]
    made = {
        "project_id": owner.post("projects", {"tenant": tenant, "name": "hidden-project"}),
        "role_id": owner.post(f"tenants/{tenant}/roles", {"name": "hidden-role", "permissions": ["instance.read"]}),
        "grant_id": owner.post(f"instances/{claw['id']}/shares", {"member": member.name, "role": "operator"}),
        "invitation_id": owner.post(f"tenants/{tenant}/invitations", {"role": "viewer", "note": "hidden-note"}),
        "account_id": owner.post(f"tenants/{tenant}/service-accounts", {"name": "hidden-robot", "role": "viewer"}),
        "share_id": owner.post(f"instances/{claw['id']}/apps/http/shared-links", {"note": "hidden-link"}),
        "conversation_id": owner.post("conversations", {"instance": claw["id"], "title": "hidden-talk"}),
        "filter_id": owner.post("filters", {**BODIES["create_filter"], "tenant": tenant}),
        "credential_id": owner.post("credentials", {**BODIES["create_credential"], "tenant": tenant}),
        "config_id": owner.post("configs", {**BODIES["create_config"], "tenant": tenant, "name": "hidden-template"}),
        "policy_id": owner.post("policies", {**BODIES["create_policy"], "tenant": tenant}),
    }
    provider, group, identity = make_provider(owner, tenant)
    return {name: answer.get_json()["id"] for name, answer in made.items()} | {
        "provider_id": provider, "group_id": group, "identity_id": identity,
        "tenant_id": tenant, "instance_id": claw["id"], "user_id": member.actor.id, "seq": str(first("audit")["seq"]),
        "cluster_id": make_cluster(owner.app, "hidden-cluster", [tenant]), "operation_id": first("operations")["id"],
        "notification_id": make_notification(owner),
        "message_id": "0" * 26,  # reached by way of its conversation only
        "token_id": first("tokens")["id"], "session_id": first("auth/sessions")["id"],
        "file_path": "work/x", "number": "1",
        "upload_id": "01m8pken50qyyankawh27723pj",
        "item_id": "20261130T153000-0123abcd",  # whoever may not see the claw is not asked for more
    }  # fmt: skip


def make_notification(owner: Person) -> str:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with owner.app.app_context(), transaction():
        told = Line(user_id=owner.actor.id, interest="instance.failed", seq=1, message="hidden", first_at=moment, at=moment)
        db.session.add(told)
        db.session.flush()
        return told.id


def test_a_stranger_learns_nothing(people: People, claw: dict[str, Any]) -> None:
    ids = things(people.owner, people.viewer, claw)
    signed_in = people.admin.app.test_client().post("/api/v1/auth/login", json={"name": "stranger", "password": PASSWORD})
    stranger = replace(people.stranger, token=signed_in.get_json()["access_token"])  # may do more than an API token
    for operation in OPERATIONS:
        if not set(operation.path_names) - NOBODYS:
            continue
        assert set(operation.path_names) - NOBODYS <= set(ids), "a new kind of id: make such a thing in things()"
        there = stranger.request(operation.method, filled(operation.path, **ids), json=body_of(operation))
        absent = stranger.request(operation.method, filled(operation.path, seq="987654321"), json=body_of(operation))
        # who manages their own tenant only is refused what is for the whole portal, whatever the id
        status = 404 if operation.permission in ROLES["tenant-admin"] else 403
        assert there.status_code == status, (operation.name, there.get_data(as_text=True))
        for answer in (there, absent):
            document = answer.get_json()
            del document["instance"], document["request_id"]
            answer.document = document  # type: ignore[attr-defined]
        assert there.document == absent.document, operation.name  # type: ignore[attr-defined]
    for path in ("instances", "events", "operations", "projects", "counts", "tenants", "tokens", "conversations"):
        text = stranger.get(path).get_data(as_text=True)
        assert "hidden" not in text and claw["id"] not in text, path
    told = stranger.get("audit?limit=200").get_json()["items"]  # their own attempts, with the ids that they sent themselves
    assert told and "hidden" not in json.dumps(told) + stranger.get("audit/export").get_data(as_text=True)
    assert {(item["instance_id"], item["tenant_id"]) for item in told} == {(None, people.acme)}
    assert stranger.get("counts").get_json()["total"] == 0
    bulk = stranger.post("instances/bulk", {"action": "delete", "ids": [claw["id"]]}).get_json()
    assert bulk["failed"] == 1 and "hidden" not in json.dumps(bulk)
    assert people.owner.get(f"instances/{claw['id']}").get_json()["desired"] == "running"
    assert what_changed(people.owner, ids) == []


def what_changed(owner: Person, ids: dict[str, str]) -> list[str]:
    """Which of the things are not as they were."""
    tenant = f"tenants/{ids['tenant_id']}"
    wanted = {
        "role": any(item["id"] == ids["role_id"] for item in owner.get(f"{tenant}/roles").get_json()["items"]),
        "grant": any(item["id"] == ids["grant_id"] for item in owner.get(f"{tenant}/grants").get_json()["items"]),
        "invitation": [item["id"] for item in owner.get(f"{tenant}/invitations").get_json()["items"]] == [ids["invitation_id"]],
        "member": owner.get(f"{tenant}/members/{ids['user_id']}").get_json()["role"] == "viewer",
        "members": owner.get(f"{tenant}/members").get_json()["total"] == 4,
        "project": owner.get(f"projects/{ids['project_id']}").get_json()["title"] == "hidden-project",
        "config": owner.get(f"configs/{ids['config_id']}").get_json()["description"] == "",
        "tenant": owner.get(tenant).get_json()["title"] != "Taken over",
        "quota": owner.get(f"{tenant}/quota").get_json()["limits"]["instances"] is None,
        "token": any(item["id"] == ids["token_id"] for item in owner.get("tokens").get_json()["items"]),
        "session": any(item["id"] == ids["session_id"] for item in owner.get("auth/sessions").get_json()["items"]),
    }
    return [name for name, kept in wanted.items() if not kept]


CHANGES = {
    "stop_instance": INSTANCE_OPERATE,
    "restart_instance": INSTANCE_OPERATE,
    "kill_instance": INSTANCE_KILL,
    "rekey_instance": INSTANCE_UPDATE,
    "change_instance": INSTANCE_UPDATE,
    "replace_instance": INSTANCE_UPDATE,
    "delete_instance": INSTANCE_DELETE,
    "create_instance": INSTANCE_CREATE,
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
