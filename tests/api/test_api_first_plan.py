"""Endpoints that replace whole settings, tell of one plugin, and sum up what runs."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from clawportal import clock
from clawportal.contracts.runtimes import Ref, Sample
from clawportal.db import db, transaction
from clawportal.models import Instance
from tests.conftest import People, portal_of


def tenant_of(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def test_put_replaces_the_settings_of_an_organisation(people: People) -> None:
    tenant = tenant_of(people)
    first = people.owner.put(f"tenants/{tenant}", {"title": "Acme", "allowed_adapters": {"echo": []}})
    assert first.status_code == 200, first.get_data(as_text=True)
    assert first.get_json()["title"] == "Acme" and first.get_json()["allowed_adapters"] == {"echo": []}
    again = people.owner.put(f"tenants/{tenant}", {"title": "Acme Ltd."}).get_json()
    assert again["title"] == "Acme Ltd." and not again["allowed_adapters"], "what is absent gets its default"
    assert again == people.owner.get(f"tenants/{tenant}").get_json()
    assert people.owner.put(f"tenants/{tenant}", {}).get_json()["errors"][0]["path"] == "title"
    assert people.viewer.put(f"tenants/{tenant}", {"title": "Mine"}).status_code == 403
    assert people.stranger.put(f"tenants/{tenant}", {"title": "Mine"}).status_code == 404


def test_put_replaces_the_settings_of_a_project(people: People) -> None:
    project = people.owner.post("projects", {"tenant": tenant_of(people), "name": "lab"}).get_json()["id"]
    assert people.owner.put(f"projects/{project}", {"title": "The lab"}).get_json()["title"] == "The lab"
    assert people.owner.put(f"projects/{project}", {}).status_code == 422
    assert people.viewer.put(f"projects/{project}", {"title": "Mine"}).status_code == 403
    assert people.stranger.put(f"projects/{project}", {"title": "Mine"}).status_code == 404


def test_one_plugin(people: People) -> None:
    listed = people.admin.get("plugins").get_json()["items"]
    assert people.admin.get(f"plugins/{listed[0]['name']}").get_json() == listed[0]
    absent = people.admin.get("plugins/absent")
    assert absent.status_code == 404 and "GET /plugins" in absent.get_json()["detail"]
    assert people.viewer.get(f"plugins/{listed[0]['name']}").status_code == 403


def test_the_overview_sums_up_what_one_may_see(people: People, portal_app: Flask) -> None:
    made = [people.owner.create(f"o-{number}")["id"] for number in range(3)]
    with portal_app.app_context(), transaction():
        for one in made[:2]:
            db.session.get_one(Instance, one).phase = "running"
    now = clock.now()
    for seconds in (0, 10):
        measured = [
            Sample(Ref(one), at=now + timedelta(seconds=seconds), cpu_seconds=seconds / 8, memory_bytes=1_000_000, processes=2)
            for one in made
        ]
        portal_of(portal_app).samples.update(measured)
    told = people.owner.get("metrics/overview").get_json()
    assert (told["measured"], told["cpu_percent"], told["memory_bytes"], told["processes"]) == (2, 25.0, 2_000_000, 4)
    assert told["instances"] == people.owner.get("counts").get_json() and told["instances"]["running"] == 2
    assert told["operations_open"] == people.owner.get("operations?limit=1&state=queued&state=running").get_json()["total"]
    none = people.stranger.get("metrics/overview").get_json()
    assert none["measured"] == none["memory_bytes"] == none["instances"]["total"] == 0
