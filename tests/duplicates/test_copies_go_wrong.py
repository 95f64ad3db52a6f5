"""Copies of files whose rights are gone, that wait for ever, lose their lease, break, or meet more than there may be."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal import clock
from clawportal.contracts.runtimes import FoundFiles, NoFolderYet, Ref
from clawportal.db import db, transaction
from clawportal.errors import Conflict
from clawportal.jobs import file_copies as job
from clawportal.models import Cluster, EventRow, Instance, Operation
from clawportal.services.clusters import clusters
from clawportal.services.fleet import instances
from clawportal.services.live import file_copies
from clawportal.services.system import disk_guard
from tests.conftest import People, Person, make_person, portal_of
from tests.duplicates.test_duplicate_files import KEY, asked, carried_out, copy_of, folder_of, people, source

__all__ = ["people", "source"]


def desired(person: Person, instance: dict[str, Any]) -> str:
    return str(person.get(f"instances/{instance['id']}").get_json()["desired"])


def runs(app: Flask, instance: dict[str, Any], phase: str = "running") -> None:
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, instance["id"])
        row.desired, row.phase = "running", phase


def changed(app: Flask, operation_id: str, **values: Any) -> None:
    with app.app_context(), transaction():
        row = db.session.get_one(Operation, operation_id)
        for name, value in values.items():
            setattr(row, name, value)


def stopped_copy(people: People, source: dict[str, Any]) -> dict[str, Any]:
    """A copy for which the source was stopped, which it is by now."""
    runs(people.admin.app, source)
    made = asked(people.owner, source, stop=True)
    with people.admin.app.app_context(), transaction():
        db.session.get_one(Instance, source["id"]).phase = "stopped"
    assert desired(people.owner, source) == "stopped"
    return made


def maker_of(people: People, *more: str) -> Person:
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    names = ["instance.read", "catalog.read", "tenant.read", "operation.read", "operation.control", *more]
    rights = {"name": "maker", "permissions": names}
    assert people.owner.post(f"tenants/{tenant}/roles", rights).status_code == 201
    return make_person(people.admin.app, "maker", "maker", "default")


def test_a_copy_is_tried_again_only_by_who_may_read_and_write(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.owner, source)
    former = copy_of(app, made["id"])
    changed(app, former.id, state="failed")
    maker = maker_of(people)
    assert maker.post(f"operations/{former.id}/retry").status_code == 403
    assert copy_of(app, made["id"]).id == former.id


def test_another_try_copies_what_its_asker_may_see(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.owner, source)
    former = copy_of(app, made["id"])
    changed(app, former.id, state="failed", payload={**former.payload, "resume": True})
    maker = maker_of(people, "instance.files.read", "instance.files.write")
    assert maker.post(f"operations/{former.id}/retry").status_code == 202
    payload = copy_of(app, made["id"]).payload
    assert (payload["masked"], payload["resume"], payload["start"]) == (True, False, False)
    assert carried_out(app, made["id"]).state == "succeeded"
    assert KEY not in (folder_of(app, made["id"]) / "work/SOUL.md").read_text()
    assert desired(people.owner, made) == "stopped"


def test_rights_that_went_while_it_waited_are_missed(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    made = asked(people.owner, source)
    outsider = maker_of(people)
    former = copy_of(app, made["id"])
    changed(app, former.id, payload={**former.payload, "actor": outsider.actor.id})
    done = carried_out(app, made["id"])
    assert done.state == "failed" and "may no longer read the files of source" in done.error
    assert not (folder_of(app, made["id"]) / "work/SOUL.md").exists()


def test_one_that_waits_does_not_hold_up_the_others(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    first, second = asked(people.owner, source), asked(people.owner, source, name="third")
    changed(app, copy_of(app, first["id"]).id, due_at=clock.now() - timedelta(seconds=1))
    changed(app, copy_of(app, second["id"]).id, due_at=clock.now() - timedelta(seconds=5))
    assert carried_out(app, second["id"]).state == "succeeded"
    assert copy_of(app, first["id"]).state == "queued"


def test_nobody_waits_for_ever_for_a_source_that_does_not_stop(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    runs(app, source)
    made = asked(people.owner, source, stop=True)
    waits = carried_out(app, made["id"])
    assert waits.state == "queued"
    changed(app, waits.id, started_at=clock.now() - job.LONGEST_WAIT, due_at=None)
    done = carried_out(app, made["id"])
    assert done.state == "failed" and "until source is stopped" in done.error and "60 minutes" in done.error
    assert desired(people.owner, source) == "running"


def test_nobody_waits_for_ever_for_a_first_start(people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    app = people.admin.app
    made = stopped_copy(people, source)
    with app.app_context():
        runtime = clusters.connect(portal_of(app), db.session.scalars(select(Cluster)).one())

    def push(ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        raise NoFolderYet("it was never started")

    monkeypatch.setattr(runtime, "push", push)
    waits = carried_out(app, made["id"])
    assert waits.state == "queued" and waits.attempts == 0 and desired(people.owner, source) == "stopped"
    changed(app, waits.id, started_at=clock.now() - job.LONGEST_WAIT, due_at=None)
    done = carried_out(app, made["id"])
    assert done.state == "failed" and "for the first time" in done.error
    assert desired(people.owner, source) == "running"


@pytest.mark.parametrize("when", ["in the middle", "at the end"])
def test_who_lost_the_lease_leaves_the_source_to_the_other(
    when: str, people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = people.admin.app
    made = stopped_copy(people, source)
    copying = copy_of(app, made["id"]).id

    def copy(*given: Any) -> file_copies.Copied:
        done = file_copies.Copied()
        with transaction():
            db.session.get_one(Operation, copying).lease_holder = "another"
        if when == "in the middle":
            given[-1](None, done)
        return done

    monkeypatch.setattr(file_copies, "copy", copy)
    found = carried_out(app, made["id"])
    assert (found.state, found.lease_holder) == ("running", "another")
    assert desired(people.owner, source) == "stopped" and desired(people.owner, made) == "stopped"


def test_folders_and_links_keep_the_lease_too(people: People, source: dict[str, Any]) -> None:
    app = people.admin.app
    work = folder_of(app, source["id"]) / "work"
    for path in sorted(work.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    (work / "only" / "folders").mkdir(parents=True)
    made, told = asked(people.owner, source), []
    with app.app_context():
        portal = portal_of(app)
        one, other = (file_copies.end_of(portal, db.session.get_one(Instance, each["id"])) for each in (source, made))
        file_copies.copy(portal, one, other, None, lambda fraction, done: told.append(done))
    assert len(told) >= 2


def test_a_damaged_archive_is_tried_again(people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*given: Any) -> file_copies.Copied:
        raise tarfile.ReadError("unexpected end of data")

    monkeypatch.setattr(file_copies, "copy", copy)
    made = asked(people.owner, source)
    done = carried_out(people.admin.app, made["id"])
    assert done.state == "queued" and "unexpected end of data" in done.message


def test_an_unexpected_error_starts_the_source_again(
    people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*given: Any) -> file_copies.Copied:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(file_copies, "copy", copy)
    made = stopped_copy(people, source)
    done = carried_out(people.admin.app, made["id"])
    assert done.state == "failed" and "nobody thought of this" in done.error
    assert desired(people.owner, source) == "running"


def test_a_source_that_stays_stopped_is_told(people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    app = people.admin.app
    made = stopped_copy(people, source)

    def start(*given: Any) -> None:
        raise Conflict("The quota is used up.")

    monkeypatch.setattr(instances, "start", start)
    changed(app, copy_of(app, made["id"]).id, cancel_requested=True)
    assert carried_out(app, made["id"]).state == "cancelled"
    with app.app_context():
        [event] = db.session.query(EventRow).filter_by(kind="instance.stays_stopped")
        assert event.instance_id == source["id"] and "The quota is used up." in str(event.message)


def test_a_count_that_ended_early_is_no_size(people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nobody would hold the copy to its limit, nor to the room on the disk."""
    app = people.admin.app
    made = asked(people.owner, source)
    (folder_of(app, source["id"]) / "work" / "large").write_bytes(bytes(12 << 20))
    fractions: list[float | None] = []
    looks: list[int] = []
    with app.app_context():
        portal = portal_of(app)
        one, other = (file_copies.end_of(portal, db.session.get_one(Instance, each["id"])) for each in (source, made))
        monkeypatch.setattr(one.runtime, "find_files", lambda *given: FoundFiles(cut=True))
        monkeypatch.setattr(disk_guard, "ensure", lambda portal, needed=0: looks.append(needed))
        file_copies.copy(portal, one, other, None, lambda fraction, done: fractions.append(fraction))
    assert fractions and set(fractions) == {None}
    assert looks == [0, *[file_copies.LOOK_AT_DISK] * 2] or looks == [0, *[file_copies.LOOK_AT_DISK] * 3]


def test_what_grows_beyond_the_limit_while_it_is_copied_ends(
    people: People, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = people.admin.app
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, source["id"])
        row.spec = {**row.spec, "resources": {**row.spec["resources"], "storage": "1Mi"}}
    (folder_of(app, source["id"]) / "work" / "large").write_bytes(bytes(2 << 20))
    monkeypatch.setattr(file_copies, "_size", lambda end: None)
    made = asked(people.owner, source)
    done = carried_out(app, made["id"])
    assert done.state == "failed" and "may have 1 MiB" in done.error
    assert not (folder_of(app, made["id"]) / "work" / "large").exists()
