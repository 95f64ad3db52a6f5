"""Tenants, projects and moving instances, through the API."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.conftest import People, Person, make_person


@pytest.fixture
def home(people: People) -> str:
    """Id of the tenant `default`."""
    found = people.owner.get("tenants").get_json()["items"]
    assert len(found) == 1
    return str(found[0]["id"])


def project(person: Person, tenant: str, name: str = "shop") -> str:
    answer = person.post("projects", {"tenant": tenant, "name": name})
    assert answer.status_code == 201, answer.get_json()
    return str(answer.get_json()["id"])


def test_a_portal_admin_makes_a_tenant_and_others_cannot(people: People) -> None:
    answer = people.admin.post("tenants", {"name": "globex", "title": "Globex Ltd."})
    assert answer.status_code == 201
    made = answer.get_json()
    assert people.admin.get(f"tenants/{made['id']}").get_json()["title"] == "Globex Ltd."
    again = people.admin.post("tenants", {"name": "globex"})
    assert again.status_code == 422 and again.get_json()["errors"][0]["code"] == "taken"
    assert people.admin.post("tenants", {"name": "Not a name"}).status_code == 422
    for person in people.everybody[1:]:
        assert person.post("tenants", {"name": "mine"}).status_code == 403
        assert person.get(f"tenants/{made['id']}").status_code == 404


def test_totals_are_true_whatever_the_page(people: People) -> None:
    for number in range(4):
        people.admin.post("tenants", {"name": f"t{number}"})
    page = people.admin.get("tenants?limit=2&offset=2").get_json()
    assert len(page["items"]) == 2 and page["total"] == 6
    assert people.admin.get("tenants?q=t1").get_json()["total"] == 1
    assert people.owner.get("tenants").get_json()["total"] == 1
    assert people.owner.get(f"tenants/{people.acme}").status_code == 404


def test_defaults_hold_for_new_instances(people: People, home: str) -> None:
    answer = people.owner.patch(f"tenants/{home}", {"allowed_adapters": {"nanobot": []}})
    assert answer.status_code == 200
    refused = people.developer.post("instances", {"name": "e", "adapter": "echo"})
    assert refused.status_code == 422 and refused.get_json()["errors"][0]["code"] == "not_allowed"
    version = people.owner.get("adapters/echo").get_json()["default_version"]
    people.owner.patch(f"tenants/{home}", {"allowed_adapters": {"echo": [version]}})
    people.developer.create("e")
    wrong = people.owner.patch(f"tenants/{home}", {"allowed_adapters": {"ecko": []}})
    assert wrong.status_code == 422 and "ecko" in wrong.get_json()["errors"][0]["path"]
    assert people.owner.patch(f"tenants/{home}", {"allowed_adapters": {"echo": ["99"]}}).status_code == 422
    assert people.owner.patch(f"tenants/{home}", {"allowed_adapters": None}).get_json()["allowed_adapters"] is None
    local = people.owner.patch(f"tenants/{home}", {"default_cluster": "local"}).get_json()["default_cluster_id"]
    assert local and people.owner.patch(f"tenants/{home}", {"default_cluster": "moon"}).status_code == 422
    assert people.owner.patch(f"tenants/{home}", {"title": "Ours"}).get_json()["default_cluster_id"] == local
    assert people.viewer.patch(f"tenants/{home}", {"title": "Mine"}).status_code == 403
    assert people.stranger.patch(f"tenants/{home}", {"title": "Mine"}).status_code == 404


def test_instances_move_between_projects_of_a_tenant(people: People, home: str) -> None:
    shop = project(people.owner, home)
    one = people.owner.create("one")["id"]
    assert people.owner.post(f"instances/{one}/move", {"project": "shop"}).status_code == 204
    seen = people.owner.get(f"instances/{one}").get_json()
    assert seen["project"] == {"id": shop, "name": "shop"} and seen["generation"] == 1
    assert people.owner.post(f"instances/{one}/move", {"project": shop}).status_code == 409
    foreign = people.stranger.get("projects").get_json()["items"][0]["id"]
    assert people.admin.post(f"instances/{one}/move", {"project": foreign}).status_code == 422, "never into another tenant"
    assert people.stranger.post(f"instances/{one}/move", {"project": foreign}).status_code == 404
    assert people.viewer.post(f"instances/{one}/move", {"project": "default"}).status_code == 403


def test_a_project_goes_only_when_its_name_is_typed(people: People, home: str) -> None:
    shop = project(people.owner, home)
    losses = people.owner.get(f"projects/{shop}/losses").get_json()
    assert losses["name"] == "shop" and losses["instances"] == 0 and not losses["refusal"]
    assert people.owner.delete(f"projects/{shop}").status_code == 422
    assert people.owner.delete(f"projects/{shop}?confirm=Shop").status_code == 422
    assert people.developer.delete(f"projects/{shop}?confirm=shop").status_code == 403
    assert people.stranger.delete(f"projects/{shop}?confirm=shop").status_code == 404
    assert people.owner.delete(f"projects/{shop}?confirm=shop").get_json() == {"state": "deleted"}
    assert people.owner.get(f"projects/{shop}").status_code == 404


def test_the_first_and_the_last_project_stay(people: People, home: str) -> None:
    first = people.owner.get("projects").get_json()["items"][0]["id"]
    assert people.owner.delete(f"projects/{first}?confirm=default").status_code == 409
    last = people.stranger.get("projects").get_json()["items"][0]["id"]
    assert "last project" in people.stranger.delete(f"projects/{last}?confirm=default").get_json()["detail"]
    assert people.admin.delete(f"tenants/{home}?confirm=default").status_code == 409


def test_instances_of_a_deleted_project_are_moved_as_chosen(people: People, home: str) -> None:
    shop = project(people.owner, home)
    one = people.owner.create("one", project="shop")["id"]
    refused = people.owner.delete(f"projects/{shop}?confirm=shop")
    assert refused.status_code == 409 and "one" in refused.get_json()["detail"]
    assert people.owner.delete(f"projects/{shop}?confirm=shop&instances=move&move_to=moon").status_code == 422
    assert people.owner.get(f"instances/{one}").get_json()["project"]["name"] == "shop", "nothing was half done"
    answer = people.owner.delete(f"projects/{shop}?confirm=shop&instances=move&move_to=default")
    assert answer.get_json() == {"state": "deleted"}
    assert people.owner.get(f"instances/{one}").get_json()["project"]["name"] == "default"


def test_a_project_that_is_being_deleted_takes_nothing_in(people: People, home: str) -> None:
    shop = project(people.owner, home)
    one = people.owner.create("one", project="shop")["id"]
    answer = people.owner.delete(f"projects/{shop}?confirm=shop&instances=delete")
    assert answer.get_json() == {"state": "deleting"}
    assert people.owner.get(f"instances/{one}").get_json()["desired"] == "deleted"
    assert people.owner.post("instances", {"name": "two", "adapter": "echo", "project": shop}).status_code == 422
    assert people.owner.patch(f"projects/{shop}", {"title": "x"}).status_code == 409
    assert people.owner.delete(f"projects/{shop}?confirm=shop").status_code == 409
    assert people.owner.get(f"projects/{shop}").get_json()["deleting_at"]


@pytest.mark.parametrize("kept", [False, True])
def test_a_tenant_goes_with_its_claws(running_app: Flask, running_admin: Person, kept: bool) -> None:
    from tests.conftest import wait_for

    made = running_admin.post("tenants", {"name": "globex"}).get_json()
    member = make_person(running_app, "gina", "tenant-admin", "globex")
    one = member.create("one")["id"]
    member.reaches(one, "running")
    losses: dict[str, Any] = running_admin.get(f"tenants/{made['id']}/losses").get_json()
    assert (losses["instances"], losses["running"], losses["members"], losses["named"]) == (1, 1, 1, ["one"])
    assert member.get(f"tenants/{made['id']}/losses").status_code == 403
    assert running_admin.delete(f"tenants/{made['id']}?confirm=globex").status_code == 409
    path = f"tenants/{made['id']}?confirm=globex&instances=delete&keep_data={str(kept).lower()}"
    assert running_admin.delete(path).get_json() == {"state": "deleting"}
    wait_for(lambda: running_admin.get(f"tenants/{made['id']}").status_code == 404, 30, "the tenant is gone")
    assert running_admin.get(f"instances/{one}").status_code == 404
    assert member.get("instances").status_code == 403, "an account without a tenant has no rights"
    assert member.get("auth/me").status_code == 200
    folder = running_app.extensions["clawportal"].settings.data_dir / "clusters" / "local" / "instances" / one
    assert folder.exists() == kept
