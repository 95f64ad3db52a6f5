"""Who sees and manages clusters: a truth table over every role, and the API as each of them meets it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from clawportal.contracts.core_permissions import CLUSTER_MANAGE, CLUSTER_READ
from clawportal.contracts.permissions import PORTAL_ROLES, Actor, Permission, narrowed
from clawportal.db import db
from clawportal.errors import Forbidden, NotFound
from clawportal.models import Cluster
from clawportal.services.clusters import clusters
from clawportal.services.rights import access
from tests.conftest import People, counted_sql, make_cluster, make_person
from tests.core_roles import CORE, ROLES


@pytest.mark.parametrize("role", ROLES)
def test_lists_and_checks_agree(people: People, role: str) -> None:
    """In the list is exactly what one reaches, and nobody manages but the portal's administrators."""
    for name, tenants in (("for-all", None), ("ours", ["default"]), ("theirs", ["acme"]), ("nobodys", [])):
        make_cluster(people.owner.app, name, tenants)
    ours = people.owner.get("tenants").get_json()["items"][0]["id"]
    with people.owner.app.app_context():
        actor = Actor("a", "a", grants=tuple(CORE.role_grants(role, None if role in PORTAL_ROLES else ours, "a test")))
        for who, meant in ((actor, {"local", "for-all", "ours"}), (narrowed(actor, people.acme), {"local", "for-all", "theirs"})):
            inside = role in PORTAL_ROLES or who is actor
            everywhere = {"local", "for-all", "ours", "theirs", "nobodys"} if role in PORTAL_ROLES and who is actor else meant
            expected = everywhere if CLUSTER_READ in ROLES[role] and inside else set()
            assert {row.name for row in clusters.listing(who).items} == expected, (role, who is actor)
            for row in db.session.scalars(select(Cluster)).all():
                for permission in (CLUSTER_READ, CLUSTER_MANAGE):
                    _reaches(who, row, permission, row.name in expected)


def _reaches(who: Actor, row: Cluster, permission: Permission, seen: bool) -> None:
    allowed = seen and (permission == CLUSTER_READ or who.allows(permission, access.scope_of(row)))
    try:
        access.get_or_404(Cluster, row.id, who, permission)
        reached = True
    except NotFound:
        reached = False
        assert not seen
    except Forbidden:
        reached = False
        assert seen, "403 only for who may see it"
    assert reached == allowed


def test_what_each_is_told(people: People) -> None:
    one = make_cluster(people.owner.app, "ours", ["default"], labels={"region": "eu"})
    full, part = people.admin.get(f"clusters/{one}").get_json(), people.viewer.get("clusters/ours").get_json()
    assert full["settings"]["timezone"] == "UTC" and full["labels"] == {"region": "eu"} and full["for_all"] is False
    assert [item["title"] for item in full["tenants"]] == ["My organisation"] and full["events"][0]["kind"] == "cluster.created"
    hidden = ("settings", "secrets", "policy", "events", "labels", "tenants", "for_all", "version", "capacity", "created_at")
    assert all(part[name] is None for name in hidden) and part["name"] == "ours" and part["health"] == "unknown"
    assert {item["name"] for item in people.stranger.get("clusters").get_json()["items"]} == {"local"}
    for asked, found in (("region=eu", ["ours"]), ("region=us", []), ("!region", ["local"])):
        assert [item["name"] for item in people.admin.get(f"clusters?labels={asked}").get_json()["items"]] == found
        refused = people.viewer.get(f"clusters?labels={asked}")
        assert refused.status_code == 422 and refused.get_json()["errors"][0]["path"] == "labels", (
            "no way to find out what is hidden"
        )
    assert people.stranger.get(f"clusters/{one}").status_code == 404
    auditor = make_person(people.owner.app, "looks", "portal-auditor")
    assert auditor.get(f"clusters/{one}").get_json()["settings"] and auditor.post(f"clusters/{one}/pause").status_code == 403


def test_nobody_creates_where_they_may_not(people: People) -> None:
    make_cluster(people.owner.app, "theirs", ["acme"])
    body = {"name": "e1", "adapter": "echo", "cluster": "theirs"}
    refused = people.owner.post("instances", body)
    assert refused.status_code == 422 and refused.get_json()["errors"][0]["path"] == "cluster"
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    assert people.owner.patch(f"tenants/{tenant}", {"default_cluster": "theirs"}).status_code == 422
    assert people.stranger.post("instances", body).status_code == 201


def test_the_life_of_a_cluster_over_the_api(people: People) -> None:
    admin = people.admin
    body = {"name": "lab", "runtime": "process", "settings": {"timezone": "Europe/Vienna"}, "tenants": ["acme"]}
    assert admin.post("clusters", body | {"settings": {"open_files": 1}}).status_code == 422
    made = admin.post("clusters", body)
    assert made.status_code == 201 and made.headers["Location"].endswith(made.get_json()["id"])
    wanted = {"tenants": None, "policy": {"max_concurrent_starts": 2}}
    assert admin.patch("clusters/lab", wanted).status_code == 428
    read = {"If-Match": made.headers["ETag"]}
    answer = admin.patch("clusters/lab", wanted, headers=read)
    changed = answer.get_json()
    assert answer.headers["ETag"] == f'"{changed["generation"]}"' != read["If-Match"]
    stale = admin.patch("clusters/lab", {"title": "Mine"}, headers=read)
    assert stale.status_code == 412 and stale.get_json()["code"] == "stale"
    assert admin.patch("clusters/lab", {"title": "Mine", "generation": 1}, headers=read).status_code == 422
    assert admin.patch("clusters/lab", {"title": "Mine", "generation": changed["generation"]}).status_code == 200
    assert changed["for_all"] and changed["policy"] == {"max_concurrent_starts": 2} and changed["settings"]["timezone"]
    for verb, key, value in (("pause", "paused", True), ("resume", "paused", False), ("cordon", "cordoned", True)):
        assert admin.post(f"clusters/lab/{verb}").get_json()[key] is value
    assert admin.post("clusters/lab/cordon").status_code == 409 and admin.post("clusters/lab/explode").status_code == 404
    assert people.owner.post("clusters/lab/pause").status_code == 403
    assert admin.post("instances", {"name": "e1", "adapter": "echo", "cluster": "lab"}).status_code == 422
    losses = admin.get("clusters/lab/losses").get_json()
    assert losses["name"] == "lab" and losses["refusal"] == ""
    assert admin.delete("clusters/lab").status_code == 422 and admin.delete("clusters/lab?confirm=lab").status_code == 204
    actions = {item["action"] for item in admin.get("audit?limit=200").get_json()["items"]}
    assert {"cluster.create", "cluster.change", "cluster.pause", "cluster.resume", "cluster.cordon", "cluster.delete"} <= actions


def test_a_list_costs_the_same_whatever_its_length(people: People) -> None:
    figures: list[int] = []
    people.admin.get("clusters")  # notes that the token was used
    for upto in (2, 20):
        for number in range(len(figures) * 2, upto):
            make_cluster(people.owner.app, f"c{number}", ["default"])
        with counted_sql(people.owner.app) as told:
            assert people.admin.get("clusters?limit=50").get_json()["total"] == upto + 1
        figures.append(len(told))
    assert figures[0] == figures[1]
