"""Stored keys over the API, on pages and from a terminal: who may do what, and another organisation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import People, Person
from tests.rights.test_rights_pages import Browser

KEY = "sk-or-0123456789abcdef"
BODY = {"name": "router", "provider": "openrouter", "key": KEY}


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def made(by: Person, home: str, status: int = 201, **more: Any) -> Any:
    answer = by.post("credentials", {"tenant": home, **BODY, **more})
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert KEY not in answer.get_data(as_text=True)
    return answer.get_json()


def test_the_life_of_a_key_over_the_api(people: People, home: str) -> None:
    owner = people.owner
    one = made(owner, home)
    assert one["goes_to"] == "https://openrouter.ai:443" and one["used_by"] == 0 and "key" not in one
    spec = {"model": {"credential": one["id"], "name": "some/model"}}
    claw = people.developer.create("one", "nanobot", start=False, spec=spec)
    assert claw["spec"]["model"]["provider"] == "openrouter"
    assert owner.get(f"credentials/{one['id']}").get_json()["used_by"] == 1
    used = owner.get(f"credentials/{one['id']}/instances").get_json()
    assert used["count"] == 1 and used["items"][0]["name"] == "one"
    assert owner.post(f"credentials/{one['id']}/rotate", {"key": "sk-or-another-key-12345"}).get_json()["count"] == 1
    assert owner.delete(f"credentials/{one['id']}").status_code == 409
    assert owner.patch(f"credentials/{one['id']}", {"title": "Team"}).get_json()["title"] == "Team"
    moved = owner.patch(f"credentials/{one['id']}", {"provider": "openai"})
    assert moved.status_code == 422 and moved.get_json()["errors"][0]["path"] == "key"
    assert [item["id"] for item in owner.get(f"credentials?tenant={home}").get_json()["items"]] == [one["id"]]


def test_who_may_do_what(people: People, home: str) -> None:
    one = made(people.owner, home)
    for who, read in ((people.viewer, 200), (people.developer, 200), (people.operator, 200), (people.stranger, 404)):
        assert who.get(f"credentials/{one['id']}").status_code == read
        refused = 404 if read == 404 else 403
        assert who.delete(f"credentials/{one['id']}").status_code == refused
        assert who.post(f"credentials/{one['id']}/rotate", {"key": "x" * 20}).status_code == refused
        assert who.post("credentials/test", {"credential": one["id"], "model": "m"}).status_code == refused
        assert who.post("credentials", {"tenant": home, **BODY, "name": "mine"}).status_code in (403, 404)
    assert people.stranger.get("credentials").get_json()["total"] == 0
    stolen = people.stranger.post("instances", {"name": "x", "adapter": "nanobot", "start": False,
                                                "spec": {"model": {"credential": one["id"], "name": "m"}}})  # fmt: skip
    assert stolen.status_code == 422 and "spec.model.credential" in stolen.get_data(as_text=True)


def test_the_pages(people: People, home: str) -> None:
    owner, viewer = Browser(people.owner), Browser(people.viewer)
    assert "No stored keys" in owner.page(f"/tenants/{home}/keys")
    assert "OpenRouter" in owner.page(f"/tenants/{home}/keys/new")
    where = owner.done(f"/tenants/{home}/keys/new", **BODY)
    text = owner.page(where)
    assert "https://openrouter.ai:443" in text and KEY not in text and "No claw uses it yet" in text
    form = owner.page("/instances/new?adapter=nanobot")
    credential = where.rsplit("/", 1)[1]
    assert f'<option value="{credential}"' in form and "router · OpenRouter" in form
    fields = {"adapter": "nanobot", "version": "", "name": "one", "spec.model.credential": credential,
              "spec.model.provider": "practice", "spec.model.name": "some/model", "spec.settings": ""}  # fmt: skip
    owner.done("/instances/new", **fields)
    assert "1 claw uses it." in owner.page(where)
    edited = owner.post(f"{where}/edit", provider="openai", title="T")
    assert edited.status_code == 422 and "was entered for https://openrouter.ai:443" in edited.get_data(as_text=True)
    used = owner.post(f"{where}/edit", provider="openai", title="T", key="sk-another-key-12345")
    assert used.status_code == 409 and "1 claws use the key router at its address: one." in used.get_data(as_text=True)
    assert owner.done(f"{where}/rotate", key="sk-or-another-key-12345") == where
    assert owner.post(f"{where}/delete").status_code == 409
    assert "Delete" not in viewer.page(where) and "router" in viewer.page(f"/tenants/{home}/keys")
    viewer.page(f"{where}/edit", 403)
    Browser(people.stranger).page(where, 404)


def test_the_page_of_shared_configuration_keeps_the_key(people: People, home: str) -> None:
    owner, one = Browser(people.owner), made(people.owner, home)["id"]
    where = f"/tenants/{home}/layer"
    assert "router · OpenRouter" in owner.page(where)
    owner.done(where, **{"defaults.model.credential": one, "defaults.model.name": "some/model"})
    model = {"provider": "openrouter", "base_url": "", "name": "some/model", "credential": one}
    assert people.owner.get(f"tenants/{home}/layer").get_json()["defaults"]["model"] == model
    assert f'<option value="{one}" selected' in owner.page(where)
    owner.done(where, **{f"defaults.model.{name}": value for name, value in model.items()})
    assert people.owner.get(f"tenants/{home}/layer").get_json()["defaults"]["model"] == model
