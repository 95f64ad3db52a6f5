"""Configuration templates over the API: the life of one, what is told, and that a save needs what was read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import People, Person

GREETER = {
    "name": "greeter", "adapter": "echo", "message": "First",
    "variables": [{"name": "who", "required": True}, {"name": "often", "type": "number", "default": 0}],
    "body": {"spec": {"settings": {"greeting": "Hello ${who}", "log_every": "${often}"}}, "labels": {"for": "${who}"}},
}  # fmt: skip


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def made(person: Person, tenant: str, status: int = 201, **more: Any) -> Any:
    answer = person.post("configs", {**GREETER, "tenant": tenant, **more})
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_json()


def test_the_life_of_a_template(people: People, home: str) -> None:
    owner = people.owner
    one = made(owner, home)
    path = f"configs/{one['id']}"
    assert (one["latest"], one["version"]["number"], one["version"]["author"]) == (1, 1, "owner")
    assert owner.get("configs").get_json()["items"][0]["name"] == "greeter"
    assert owner.get("configs?q=GREET&adapter=echo").get_json()["total"] == 1
    assert owner.get(f"configs?tenant={home}&name=other").get_json()["total"] == 0
    assert owner.get(path).headers["ETag"] == '"1"' and owner.get(path).get_json() == one
    draft = {"spec": {"settings": {"greeting": "Bye ${who}"}}}
    assert owner.request("PUT", f"/api/v1/{path}", json={"body": draft}).status_code == 428
    saved = owner.request("PUT", f"/api/v1/{path}", json={"body": draft, "message": "Shorter"}, headers={"If-Match": '"1"'})
    assert saved.get_json()["latest"] == 2 and saved.headers["ETag"] == '"2"'
    assert owner.request("PUT", f"/api/v1/{path}", json={"body": draft, "revision": 1}).status_code == 412
    listed = owner.get(f"{path}/versions").get_json()["items"]
    assert [(item["number"], item["message"]) for item in listed] == [(2, "Shorter"), (1, "First")]
    assert owner.get(f"{path}/versions/1").get_json()["body"] == GREETER["body"]
    for number in ("9", "x", "-1", "1" * 40):
        assert owner.get(f"{path}/versions/{number}").status_code == 404
    found = owner.get(f"{path}/diff?before=1&after=2").get_json()
    assert {"path": "body.labels", "kind": "removed", "before": {"for": "${who}"}, "after": None} in found["changes"]
    assert '+        "greeting": "Bye ${who}"' in found["unified"]
    back = owner.post(f"{path}/versions/1/restore", {"message": "Back"}).get_json()
    assert back["latest"] == 3 and back["version"]["body"] == GREETER["body"]
    assert owner.post(f"{path}/versions/1/restore", {}).status_code == 409
    copy = owner.post(f"{path}/duplicate", {"name": "second"})
    assert copy.status_code == 201 and copy.get_json()["version"]["body"] == GREETER["body"]
    text = owner.get(f"{path}/export")
    assert text.mimetype == "application/yaml" and "kind: ConfigTemplate" in text.get_data(as_text=True)
    again = owner.post("configs/import", {"document": text.get_data(as_text=True), "tenant": home}).get_json()
    assert again["action"] == "unchanged" and again["config"]["latest"] == 3
    assert owner.delete(path).status_code == 204 and owner.get(path).status_code == 404


def test_a_check_renders_and_names_what_is_wrong(people: People, home: str) -> None:
    path = f"configs/{made(people.owner, home)['id']}/validate"
    viewer = people.viewer
    missing = viewer.post(path, {}).get_json()
    assert not missing["ok"] and missing["errors"][0]["path"] == "variables.who" and missing["adapter_version"] == "1.0"
    good = viewer.post(path, {"values": {"who": "kim", "often": 5}}).get_json()
    assert good["ok"] and good["rendered"]["labels"] == {"for": "kim"}
    assert good["rendered"]["spec"]["settings"] == {"greeting": "Hello kim", "log_every": 5}
    bad = viewer.post(path, {"values": {"who": "kim", "often": -1}}).get_json()
    assert bad["errors"][0]["path"] == "body.spec.settings.log_every"
    draft = viewer.post(path, {"body": {"spec": {"x": 1}}, "variables": []}).get_json()
    assert [error["path"] for error in draft["errors"]] == ["body.spec.x"]
    assert viewer.post(path, {"variables": [{"name": "A"}]}).get_json()["errors"][0]["path"] == "variables.0.name"
    secret = {"body": {"secrets": {"model_api_key": "${k}"}}, "variables": [{"name": "k", "type": "secret"}]}
    shown = viewer.post(path, {**secret, "values": {"k": "s3cret-value"}}).get_data(as_text=True)
    assert '"model_api_key"' in shown and "s3cret-value" not in shown


def test_who_may_do_what(people: People, home: str) -> None:
    one = made(people.owner, home)
    path = f"configs/{one['id']}"
    for person in (people.viewer, people.developer, people.operator):
        assert person.get(path).status_code == 200 and person.get(f"{path}/export").status_code == 200
        assert person.delete(path).status_code == 403
        assert person.request("PUT", f"/api/v1/{path}", json={"description": "x", "revision": 1}).status_code == 403
        made(person, home, 403, name="mine")
        document = people.owner.get(f"{path}/export").get_data(as_text=True).replace("Hello", "Bye")
        assert person.post("configs/import", {"document": document, "tenant": home}).status_code == 403
    assert people.stranger.get(path).status_code == 404 and people.stranger.get("configs").get_json()["total"] == 0
    made(people.stranger, home, 404, name="mine")
    told = people.owner.get("audit?limit=50").get_json()["items"]
    entry = next(item for item in told if item["action"] == "config.create" and item["object_name"] == "greeter")
    assert entry["tenant_id"] == home


def test_what_is_sent_in_the_wrong_form(people: People, home: str) -> None:
    assert made(people.owner, home, 422, body={"spec": {"x": 1}})["errors"][0]["path"] == "body.spec.x"
    assert made(people.owner, home, 422, name="A b")["errors"][0]["path"] == "name"
    assert people.owner.post("configs", {**GREETER}).get_json()["errors"][0]["path"] == "tenant"
    made(people.owner, home, 422, adapter="no-such")
