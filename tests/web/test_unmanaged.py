"""What others made: listed, imported to be observed, adopted as it is, forgotten; by API and pages, for each role."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.contracts.runtimes import RunState, UnmanagedWorkload
from clawportal.db import db, transaction
from clawportal.jobs import sync
from clawportal.models import Cluster, EventRow, Instance
from clawportal.services.fleet import unmanaged
from clawportal.services.reconcile import converge
from clawportal.testing.places import MemoryDriver, YardRuntime
from tests.conftest import People, Person, make_cluster, make_people, portal_of
from tests.web.conftest import Browser

OLD = UnmanagedWorkload(
    "c0ffee", "openclaw-1", "ghcr.io/openclaw/openclaw:2026.9.6", RunState.RUNNING,
    details={
        "status": "Up 3 hours", "command": ["node", "gateway"], "labels": {"openclaw.tenant": "one"}, "ports": [18789],
        "mounts": [{"source": "oc-data", "target": "/home/node/.openclaw"}], "env": {"OPENCLAW_TOKEN": "********"},
        "memory_bytes": 512 << 20, "cpu_cores": 0.5, "restart": "always",
    },
)  # fmt: skip
ODD = UnmanagedWorkload("badcafe", "Postgres_16", "postgres:16", RunState.RUNNING, details={"status": "Up 1 hour"})
WORDY = UnmanagedWorkload(
    "feed", "by-hand", "python:3.12-slim", RunState.RUNNING, details={"command": ["python3", "-m", "nanobot.cli"]}
)


@dataclass
class Yard:
    people: People
    runtime: YardRuntime
    cluster: str

    @property
    def admin(self) -> Person:
        return self.people.admin

    def bring_in(self, name: str = "openclaw-1", **body: Any) -> dict[str, Any]:
        answer = self.admin.post(f"clusters/yard/foreign/{name}/import", body)
        assert answer.status_code == 201, answer.get_data(as_text=True)
        made: dict[str, Any] = answer.get_json()
        return self.settled(made["id"])

    def settled(self, instance_id: str) -> dict[str, Any]:
        """After as many passes as it takes."""
        for _ in range(200):
            with self.admin.app.app_context():
                converge.run_pass(portal_of(self.admin.app), instance_id)
            found: dict[str, Any] = self.admin.get(f"instances/{instance_id}").get_json()
            if found["observed_generation"] == found["generation"]:
                return found
            time.sleep(0.01)
        raise AssertionError(found)

    def press(self, instance_id: str, verb: str) -> dict[str, Any]:
        answer = self.admin.post(f"instances/{instance_id}/{verb}")
        assert answer.status_code in (200, 202), answer.get_data(as_text=True)
        return self.settled(instance_id)

    def touched(self) -> int:
        return sum(self.runtime.calls[name] for name in ("resume", "stop", "kill", "remove", "apply", "write_files"))


@pytest.fixture
def yard(portal_app: Flask) -> Yard:
    runtime = YardRuntime(ODD, OLD, WORDY)
    driver: Any = MemoryDriver(runtime, kind="yard", title="Yard")
    portal_of(portal_app).registry.runtimes["yard"] = driver
    people = make_people(portal_app)
    cluster = make_cluster(portal_app, "yard", None, "yard", title="The yard")
    with portal_app.app_context(), transaction():
        db.session.get_one(Cluster, cluster).capabilities = ["import"]
    return Yard(people, runtime, cluster)


# ---- listing


def test_all_is_listed_with_what_it_seems_to_be(yard: Yard) -> None:
    items = yard.admin.get("clusters/yard/foreign").get_json()["items"]
    assert [(item["name"], item["adapter"], item["version"]) for item in items] == [
        ("by-hand", "nanobot", "3.12-slim"), ("openclaw-1", "openclaw", "2026.9.6"), ("Postgres_16", "", "16"),
    ]  # fmt: skip
    one = yard.admin.get("clusters/yard/foreign/c0ffee").get_json()
    assert one["name"] == "openclaw-1" and one["details"]["env"] == {"OPENCLAW_TOKEN": "********"} and not one["instance_id"]
    assert yard.admin.get("clusters/yard/foreign/nothing").status_code == 404


def test_only_those_who_manage_the_cluster_see_and_import(yard: Yard) -> None:
    for person in (yard.people.owner, yard.people.developer, yard.people.viewer, yard.people.stranger):
        assert person.get("clusters/yard/foreign").status_code == 403
        assert person.post("clusters/yard/foreign/openclaw-1/import", {}).status_code == 403
    made = yard.bring_in()
    for person, status in ((yard.people.owner, 403), (yard.people.stranger, 403)):
        assert person.post(f"instances/{made['id']}/adopt").status_code == status
    assert yard.people.developer.post(f"instances/{made['id']}/forget").status_code == 403
    assert yard.people.viewer.get(f"instances/{made['id']}").get_json()["managed"] is False
    assert yard.people.stranger.get(f"instances/{made['id']}").status_code == 404
    assert yard.touched() == 0


def test_a_place_that_cannot_or_does_not_answer(yard: Yard) -> None:
    refused = yard.admin.get("clusters/local/foreign")
    assert refused.status_code == 409 and refused.get_json()["code"] == "unsupported"
    yard.runtime.character.reachable = False
    assert yard.admin.get("clusters/yard/foreign").status_code == 503
    yard.admin.post("clusters/yard/pause")
    assert "paused" in yard.admin.get("clusters/yard/foreign").get_json()["detail"]


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("openclaw", ("openclaw", "")),
        ("registry:5000/claw", ("registry:5000/claw", "")),
        ("registry:5000/claw:1.2@sha256:abc", ("registry:5000/claw", "1.2")),
        ("sha256:0123", ("sha256:0123", "")),
    ],
)
def test_images_are_taken_apart(image: str, parts: tuple[str, str]) -> None:
    assert unmanaged._parts(image) == parts


def test_an_image_of_the_cluster_tells_the_kind(yard: Yard) -> None:
    adapters = portal_of(yard.admin.app).registry.adapters
    item = UnmanagedWorkload("1", "web", "registry.example/own:7", RunState.RUNNING)
    assert unmanaged.guess(adapters, {}, item) == ("", "7")
    assert unmanaged.guess(adapters, {"echo": "registry.example/own:{version}"}, item) == ("echo", "7")
    assert (
        unmanaged.guess(adapters, {}, UnmanagedWorkload("2", "x", "clawportal/nanobot:latest", RunState.RUNNING))[0] == "nanobot"
    )


# ---- only observed


def test_an_import_is_observed_and_never_touched(yard: Yard) -> None:
    found = yard.bring_in()
    assert (found["phase"], found["health"], found["sync"], found["managed"]) == ("running", "unknown", "synced", False)
    assert found["foreign_id"] == "c0ffee" and found["foreign"]["image"] == OLD.image
    assert (
        found["spec"]["resources"] == {"memory": "512Mi", "cpu": "500m", "storage": ""} and found["spec"]["restart"] == "always"
    )
    one = f"instances/{found['id']}"
    for verb in ("start", "stop", "restart", "kill", "rekey"):
        refused = yard.admin.post(f"{one}/{verb}")
        assert refused.status_code == 409 and "Adopt it first, or forget it." in refused.get_json()["detail"], verb
    assert yard.admin.delete(one).status_code == 409
    assert yard.admin.patch(one, {"labels": {"a": "b"}, "generation": 1}).status_code == 409
    assert yard.admin.post(f"{one}/chat", {"text": "hello"}).status_code == 409
    outcome = yard.admin.post("instances/bulk", {"action": "stop", "ids": [found["id"]]}).get_json()["items"][0]
    assert not outcome["ok"] and "only observed" in outcome["error"]
    yard.runtime.lines[found["id"]] = ["hello"]
    assert yard.admin.get(f"{one}/logs").get_json()["lines"][0]["text"] == "hello"
    again = yard.admin.post("clusters/yard/foreign/c0ffee/import", {"name": "again"})
    assert again.status_code == 409 and "openclaw-1" in again.get_json()["detail"]
    assert yard.touched() == 0


def test_what_it_does_is_shown(yard: Yard) -> None:
    found, one = yard.bring_in(), yard.runtime.unmanaged_runs["c0ffee"]
    app = yard.admin.app

    def looked() -> dict[str, Any]:
        """As a round of the leader sees it."""
        with app.app_context():
            hinted = sync.sync_cluster(portal_of(app), db.session.get_one(Cluster, yard.cluster))
        assert hinted == 1
        return yard.settled(found["id"])

    one.healthy = False
    assert looked()["health"] == "unhealthy"
    one.healthy = True
    assert looked()["health"] == "healthy"
    one.starts += 1
    assert looked()["restart_count"] == 1
    one.running, one.exit_code = False, 3
    ended = looked()
    assert (ended["phase"], ended["desired"], ended["message"]) == ("stopped", "stopped", "It ended with code 3.")
    one.running = True
    assert looked()["phase"] == "running"
    del yard.runtime.unmanaged_runs["c0ffee"]
    gone = looked()
    assert (gone["phase"], gone["reason"]) == ("failed", "Gone") and "Forget it" in gone["next_action"]
    with app.app_context():
        assert sync.sync_cluster(portal_of(app), db.session.get_one(Cluster, yard.cluster)) == 0, "it is known"
        kinds = list(db.session.scalars(select(EventRow.reason).where(EventRow.kind == "instance.exited")))
    assert kinds == ["RestartedOutside", "Exited"] and yard.touched() == 0
    assert yard.admin.post(f"instances/{found['id']}/adopt").status_code == 409
    yard.press(found["id"], "forget")


# ---- adopted


def test_adopted_it_is_managed_as_it_is(yard: Yard) -> None:
    made, one = yard.bring_in()["id"], yard.runtime.unmanaged_runs["c0ffee"]
    found = yard.press(made, "adopt")
    assert found["managed"] and found["phase"] == "running" and one.starts == 1 and yard.touched() == 0, "it runs on"
    assert yard.admin.post(f"instances/{made}/adopt").status_code == 409
    assert yard.press(made, "stop")["phase"] == "stopped" and not one.running
    assert yard.press(made, "start")["phase"] == "running" and (one.running, one.starts) == (True, 2)
    found = yard.press(made, "restart")
    assert found["phase"] == "running" and one.starts == 3
    assert yard.press(made, "kill")["phase"] == "stopped" and yard.runtime.calls["kill"] == 1
    yard.press(made, "start")
    one.running, one.exit_code = False, 1  # by itself: it is started again, by its restart policy
    with yard.admin.app.app_context():
        converge.run_pass(portal_of(yard.admin.app), made)
    waiting = yard.admin.get(f"instances/{made}").get_json()
    assert waiting["phase"] == "starting" and "started again in" in waiting["message"]
    assert yard.press(made, "start")["phase"] == "running" and one.starts == 5
    assert yard.runtime.calls["apply"] == yard.runtime.calls["write_files"] == 0, "nothing is made anew"
    assert yard.admin.get(f"instances/{made}").get_json()["ports"] == [{"name": "gateway", "number": 18789, "title": "gateway"}]
    actions = [entry["action"] for entry in yard.admin.get("audit?limit=50").get_json()["items"]]
    assert {"instance.import", "instance.adopt", "instance.stop"} <= set(actions)
    assert yard.admin.delete(f"instances/{made}").status_code == 202
    assert yard.settled(made)["phase"] == "destroyed" and "c0ffee" not in yard.runtime.unmanaged_runs


def test_its_configuration_stays_its_makers(yard: Yard) -> None:
    made = yard.bring_in()["id"]
    generation = yard.press(made, "adopt")["generation"]
    changes: list[dict[str, Any]] = [
        {"spec": {"persona": "Kim"}}, {"version": "2.0"}, {"secrets": {"model_api_key": "x"}},
        {"spec": {"resources": {"memory": "1Gi"}}},
    ]  # fmt: skip
    for change in changes:
        refused = yard.admin.patch(f"instances/{made}", change | {"generation": generation})
        assert refused.status_code == 422 and refused.get_json()["errors"][0]["code"] == "adopted", change
        assert "create a new instance" in refused.get_json()["errors"][0]["message"]
    assert yard.admin.post(f"instances/{made}/rekey").status_code == 409
    free = {"labels": {"team": "a"}, "spec": {"restart": "never"}, "generation": generation}
    assert yard.admin.patch(f"instances/{made}", free).status_code == 200
    found = yard.settled(made)
    assert found["labels"] == {"team": "a"} and found["spec"]["restart"] == "never" and yard.touched() == 0


def test_what_is_gone_cannot_be_started(yard: Yard) -> None:
    made = yard.bring_in()["id"]
    yard.press(made, "adopt")
    yard.press(made, "stop")
    del yard.runtime.unmanaged_runs["c0ffee"]
    found = yard.press(made, "start")
    assert (found["phase"], found["reason"]) == ("failed", "Gone")


@pytest.mark.parametrize("adopted", [False, True], ids=["observed", "adopted"])
def test_forgetting_leaves_it_running(yard: Yard, adopted: bool) -> None:
    made = yard.bring_in()["id"]
    if adopted:
        yard.press(made, "adopt")
    gone = yard.admin.post(f"instances/{made}/forget").get_json()
    assert gone["phase"] == "destroyed" and yard.runtime.unmanaged_runs["c0ffee"].running and yard.touched() == 0
    assert yard.admin.get("instances").get_json()["total"] == 0
    assert yard.admin.post(f"instances/{made}/forget").status_code == 409
    assert yard.bring_in()["name"] == "openclaw-1", "name and container are free again"
    own = yard.admin.create("own")["id"]
    assert yard.admin.post(f"instances/{own}/forget").status_code == 409
    assert yard.admin.post(f"instances/{own}/adopt").status_code == 409


# ---- quotas, rules, tenants


def test_an_import_keeps_to_quotas_rules_and_defaults(yard: Yard) -> None:
    admin, path = yard.admin, "clusters/yard/foreign/openclaw-1/import"
    asked = admin.post("clusters/yard/foreign/Postgres_16/import", {})
    assert asked.status_code == 422 and asked.get_json()["errors"][0]["path"] == "adapter"
    for body, field in (({"name": "Bad Name"}, "name"), ({"version": "a b"}, "version"), ({"project": "none"}, "project")):
        refused = admin.post(path, body)
        assert refused.status_code == 422 and refused.get_json()["errors"][0]["path"] == field
    tenant = next(item["id"] for item in admin.get("tenants").get_json()["items"] if item["name"] == "default")
    admin.put(f"tenants/{tenant}/quota", {"memory": "256Mi"})
    assert admin.post(path, {}).get_json()["code"] == "over_quota"
    admin.put(f"tenants/{tenant}/quota", {})
    rule = {"tenant": tenant, "name": "no-openclaw", "kind": "adapters", "parameters": {"allowed": ["echo"]}}
    made = admin.post("policies", rule).get_json()["id"]
    assert "no-openclaw" in admin.post(path, {}).get_json()["detail"]
    admin.delete(f"policies/{made}")
    admin.patch(f"tenants/{tenant}", {"allowed_adapters": {"echo": []}})
    assert admin.post(path, {}).get_json()["errors"][0]["path"] == "adapter"
    admin.patch(f"tenants/{tenant}", {"allowed_adapters": None})
    admin.post("clusters/yard/cordon")
    assert admin.post(path, {}).get_json()["errors"][0]["path"] == "cluster"
    admin.post("clusters/yard/uncordon")
    assert yard.touched() == 0 and admin.get("instances").get_json()["total"] == 0
    assert admin.post(path, {}).status_code == 201


def test_a_project_that_goes_forgets_what_it_only_observed(yard: Yard) -> None:
    tenant = next(item["id"] for item in yard.admin.get("tenants").get_json()["items"] if item["name"] == "default")
    project = yard.admin.post("projects", {"tenant": tenant, "name": "lab"}).get_json()["id"]
    made = yard.bring_in(project="lab")["id"]
    gone = yard.admin.delete(f"projects/{project}?confirm=lab&instances=delete")
    assert gone.status_code in (200, 202, 204), gone.get_data(as_text=True)
    with yard.admin.app.app_context():
        row = db.session.get(Instance, made)
        assert row is None or row.destroyed_at is not None
    assert yard.runtime.unmanaged_runs["c0ffee"].running and yard.touched() == 0


# ---- pages


def test_the_pages(yard: Yard, browse: Callable[[Person], Browser]) -> None:
    browser = browse(yard.admin)
    assert "Other containers" in browser.page(f"/clusters/{yard.cluster}")
    page = browser.page(f"/clusters/{yard.cluster}/foreign")
    assert "openclaw-1" in page and "OpenClaw" in page and "Postgres_16" in page and "cannot be told" in page
    where = f"/clusters/{yard.cluster}/foreign/c0ffee"
    page = browser.page(where)
    assert 'value="openclaw-1"' in page and "oc-data" in page and "********" in page and "only observes it" in page
    bad = browser.post(where, {"name": "Bad Name", "adapter": ""})
    assert bad.status_code == 422 and "small letters" in bad.get_data(as_text=True)
    made = browser.post(where, {"name": "old-one", "adapter": "openclaw", "version": "2026.9.6"})
    assert made.status_code == 303
    one = made.headers["Location"]
    yard.settled(one.rpartition("/")[2])
    page = browser.page(one)
    assert "Only observed" in page and f'action="{one}/adopt"' in page and f'action="{one}/forget"' in page
    for verb in ("start", "stop", "restart", "kill", "delete"):
        assert f'action="{one}/{verb}"' not in page
    assert f'href="{one}/edit"' not in page and f'href="{one}/console"' not in page
    assert browser.post(f"{one}/stop").status_code == 409 and browser.get(f"{one}/edit").status_code == 409
    assert "oc-data" in browser.page(f"{one}/config") and "Imported as old-one" in browser.page(
        f"/clusters/{yard.cluster}/foreign"
    )
    assert "It is an instance already" in browser.page(where)
    assert browser.page("/instances") and f"{one}/stop" not in browser.page(f"{one}?part=menu", htmx=True)
    plain = browse(yard.people.viewer).page(one)
    assert "Only observed" in plain and "/adopt" not in plain and "/forget" not in plain
    assert browser.post(f"{one}/adopt").status_code == 303
    yard.settled(one.rpartition("/")[2])
    page = browser.page(one)
    assert f'action="{one}/stop"' in page and "Only observed" not in page and f'href="{one}/edit"' not in page
    assert "Named volumes and folders of the machine stay" in html.unescape(page)
    assert "Adopted" in browser.page(f"{one}/config") and browser.get(f"{one}/edit").status_code == 409
    assert "Named volumes" in browser.post(f"{one}/delete").get_data(as_text=True)
    assert browser.post(f"{one}/forget").status_code == 303 and browser.page(one)
    assert browse(yard.people.owner).get(f"/clusters/{yard.cluster}/foreign").status_code == 403
    yard.runtime.character.reachable = False
    assert "does not answer" in browser.page(f"/clusters/{yard.cluster}/foreign")
