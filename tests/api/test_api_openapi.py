"""The OpenAPI document is valid, complete and true, and the rest of the reading operations."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from clawportal.api import _layer
from clawportal.contracts.permissions import SELF
from tests.api_operations import API
from tests.conftest import Person, wait_for


def test_it_is_valid() -> None:
    found = json.loads(json.dumps(API.document))  # as it is sent
    validate(found)
    assert found["openapi"].startswith("3.1") and found["servers"][0]["url"] == "/api/v1"
    assert {"bearer", "cookie"} == set(found["components"]["securitySchemes"])
    assert not [name for name in found["components"]["schemas"] if "__" in name], "two models have the same name"
    used = {tag for methods in found["paths"].values() for operation in methods.values() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in found["tags"] if tag["description"]}


def test_every_rule_is_in_it(portal_app: Flask) -> None:
    described = {(method.upper(), path) for path, methods in API.document["paths"].items() for method in methods}
    served = {
        (method, rule.rule.removeprefix("/api/v1").replace("<path:", "<").replace("<", "{").replace(">", "}"))
        for rule in portal_app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not rule.endpoint.startswith("stream.")  # OpenAPI has no words for WebSockets
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == described


def test_every_operation_is_described() -> None:
    seen = set()
    for path, methods in API.document["paths"].items():
        for method, operation in methods.items():
            assert operation["operationId"] not in seen and not seen.add(operation["operationId"])  # type: ignore[func-returns-value]
            assert operation["summary"] and operation["tags"], (method, path)
            assert all(parameter["description"] for parameter in operation.get("parameters", [])), (method, path)
            assert operation.get("security") == [] or "401" in operation["responses"], (method, path)
            if "requestBody" in operation:
                assert {"400", "415", "422"} <= set(operation["responses"]), (method, path)


def test_headers_and_streams_are_described() -> None:
    paths = API.document["paths"]
    names = lambda operation: {parameter["name"] for parameter in operation["parameters"]}  # noqa: E731  # used three times below
    assert "Idempotency-Key" in names(paths["/instances"]["post"])
    assert "If-Match" in names(paths["/instances/{instance_id}"]["put"])
    assert {"ETag", "Location"} == set(paths["/instances"]["post"]["responses"]["201"]["headers"])
    assert set(paths["/instances/{instance_id}"]["patch"]["requestBody"]["content"]) == {_layer.JSON, _layer.MERGE_PATCH}
    assert _layer.SSE in paths["/instances/{instance_id}/logs"]["get"]["responses"]["200"]["content"]
    assert {"phase", "type", "sort", "limit"} <= names(paths["/instances"]["get"])


def test_who_may_read_it(portal_app: Flask, admin: Person, make_app: Any) -> None:
    assert portal_app.test_client().get("/api/v1/openapi.json").status_code == 401
    assert admin.get("openapi.json").get_json() == json.loads(json.dumps(API.document))
    assert make_app(docs_public=True).test_client().get("/api/v1/openapi.json").status_code == 200


def check(person: Person, path: str, method: str = "get", answer: Any = None, status: int = 200, described: str = "") -> Any:
    """Hold an answer against the schema that the document gives for it."""
    answer = answer if answer is not None else person.get(path)
    assert answer.status_code == status, answer.get_data(as_text=True)
    found = API.document
    schema = found["paths"]["/" + (described or path.split("?")[0])][method]["responses"][str(status)]["content"][
        "application/json"
    ]
    body = answer.get_json()
    Draft202012Validator({**schema["schema"], "components": found["components"]}).validate(body)
    return body


def test_answers_are_what_the_document_says(running_admin: Person) -> None:
    admin = running_admin
    made = admin.post("instances", {"name": "e", "adapter": "echo", "labels": {"a": "b"}})
    body = check(admin, "instances", "post", made, 201)
    claw = admin.reaches(body["id"], "running")
    for path in (
        "instances", "events", "operations", "adapters", "runtimes", "clusters", "projects", "plugins", "auth/me", "tokens",
        "counts", "healthz", "readyz",
    ):  # fmt: skip
        assert check(admin, path)
    for tail in ("", "/config", "/events", "/logs"):
        check(admin, f"instances/{claw['id']}{tail}", described="instances/{instance_id}" + tail)
    check(admin, "adapters/echo", described="adapters/{kind}")
    operation = admin.get("operations").get_json()["items"][0]
    check(admin, f"operations/{operation['id']}", described="operations/{operation_id}")
    check(admin, "instances/bulk", "post", admin.post("instances/bulk", {"action": "stop", "ids": [claw["id"]]}))
    check(admin, "instances/check", "post", admin.post("instances/check", {"adapter": "echo"}))
    assert claw["endpoints"][0]["url"].startswith("http://127.0.0.1:")


def test_usage_comes_once_it_was_measured(running_admin: Person) -> None:
    from tests.conftest import wait_for

    made = running_admin.create("e")
    running_admin.reaches(made["id"], "running")
    item = wait_for(lambda: running_admin.get("instances").get_json()["items"][0]["usage"], 15, "usage")
    assert item["memory_bytes"] > 1_000_000 and item["processes"] >= 1
    assert running_admin.get(f"instances/{made['id']}").get_json()["usage"]


# ---- the catalogue


def test_kinds_of_claw(admin: Person) -> None:
    kinds = {item["kind"]: item for item in admin.get("adapters").get_json()["items"]}
    assert {"echo", "nanobot", "openclaw"} <= set(kinds) and kinds["echo"]["default_version"] == "1.0"
    found = admin.get("adapters/echo").get_json()
    spec = found["spec_schema"]
    Draft202012Validator.check_schema(spec)
    good = {"persona": "Kim", "settings": {"greeting": "Hi"}}
    Draft202012Validator(spec).validate(good)
    assert list(Draft202012Validator(spec).iter_errors({"settings": {"nope": 1}}))
    assert list(Draft202012Validator(spec).iter_errors({"nope": 1}))
    assert found["ports"][0]["name"] == "http" and found["generated_secrets"] == ["echo_token"]
    assert "model_api_key" in admin.get("adapters/nanobot").get_json()["secrets"]
    assert admin.get("adapters/nope").status_code == 404 and admin.get("adapters/echo?version=9").status_code == 422


def test_clusters_tell_what_is_free(running_admin: Person) -> None:
    def local() -> dict[str, Any]:
        (cluster,) = running_admin.get("clusters").get_json()["items"]
        return cast("dict[str, Any]", cluster)

    cluster = wait_for(lambda: (found := local())["capacity"] and found, what="it was looked at")
    assert cluster["name"] == "local" and cluster["reachable"] and cluster["health"] == "healthy"
    assert cluster["capacity"]["memory_bytes"] > 0 and "artifacts" in cluster["capabilities"]


# ---- events and operations


def test_the_feed_has_a_cursor(admin: Person) -> None:
    made = [admin.create(f"e{number}") for number in range(5)]
    path = f"instances/{made[2]['id']}/events"
    assert {item["instance_id"] for item in admin.get(path).get_json()["items"]} == {made[2]["id"]}

    everything = [item["seq"] for item in admin.get("events?limit=200").get_json()["items"]]
    assert everything == sorted(everything, reverse=True)
    back: list[int] = []
    page = admin.get("events?limit=2").get_json()
    while True:
        back += [item["seq"] for item in page["items"]]
        if page["next"] is None:
            break
        page = admin.get(f"events?limit=2&before={page['next']}").get_json()
    assert back == everything

    forward: list[int] = []
    page = admin.get("events?after=0&limit=2").get_json()
    while page["items"]:
        forward += [item["seq"] for item in page["items"]]
        page = admin.get(f"events?limit=2&after={page['next']}").get_json()
    assert forward == everything[::-1] and page["next"] == everything[0]
    assert admin.get("events?level=error").get_json()["items"] == []
    for query in ("after=1&before=2", "after=-1", "after=9999999999999999999999", "level=loud", "limit=0"):
        assert admin.get(f"events?{query}").status_code == 422, query
    assert admin.get("events?instance=absent").status_code == 404


def test_operations_can_be_filtered(admin: Person) -> None:
    first, second = admin.create("e"), admin.create("f")
    admin.post(f"instances/{first['id']}/stop")
    assert admin.get("operations").get_json()["total"] == 3
    assert admin.get("operations?kind=instance.stop").get_json()["items"][0]["subject"] == "e"
    assert admin.get(f"operations?instance={second['id']}").get_json()["total"] == 1
    assert admin.get("operations?state=queued&state=running&limit=1").get_json()["total"] == 3
    assert admin.get("operations?state=nope").status_code == 422
    operation = admin.get("operations").get_json()["items"][0]
    answer = admin.post(f"operations/{operation['id']}/cancel")
    assert answer.status_code == 409 and "instance" in answer.get_json()["detail"] and not operation["can_cancel"]
    assert admin.post(f"operations/{operation['id']}/retry").status_code == 409
    assert admin.post("operations/absent/cancel").status_code == 404


# ---- the layer refuses what would be a hole


def test_an_operation_needs_a_permission_or_a_reason() -> None:
    with pytest.raises(TypeError, match="permission"):
        _layer.op("GET", "/x", tags=("X",), summary="x")
    with pytest.raises(TypeError, match="permission"):
        _layer.op("GET", "/x", tags=("X",), summary="x", permission=SELF, public="why")
    with pytest.raises(TypeError, match="do not agree"):
        _layer.op("GET", "/x/{y}", tags=("X",), summary="x", permission=SELF)(lambda: None)


def test_a_name_of_a_path_may_span_slashes() -> None:
    def get_thing(box_id: str, name: str) -> None:
        """A thing in a box."""

    _layer.op("GET", "/boxes/{box_id}/things/{name}", tags=("X",), summary="x", permission=SELF, spans="name", streamed=True)(
        get_thing
    )
    [operation] = getattr(get_thing, _layer.MARK)
    assert operation.rule == "/boxes/<box_id>/things/<path:name>" and operation.streamed


def test_server_sent_events_as_text() -> None:
    from clawportal.api._layer import ServerEvent, _line

    assert _line(ServerEvent({"text": "a\nb"}, "delta", "7")) == 'event: delta\nid: 7\ndata: {"text":"a\\nb"}\n\n'
