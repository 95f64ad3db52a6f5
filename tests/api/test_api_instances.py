"""Instances through the API: lists, creating once, changing without overwriting others, and what is refused."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from clawportal.api.instances import merged
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import Instance, Project, Tenant
from clawportal.services.configuration import secrets as secret_service
from tests.conftest import Person, Server, counted_sql, portal_of

SECRET = "sk-this-must-never-be-seen"


def errors(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422 and answer.mimetype == "application/problem+json", answer.get_data(as_text=True)
    return {item["path"]: item["message"] for item in answer.get_json()["errors"]}


# ---- lists


@pytest.fixture
def ten(admin: Person) -> Person:
    """Ten instances: five echo (two of them failed), five nanobot."""
    for number in range(10):
        kind = "echo" if number % 2 else "nanobot"
        admin.create(f"claw-{number}", kind, spec={"model": {"provider": "openai", "name": "m"}}, secrets=key_for(kind))
    with admin.app.app_context(), transaction():
        for name in ("claw-1", "claw-3"):
            db.session.scalars(select(Instance).where(Instance.name == name)).one().phase = "failed"
    return admin


def key_for(kind: str) -> dict[str, str]:
    return {"model_api_key": SECRET} if kind == "nanobot" else {}


def names(person: Person, query: str) -> list[str]:
    answer = person.get(f"instances?{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return [item["name"] for item in answer.get_json()["items"]]


def test_pages_and_true_totals(ten: Person) -> None:
    page = ten.get("instances?limit=3&offset=6&sort=name").get_json()
    assert [item["name"] for item in page["items"]] == ["claw-6", "claw-7", "claw-8"]
    assert (page["total"], page["limit"], page["offset"]) == (10, 3, 6)
    beyond = ten.get("instances?limit=3&offset=60").get_json()
    assert beyond["items"] == [] and beyond["total"] == 10
    assert ten.get("instances?phase=failed&limit=1").get_json()["total"] == 2


def test_pages_lead_on_by_cursor_and_by_the_header(ten: Person) -> None:
    answer = ten.get("instances?limit=4&sort=name&phase=failed&phase=pending")
    seen: list[str] = []
    while True:
        page = answer.get_json()
        seen += [item["name"] for item in page["items"]]
        assert page["total"] == 10 and page["offset"] == 0
        links = parse_link(answer.headers.get("Link", ""))
        assert ("next" in links) == bool(page["next"]) and ("prev" in links) == bool(page["previous"])
        if not page["next"]:
            break
        asked = ten.get(f"instances?limit=4&sort=name&phase=failed&phase=pending&cursor={page['next']}").get_json()
        answer = ten.get(links["next"])
        assert answer.get_json() == asked
    assert seen == [f"claw-{number}" for number in range(10)]
    last = ten.get(links["last"]).get_json()
    assert [item["name"] for item in last["items"]] == ["claw-6", "claw-7", "claw-8", "claw-9"] and last["next"] is None
    assert "Link" not in ten.get("instances?limit=20").headers


def parse_link(header: str) -> dict[str, str]:
    return {rel: url for url, rel in re.findall(r'<([^>]+)>; rel="(\w+)"', header)}


@pytest.mark.parametrize("more", ["sort=-name", "phase=failed", "type=echo", "q=claw", "offset=3"])
def test_a_cursor_of_other_filters_is_refused_in_words(ten: Person, more: str) -> None:
    cursor = ten.get("instances?limit=3&sort=name").get_json()["next"]
    joined = more if "sort" in more else f"{more}&sort=name"
    told = errors(ten.get(f"instances?limit=3&{joined}&cursor={cursor}"))
    assert list(told) == ["offset"] if more == "offset=3" else "first page" in told["cursor"]
    assert "cursor" in errors(ten.get(f"instances?sort=name&cursor={cursor[:-2]}"))


def test_sorting_and_filters(ten: Person) -> None:
    everything = [f"claw-{number}" for number in range(10)]
    assert names(ten, "sort=name") == everything and names(ten, "sort=-name") == everything[::-1]
    assert names(ten, "") == everything[::-1]  # newest first
    assert names(ten, "phase=failed&sort=name") == ["claw-1", "claw-3"]
    assert len(names(ten, "phase=failed&phase=pending")) == 10
    assert names(ten, "type=echo&sort=name") == ["claw-1", "claw-3", "claw-5", "claw-7", "claw-9"]
    assert names(ten, "trouble=true&sort=name") == ["claw-1", "claw-3"]
    assert names(ten, "q=AW-7") == ["claw-7"] and names(ten, "q=%25") == [] and names(ten, "q=_") == []
    assert names(ten, "name=claw-7") == ["claw-7"] and names(ten, "name=claw") == []
    assert len(names(ten, "project=default")) == 10 and names(ten, "project=absent") == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"), ("limit=201", "limit"), ("limit=many", "limit"), ("offset=-1", "offset"), ("sort=spec", "sort"),
        ("phase=gone", "phase.0"), ("trouble=perhaps", "trouble"), ("colour=red", "colour"), ("limit=1&limit=2", "limit"),
        ("q=%00", "q"), ("q=" + "x" * 201, "q"), ("offset=99999999999999999999999", "offset"),
    ],
)  # fmt: skip
def test_bad_queries(admin: Person, query: str, path: str) -> None:
    assert list(errors(admin.get(f"instances?{query}"))) == [path]


def make_rows(app: Flask, count: int) -> None:
    with app.app_context(), transaction():
        project = db.session.scalars(select(Project)).first()
        assert project is not None
        from clawportal.models import Cluster

        cluster = db.session.scalars(select(Cluster)).one()
        for number in range(count):
            db.session.add(
                Instance(
                    tenant_id=project.tenant_id, project_id=project.id, cluster_id=cluster.id, name=f"row-{number}",
                    adapter="echo", version="1.0", spec={}, due_at=None,
                )
            )  # fmt: skip


def test_a_list_takes_the_same_number_of_statements_whatever_its_size(admin: Person) -> None:
    counts = []
    for more in (5, 95):
        make_rows(admin.app, more) if not counts else make_more(admin.app, more)
        admin.get("instances?limit=200")
        with counted_sql(admin.app) as statements:
            page = admin.get("instances?limit=200").get_json()
        counts.append(len(statements))
        assert len(page["items"]) == page["total"] == (5 if len(counts) == 1 else 100)
    assert counts[0] == counts[1] <= 4, statements


def make_more(app: Flask, count: int) -> None:
    with app.app_context(), transaction():
        first = db.session.scalars(select(Instance)).first()
        assert first is not None
        for number in range(count):
            copied = {name: getattr(first, name) for name in ("tenant_id", "project_id", "cluster_id", "adapter", "version")}
            db.session.add(Instance(**copied, name=f"more-{number}", spec={}, due_at=None))


def test_list_and_document_agree(ten: Person) -> None:
    for item in ten.get("instances").get_json()["items"]:
        document = ten.get(f"instances/{item['id']}").get_json()
        assert {key: document[key] for key in item} == item
        assert set(document) - set(item) == {
            "conditions",
            "endpoints",
            "foreign",
            "notes",
            "ports",
            "spec",
            "secrets",
            "warnings",
        }


# ---- creating


def test_create_answers_where_and_which(admin: Person) -> None:
    answer = admin.post("instances", {"name": "e", "adapter": "echo", "labels": {"team": "a"}, "start": False})
    made = answer.get_json()
    assert answer.status_code == 201 and answer.headers["ETag"] == '"1"'
    assert answer.headers["Location"] == f"/api/v1/instances/{made['id']}"
    assert made["desired"] == "stopped" and made["labels"] == {"team": "a"} and made["created_by"] == "admin"
    assert made["tenant"]["name"] == made["project"]["name"] == "default" and made["cluster"]["name"] == "local"
    again = admin.get(answer.headers["Location"])
    assert again.get_json() == made and again.headers["ETag"] == '"1"'


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": "Bad Name"}, "name"), ({"name": ""}, "name"), ({"adapter": "nope"}, "adapter"), ({"version": "9"}, "version"),
        ({"project": "absent"}, "project"), ({"cluster": "absent"}, "cluster"), ({"colour": "red"}, "colour"),
        ({"spec": {"colour": 1}}, "spec.colour"), ({"spec": {"settings": {"flood": "many"}}}, "spec.settings.flood"),
        ({"spec": {"settings": {"nope": 1}}}, "spec.settings.nope"), ({"labels": {"-": "x"}}, "labels.-"),
        ({"labels": {"a": 1}}, "labels.a"), ({"spec": []}, "spec"),
        ({"spec": {"resources": {"memory": "-1"}}}, "spec.resources.memory"),
        ({"secrets": {"nope": "x"}}, "secrets.nope"), ({"start": "perhaps"}, "start"),
        ({"spec": {"persona": "a\0b"}}, "spec.persona"),
    ],
)  # fmt: skip
def test_what_is_refused_names_its_path(admin: Person, change: dict[str, Any], path: str) -> None:
    answer = admin.post("instances", {"name": "e", "adapter": "echo", **change})
    assert path in errors(answer), answer.get_json()
    assert admin.get("instances").get_json()["total"] == 0


def test_missing_fields_and_a_taken_name(admin: Person) -> None:
    assert errors(admin.post("instances", {})) == {"name": "is needed", "adapter": "is needed"}
    admin.create("e")
    assert "already" in errors(admin.post("instances", {"name": "e", "adapter": "echo"}))["name"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400), (b"{", "application/json", 400), (b"\xff", "application/json", 400),
        (b"[" * 5000, "application/json", 400), (b'{"name": NaN}', "application/json", 400),
        (b'"\\ud800"', "application/json", 400),
        (b"[]", "application/json", 422), (b"null", "application/json", 422), (b'{"name": 1e999}', "application/json", 422),
        (b"{}", "text/plain", 415), (b"a=b", "application/x-www-form-urlencoded", 415), (b"{}", "", 415),
        (b"{}", "application/json; charset=utf-8", 422),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_read(admin: Person, body: bytes, content_type: str, status: int) -> None:
    answer = admin.request("POST", "instances", data=body, content_type=content_type or None)
    assert answer.status_code == status and answer.mimetype == "application/problem+json"
    assert answer.get_json()["status"] == status and answer.get_json()["detail"]


def test_wrong_methods_addresses_and_sizes(admin: Person) -> None:
    answer = admin.delete("instances")
    assert answer.status_code == 405 and {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert answer.mimetype == "application/problem+json"
    assert admin.get("nowhere").status_code == 404 and admin.get("nowhere").mimetype == "application/problem+json"
    answer = admin.request("POST", "instances", data=b" " * (5 * 1024 * 1024), content_type="application/json")
    assert answer.status_code == 413 and answer.mimetype == "application/problem+json"
    assert admin.get("instances/%00").status_code == 404


def test_the_same_key_creates_once(admin: Person) -> None:
    body = {"name": "e", "adapter": "echo"}
    first = admin.post("instances", body, headers={"Idempotency-Key": "k1"})
    again = admin.post("instances", body, headers={"Idempotency-Key": "k1"})
    assert first.status_code == again.status_code == 201 and first.get_json()["id"] == again.get_json()["id"]
    other = admin.post("instances", {**body, "name": "f"}, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 409 and "different request" in other.get_json()["detail"]
    assert admin.post("instances", {**body, "name": "f"}, headers={"Idempotency-Key": "k2"}).status_code == 201
    assert admin.post("instances", body, headers={"Idempotency-Key": "x" * 201}).status_code == 422
    assert admin.get("instances").get_json()["total"] == 2


def test_the_same_key_from_many_at_once(server: Server) -> None:
    import httpx

    answers: list[httpx.Response] = []
    barrier = threading.Barrier(6)

    def create() -> None:
        barrier.wait(10)
        answers.append(httpx.post(
            f"{server.url}/api/v1/instances", json={"name": "once", "adapter": "echo"}, timeout=30,
            headers={**server.admin.headers, "Idempotency-Key": "together"},
        ))  # fmt: skip

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert server.admin.get("instances").get_json()["total"] == 1


def test_checking_stores_nothing(admin: Person) -> None:
    assert admin.post("instances/check", {"name": "e", "adapter": "echo"}).get_json() == {"ok": True, "errors": []}
    found = admin.post("instances/check", {"adapter": "echo", "spec": {"settings": {"flood": -1}}}).get_json()
    assert not found["ok"] and {item["path"] for item in found["errors"]} == {"name", "spec.settings.flood"}
    assert admin.get("instances").get_json()["total"] == 0
    made = admin.create("e")
    change = {"adapter": "echo", "instance": made["id"], "spec": {"settings": {"flood": -1}}}
    assert [item["path"] for item in admin.post("instances/check", change).get_json()["errors"]] == ["spec.settings.flood"]
    assert admin.post("instances/check", {**change, "spec": {}}).get_json()["ok"]
    assert admin.post("instances/check", {**change, "instance": "absent"}).status_code == 404


# ---- changing


@pytest.fixture
def claw(admin: Person) -> dict[str, Any]:
    return admin.create("e", labels={"team": "a", "tier": "1"}, spec={"persona": "Kim", "settings": {"greeting": "Hi"}})


def test_nobody_overwrites_what_others_changed(admin: Person, claw: dict[str, Any]) -> None:
    path = f"instances/{claw['id']}"
    body = {"version": "1.0", "spec": {"persona": "Ann"}}
    assert admin.put(path, body).status_code == 428 and admin.patch(path, {"spec": {}}).status_code == 428
    for stale in ('"9"', '"0"'):
        answer = admin.put(path, body, headers={"If-Match": stale})
        assert answer.status_code == 412 and "generation 1" in answer.get_json()["detail"]
    for bad, status in (("W/x", 400), ("*", 428), ('"1", "2"', 400), ("9" * 40, 400)):
        assert admin.put(path, body, headers={"If-Match": bad}).status_code == status, bad
    answer = admin.put(path, body, headers={"If-Match": '"1"'})
    assert answer.status_code == 200 and answer.headers["ETag"] == '"2"'
    changed = answer.get_json()
    assert changed["spec"]["persona"] == "Ann" and changed["spec"]["settings"] == {} and changed["labels"] == {}
    assert admin.put(path, body, headers={"If-Match": '"1"'}).status_code == 412
    assert admin.put(path, {**body, "generation": 2}).status_code == 200
    assert list(errors(admin.put(path, {**body, "generation": 2}, headers={"If-Match": '"3"'}))) == ["generation"]
    assert admin.get(path).get_json()["generation"] == 3


def test_merge_patch(admin: Person, claw: dict[str, Any]) -> None:
    path = f"instances/{claw['id']}"
    patch = {"spec": {"settings": {"greeting": None, "log_every": 3}}, "labels": {"tier": None, "new": "x"}}
    answer = admin.request(
        "PATCH", path, data=json.dumps(patch), content_type="application/merge-patch+json", headers={"If-Match": '"1"'}
    )
    changed = answer.get_json()
    assert answer.status_code == 200, changed
    assert changed["spec"]["settings"] == {"log_every": 3} and changed["spec"]["persona"] == "Kim"
    assert changed["labels"] == {"team": "a", "new": "x"}
    assert list(errors(admin.patch(path, {"version": None, "generation": 2}))) == ["version"]
    assert list(errors(admin.patch(path, {"spec": {"settings": {"nope": 1}}, "generation": 2}))) == ["spec.settings.nope"]
    assert admin.patch(path, {"spec": None, "generation": 2}).get_json()["spec"]["persona"] == ""


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}), ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}), ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}), ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ],
)  # fmt: skip
def test_merge_patch_as_the_rfc_has_it(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


def test_two_editors_at_once(server: Server) -> None:
    import httpx

    made = server.admin.create("e", start=False)
    statuses: list[int] = []
    barrier = threading.Barrier(5)

    def change(number: int) -> None:
        barrier.wait(10)
        statuses.append(httpx.patch(
            f"{server.url}/api/v1/instances/{made['id']}", json={"spec": {"persona": f"editor {number}"}}, timeout=30,
            headers={**server.admin.headers, "If-Match": '"1"'},
        ).status_code)  # fmt: skip

    threads = [threading.Thread(target=change, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [200, 412, 412, 412, 412]
    assert server.admin.get(f"instances/{made['id']}").get_json()["generation"] == 2


def test_buttons_and_bulk(admin: Person, claw: dict[str, Any]) -> None:
    path = f"instances/{claw['id']}"
    answer = admin.post(f"{path}/stop")
    assert answer.status_code == 202 and answer.get_json()["desired"] == "stopped" and answer.headers["ETag"] == '"2"'
    assert admin.post(f"{path}/stop").status_code == 409
    assert admin.post(f"{path}/start").get_json()["desired"] == "running"
    assert admin.post(f"{path}/restart").status_code == admin.post(f"{path}/kill").status_code == 202
    assert admin.post(f"{path}/dance").status_code == 404 or admin.post(f"{path}/dance").status_code == 405
    other = admin.create("f")
    done = admin.post("instances/bulk", {"action": "stop", "ids": [claw["id"], other["id"], "absent"]}).get_json()
    assert [item["ok"] for item in done["items"]] == [False, True, False] and (done["succeeded"], done["failed"]) == (1, 2)
    assert done["items"][1]["name"] == "f" and "no instance" in done["items"][2]["error"]
    assert "action" in errors(admin.post("instances/bulk", {"action": "dance", "ids": ["x"]}))
    assert "ids" in errors(admin.post("instances/bulk", {"action": "stop", "ids": []}))
    gone = admin.delete(f"{path}?keep_data=true&force=true")
    assert gone.status_code == 202 and gone.get_json()["desired"] == "deleted"
    assert admin.post(f"{path}/start").status_code == 409
    assert list(errors(admin.delete(f"{path}?keep_data=perhaps"))) == ["keep_data"]


def test_secrets_are_never_answered(running_admin: Person) -> None:
    admin = running_admin
    token_name = "echo_token"
    made = admin.create("e")
    admin.reaches(made["id"], "running")
    portal = portal_of(admin.app)
    with admin.app.app_context():
        secret_service.store(portal, made["id"], {"model_api_key": SECRET})
        values = secret_service.open_all(portal, made["id"])
    assert SECRET in values.values() and len(values[token_name]) > 20
    document = admin.get(f"instances/{made['id']}").get_json()
    assert {(item["name"], item["set"], item["generated"]) for item in document["secrets"]} == {
        (token_name, True, True), ("model_api_key", True, False),
    }  # fmt: skip
    config = admin.get(f"instances/{made['id']}/config").get_json()
    assert config["rendered"] and config["processes"][0]["env"]["ECHO_TOKEN"] == "********"
    assert config["processes"][0]["secret_env"] == {"ECHO_TOKEN": token_name}
    assert {item["path"] for item in config["files"]} == {"claw.py", "echo.json", "page.html"} and config["files"][0][
        "mode"
    ] == "0600"
    rekeyed = admin.post(f"instances/{made['id']}/rekey")
    assert rekeyed.status_code == 202
    with admin.app.app_context():
        fresh = secret_service.open_all(portal, made["id"])
    assert fresh[token_name] != values[token_name]
    paths = ["", "/config", "/events", "/logs"]
    texts = [admin.get(f"instances/{made['id']}{path}").get_data(as_text=True) for path in paths]
    texts += [admin.get(path).get_data(as_text=True) for path in ("instances", "events", "operations", "openapi.json")]
    for value in (*values.values(), *fresh.values()):
        assert not any(value in text for text in texts)


def test_secrets_in_refused_requests_are_not_echoed(admin: Person) -> None:
    body = {
        "name": "Bad",
        "adapter": "nanobot",
        "secrets": {"model_api_key": SECRET + "\x01"},
        "spec": {"settings": {"model_api_key": SECRET}},
    }
    answer = admin.post("instances", body)
    assert answer.status_code == 422 and SECRET not in answer.get_data(as_text=True)
    answer = admin.post("instances", {**body, "secrets": {"model_api_key": [SECRET]}})
    assert answer.status_code == 422 and SECRET not in answer.get_data(as_text=True)


# ---- anything goes in, nothing breaks


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(max_size=80), persona=st.text(max_size=10_000), label=st.text(max_size=80), number=st.integers() | st.floats(),
    query=st.text(max_size=300), key=st.text(max_size=60),
)  # fmt: skip
def test_nothing_that_people_send_is_the_portals_fault(
    admin: Person, name: str, persona: str, label: str, number: float, query: str, key: str
) -> None:
    body = {
        "name": name,
        "adapter": "echo",
        "labels": {label: label},
        "spec": {"persona": persona, "settings": {"flood": number}},
    }
    sent = json.dumps(body).encode()
    for path in ("instances", "instances/check"):
        assert admin.request("POST", path, data=sent, content_type="application/json").status_code < 500
    for path, field in (
        ("instances", "q"),
        ("instances", "name"),
        ("instances", "project"),
        ("events", "instance"),
        ("operations", "kind"),
    ):
        assert admin.get(path, query_string={field: query}).status_code < 500
    assert admin.post("auth/token", {"name": name, "password": persona[:200]}).status_code < 500


def test_ten_thousand_letters_everywhere(admin: Person) -> None:
    long = "x" * 10_000
    assert admin.post("instances", {"name": long, "adapter": long, "labels": {long: long}}).status_code == 422
    assert admin.get(f"instances/{long}").status_code == 404
    assert admin.get("instances", query_string={"q": long}).status_code == 422
    assert admin.post("auth/token", {"name": long, "password": long}).status_code == 422
    assert admin.post("instances", {"name": "e", "adapter": "echo", "spec": {"persona": "ä" * 10_000}}).status_code == 201


def test_an_instance_of_another_tenant_may_have_the_same_name(admin: Person) -> None:
    with admin.app.app_context(), transaction():
        tenant = Tenant(name="acme")
        db.session.add(tenant)
        db.session.flush()
        project = Project(tenant_id=tenant.id, name="web")
        db.session.add(project)
    admin.create("e")
    assert admin.create("e", project="web")["tenant"]["name"] == "acme"
    assert len(names(admin, "name=e")) == 2 and len(names(admin, "name=e&project=web")) == 1
    assert SYSTEM.name == "clawportal"
