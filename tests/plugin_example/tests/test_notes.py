"""What each role may do, other organisations, what cannot be, and that models and migrations agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clawportal_notes import jobs, services
from clawportal_notes.models import Note

from clawportal.sdk.data import db
from clawportal.testing.portals import TrialPortal, trial_portal


@pytest.fixture
def portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrialPortal]:
    monkeypatch.setenv("CLAWPORTAL_NOTES_MOST", "2")
    with trial_portal(tmp_path, "clawportal_notes") as made:
        yield made


def test_a_developer_writes_and_a_viewer_reads(portal: TrialPortal) -> None:
    developer, viewer = portal.person("developer"), portal.person("viewer")
    claw = developer.instance()
    made = developer.post("notes", {"instance": claw, "text": "Ask Kim."})
    assert made.status_code == 201
    assert viewer.get(f"notes?instance={claw}").get_json()["items"] == [made.get_json()]
    assert viewer.post("notes", {"instance": claw, "text": "Me too."}).status_code == 403
    assert viewer.post(f"notes/{made.get_json()['id']}/close").status_code == 403
    assert developer.ask("DELETE", f"notes/{made.get_json()['id']}").status_code == 204


def test_another_organisation_sees_nothing(portal: TrialPortal) -> None:
    owner, stranger = portal.person(), portal.person(tenant="other")
    claw = owner.instance()
    note = owner.post("notes", {"instance": claw, "text": "Ask Kim."}).get_json()["id"]
    assert stranger.get("notes").get_json()["total"] == 0
    for method, path in (("GET", f"notes/{note}"), ("POST", f"notes/{note}/close"), ("DELETE", f"notes/{note}"),
                         ("GET", f"notes?instance={claw}")):  # fmt: skip
        assert stranger.ask(method, path).status_code == 404, path
    assert stranger.post("notes", {"instance": claw, "text": "Mine."}).status_code == 404


@pytest.mark.parametrize("text", ["", "  ", "x" * (services.LONGEST + 1)])
def test_a_text_that_cannot_be_is_named(portal: TrialPortal, text: str) -> None:
    owner = portal.person()
    answer = owner.post("notes", {"instance": owner.instance(), "text": text})
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "text"


def test_a_claw_has_only_so_many_open_notes(portal: TrialPortal) -> None:
    owner = portal.person()
    claw = owner.instance()
    made = [owner.post("notes", {"instance": claw, "text": "One more."}) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 409]
    owner.post(f"notes/{made[0].get_json()['id']}/close")
    assert owner.post("notes", {"instance": claw, "text": "One more."}).status_code == 201


def test_old_notes_are_closed_once_and_urgent_ones_stay(portal: TrialPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = portal.person()
    claw = owner.instance()
    for urgent in (False, True):
        owner.post("notes", {"instance": claw, "text": "Old.", "urgent": urgent})
    with portal.app.app_context():
        for note in db.session.scalars(db.select(Note)):
            note.created_at = note.created_at.replace(year=2020)
        db.session.commit()
        for _ in range(2):
            jobs.close_once(portal.portal)
    found = owner.get("notes").get_json()["items"]
    assert {one["urgent"]: one["closed_at"] is not None for one in found} == {True: False, False: True}
    kinds = [one["kind"] for one in owner.get(f"instances/{claw}/events").get_json()["items"]]
    assert kinds.count("note.closed") == 1


def test_models_and_migrations_agree(portal: TrialPortal) -> None:
    assert portal.differences() == []
