"""The note on an instance, by API: who reads and writes it, what is too much, and two people at once."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from clawportal.db import db, transaction
from clawportal.models import Instance, InstanceNote
from tests.conftest import People, Person, counted_sql

TEXT = "Ask **Kim** before stopping it."


@pytest.fixture
def claw(people: People) -> str:
    return str(people.owner.create("helper")["id"])


def write(person: Person, claw: str, text: str, revision: int | None = 0) -> Any:
    headers = {} if revision is None else {"If-Match": f'"{revision}"'}
    return person.put(f"instances/{claw}/note", {"text": text}, headers=headers)


def test_a_note_is_written_read_and_taken_away(people: People, claw: str) -> None:
    before = people.viewer.get(f"instances/{claw}/note")
    assert before.headers["ETag"] == '"0"' and before.get_json() == {
        "text": "", "revision": 0, "written_by": "", "written_at": None,
    }  # fmt: skip
    answer = write(people.developer, claw, f"  {TEXT}\r\nTwice.\n")
    assert answer.status_code == 200 and answer.headers["ETag"] == '"1"'
    found = people.viewer.get(f"instances/{claw}/note").get_json()
    assert found["text"] == f"{TEXT}\nTwice." and found["written_by"] == "developer" and found["written_at"]
    assert people.viewer.get(f"instances/{claw}").get_json()["noted"]
    gone = write(people.owner, claw, "", 1).get_json()
    assert (gone["text"], gone["revision"], gone["written_by"]) == ("", 2, "owner")
    assert not people.viewer.get(f"instances/{claw}").get_json()["noted"]
    assert people.owner.get(f"instances/{claw}").get_json()["generation"] == 1  # the claw has no part in it


def test_nobody_writes_over_what_they_have_not_read(people: People, claw: str) -> None:
    assert write(people.developer, claw, "mine").status_code == 200
    assert write(people.owner, claw, "theirs").status_code == 412
    assert write(people.owner, claw, "theirs", None).status_code == 428
    assert people.owner.put(f"instances/{claw}/note", {"text": "theirs", "revision": 1}).status_code == 200
    assert write(people.developer, claw, "", 2).status_code == 200
    assert write(people.developer, claw, "again", 0).status_code == 412  # a revision never comes twice
    assert people.owner.get(f"instances/{claw}/note").get_json()["revision"] == 3


def test_who_may_change_the_claw_may_write(people: People, claw: str) -> None:
    for person, status in ((people.viewer, 403), (people.operator, 403), (people.stranger, 404)):
        assert write(person, claw, TEXT).status_code == status, person.name
    assert people.stranger.get(f"instances/{claw}/note").status_code == 404
    assert write(people.developer, claw, TEXT).status_code == 200


def test_a_note_on_what_the_portal_only_observes(people: People, claw: str) -> None:
    with people.admin.app.app_context(), transaction():
        row = db.session.get_one(Instance, claw)
        row.managed, row.foreign_id = False, "somebody-elses"
    assert write(people.developer, claw, TEXT).status_code == 200


@pytest.mark.parametrize("text", ["x" * 4001, "a\0b", "a\x1bb"])
def test_what_is_too_much_or_cannot_be_shown_is_refused_at_its_field(people: People, claw: str, text: str) -> None:
    answer = write(people.owner, claw, text)
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "text"
    assert people.owner.get(f"instances/{claw}/note").get_json()["revision"] == 0
    assert write(people.owner, claw, "字" * 4000).status_code == 200


def test_the_same_text_again_changes_nothing(people: People, claw: str) -> None:
    write(people.owner, claw, TEXT)
    assert write(people.developer, claw, TEXT, 1).get_json()["revision"] == 1
    assert people.owner.get(f"instances/{claw}/note").get_json()["written_by"] == "owner"


def test_it_is_told_and_audited(people: People, claw: str) -> None:
    write(people.developer, claw, TEXT)
    events = people.owner.get(f"instances/{claw}/events").get_json()["items"]
    [event] = [item for item in events if item["kind"] == "instance.note_changed"]
    assert event["message"] == "developer changed the note on helper." and TEXT not in str(event)
    entries = people.owner.get("audit").get_json()["items"]
    [entry] = [item for item in entries if item["action"] == "instance.note_change"]
    assert entry["result"] == "ok" and "developer" in str(entry)


def test_it_goes_with_its_claw(people: People, claw: str) -> None:
    write(people.owner, claw, TEXT)
    app: Flask = people.admin.app
    with app.app_context(), transaction():
        db.session.delete(db.session.get_one(Instance, claw))
    with app.app_context():
        assert db.session.query(InstanceNote).count() == 0


def test_the_list_marks_it_and_asks_no_more_for_many(people: People) -> None:
    counts = []
    for upto in (2, 12):
        for number in range(len(counted := people.owner.get("instances?limit=200").get_json()["items"]), upto):
            write(people.owner, people.owner.create(f"claw-{number}")["id"], TEXT if number % 2 else "")
        with counted_sql(people.admin.app) as statements:
            items = people.owner.get("instances?limit=200&sort=name").get_json()["items"]
        counts.append(len(statements))
        assert len(items) == upto and len(counted) < upto
        assert {item["name"]: item["noted"] for item in items} == {f"claw-{n}": bool(n % 2) for n in range(upto)}
    assert counts[0] == counts[1]
