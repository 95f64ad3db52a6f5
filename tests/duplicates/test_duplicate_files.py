"""The files of a claw that come along with its duplicate: a source that runs or is stopped, and a portal that ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.jobs import file_copies
from clawportal.models import Cluster, Instance, Operation
from clawportal.models.operations import RUNNING
from clawportal.services.fleet import duplicates, instances, operations
from clawportal.services.fleet.duplicates import Wish
from tests.cli.test_claw import Terminal, claw, nowhere  # fixtures that this module asks for
from tests.conftest import People, Person, Server, make_people, make_person, portal_of, wait_for
from tests.core.world import World

__all__ = ["claw", "nowhere"]
KEY = "sk-only-the-claw-knows"


def folder_of(app: Flask, instance_id: str) -> Path:
    return Path(portal_of(app).settings.data_dir) / "clusters" / "local" / "instances" / instance_id


def filled(app: Flask, instance_id: str) -> Path:
    """The folders of a claw with something of everything in them."""
    folder = folder_of(app, instance_id)
    for path in ("work/notes/plan.md", "work/SOUL.md", "work/owned.md", "state/identity.json", "home/.profile"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{path} with {KEY}")
    (folder / "work" / "empty").mkdir(exist_ok=True)
    (folder / "work" / "away").symlink_to("/etc/passwd")
    (folder / "work" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "work" / "run.sh").chmod(0o700)
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def copy_of(app: Flask, instance_id: str) -> Operation:
    with app.app_context():
        query = select(Operation).where(Operation.instance_id == instance_id, Operation.kind == operations.COPY_FILES)
        found = db.session.scalars(query.order_by(Operation.created_at.desc())).first()
        assert found is not None
        db.session.expunge(found)
        return found


def asked(person: Person, source: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = person.post(f"instances/{source['id']}/duplicate", {"name": "second", "files": True, **body})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def carried_out(app: Flask, instance_id: str) -> Operation:
    with app.app_context():
        assert file_copies.copy_once(portal_of(app)) == 1
    return copy_of(app, instance_id)


@pytest.fixture
def people(portal_app: Flask) -> People:
    return make_people(portal_app)


@pytest.fixture
def source(people: People) -> dict[str, Any]:
    """A claw that nobody started, with files, in a place that hands out files."""
    app = people.admin.app
    made = people.owner.create("source", start=False, secrets={"model_api_key": KEY})
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, made["id"])
        row.phase = "stopped"
        row.workload = {"files": [{"path": "owned.md", "root": "work", "content": "", "mode": 384, "policy": "always"}]}
    with app.app_context(), transaction():
        cluster = db.session.scalars(select(Cluster)).one()
        cluster.capabilities = ["artifacts", "files", "files.change"]
    filled(app, made["id"])
    return made


def test_the_work_folder_comes_along_and_nothing_else(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.owner, source)
    assert made["desired"] == "stopped"  # its files come first
    done = carried_out(app, made["id"])
    assert (done.state, done.progress, done.created_by) == ("succeeded", 100.0, "owner"), done.error
    assert "copied: 3," in done.message and "left out: 1." in done.message
    folder = folder_of(app, made["id"])
    assert tree(folder / "work") == ["SOUL.md", "empty", "notes", "notes/plan.md", "run.sh"]
    assert (folder / "work/notes/plan.md").read_text() == f"work/notes/plan.md with {KEY}"
    assert (folder / "work/run.sh").stat().st_mode & 0o777 == 0o700
    assert not (folder / "state/identity.json").exists() and not (folder / "home/.profile").exists()
    assert people.owner.get(f"instances/{made['id']}").get_json()["desired"] == "running"


def test_who_may_not_see_secrets_copies_asterisks(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.developer, source, start=False)
    assert carried_out(app, made["id"]).state == "succeeded"
    text = (folder_of(app, made["id"]) / "work/SOUL.md").read_text()
    assert text == f"work/SOUL.md with {'*' * len(KEY)}"
    assert people.owner.get(f"instances/{made['id']}").get_json()["desired"] == "stopped"


def test_a_copy_that_was_cut_begins_anew(people: People, source: dict[str, Any]) -> None:
    """The worker took it and is gone with its portal, after it had copied a part."""
    app = people.admin.app
    made = asked(people.owner, source)
    with app.app_context():
        portal = portal_of(app)
        [taken] = operations.claim(portal, operations.COPY_FILES, 1)
        assert file_copies.copy_once(portal) == 0  # it is somebody's
        part = folder_of(app, made["id"]) / "work"
        part.mkdir(parents=True)
        (part / "SOUL.md").write_text("half")
        operations.release_all(portal)  # as a portal does that begins with the folder to itself
    done = carried_out(app, made["id"])
    assert done.id == taken and done.state == "succeeded" and done.attempts == 2
    assert (part / "SOUL.md").read_text() == f"work/SOUL.md with {KEY}"


def test_a_lease_that_ended_is_taken_over(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.owner, source)
    with app.app_context():
        [taken] = operations.claim(portal_of(app), operations.COPY_FILES, 1)
        with transaction():
            row = db.session.get_one(Operation, taken)
            assert row.state == RUNNING
            row.lease_holder, row.lease_until = "another", clock.now()
    assert carried_out(app, made["id"]).state == "succeeded"


def test_a_source_that_is_gone_is_told(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.owner, source)
    with app.app_context(), transaction():
        db.session.get_one(Instance, source["id"]).desired = "deleted"
    done = carried_out(app, made["id"])
    assert done.state == "failed" and "gone" in done.error
    assert people.owner.get(f"instances/{made['id']}").get_json()["desired"] == "stopped"


def test_a_copy_that_is_cancelled_starts_the_source_again(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, source["id"])
        row.desired, row.phase = "running", "running"
    made = asked(people.owner, source, stop=True)
    assert people.owner.get(f"instances/{source['id']}").get_json()["desired"] == "stopped"
    waits = carried_out(app, made["id"])
    assert waits.state == "queued" and "Waits until source is stopped" in waits.message and waits.attempts == 0
    assert people.owner.post(f"operations/{waits.id}/cancel").status_code == 202
    assert carried_out(app, made["id"]).state == "cancelled"
    assert people.owner.get(f"instances/{source['id']}").get_json()["desired"] == "running"
    again = people.owner.post(f"operations/{waits.id}/retry")
    assert again.status_code == 202 and again.get_json()["id"] != waits.id


def test_files_need_the_right_to_read_them(people: People, source: dict[str, Any]) -> None:
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    rights = {"name": "maker", "permissions": ["instance.read", "instance.create", "catalog.read", "tenant.read"]}
    assert people.owner.post(f"tenants/{tenant}/roles", rights).status_code == 201
    maker = make_person(people.admin.app, "maker", "maker", "default")
    body = {"name": "second", "files": True}
    answer = maker.post(f"instances/{source['id']}/duplicate", body)
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "files"
    looked = maker.post(f"instances/{source['id']}/duplicate/preview", body).get_json()
    assert {part["path"]: part["copied"] for part in looked["parts"]}["files.work"] is False
    assert {part["path"]: part["copied"] for part in looked["parts"]}["secrets.model_api_key"] is False


def test_too_many_bytes_for_the_other_are_refused(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, source["id"])
        row.spec = {**row.spec, "resources": {**row.spec["resources"], "storage": "1Mi"}}
    (folder_of(app, source["id"]) / "work" / "large").write_bytes(bytes(2 << 20))
    made = asked(people.owner, source)
    done = carried_out(app, made["id"])
    assert done.state == "failed" and "may have 1 MiB" in done.error and "storage limit" in done.error


def test_a_running_claw_is_duplicated_from_the_terminal(server: Server, claw: Terminal) -> None:
    made = claw.json("create", "one", "--type", "echo", "--wait")
    filled(server.app, made["id"])
    looked = claw("duplicate", "one", "two", "--files", "--preview")
    assert looked.exit_code == 0 and "work folder" in looked.stdout and "Warning: one runs" in looked.stderr
    second = claw.json("duplicate", "one", "two", "--files", "--wait")
    assert second["phase"] == "running" and second["name"] == "two"
    assert "notes/plan.md" in tree(folder_of(server.app, second["id"]) / "work")
    third = claw.json("duplicate", "one", "three", "--files", "--stop", "--no-start", "--wait")
    assert third["phase"] == "stopped" and "notes/plan.md" in tree(folder_of(server.app, third["id"]) / "work")
    wait_for(lambda: server.admin.get(f"instances/{made['id']}").get_json()["phase"] == "running", what="one runs again")
    refused = claw("duplicate", "one", "two")
    assert refused.exit_code == 6 and "already an instance named two" in refused.stderr
    assert claw("duplicate", "one", "four", "--stop").exit_code == 2
    assert claw("duplicate", "absent", "four").exit_code == 3


def test_a_portal_that_ends_in_the_middle_goes_on_afterwards(tmp_path: Path) -> None:
    world = World(tmp_path / "data", start=False)
    with world.context() as portal:
        one = instances.create(portal, SYSTEM, instances.NewInstance("one", "echo", start=False)).id
        filled(world.app, one)
        world.runtime()
        with transaction():
            db.session.scalars(select(Cluster)).one().capabilities = ["artifacts", "files", "files.change"]
        two = duplicates.create(portal, SYSTEM, one, Wish("two", files=True)).id
        assert len(operations.claim(portal, operations.COPY_FILES, 1)) == 1  # and nobody finishes it
    later = world.again()
    later.start()
    try:
        later.until(two, "running", 60)
        assert "notes/plan.md" in tree(folder_of(later.app, two) / "work")
        assert copy_of(later.app, two).state == "succeeded"
    finally:
        later.close()
