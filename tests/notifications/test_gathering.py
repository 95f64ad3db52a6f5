"""Who is told of what: by rights and choice, once, and in one line for what happens again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.clock import now
from clawportal.contracts.permissions import SELF, SYSTEM
from clawportal.db import db, transaction
from clawportal.models import EventRow, Instance
from clawportal.services.events import event_log
from clawportal_notifications import gathering, inbox, upkeep
from clawportal_notifications.models import Line, Place
from tests.conftest import counted_sql, portal_of
from tests.notifications.conftest import Stage


def test_those_are_told_who_may_see_it(both_stages: Stage) -> None:
    stage, people = both_stages, both_stages.people
    stage.happens()
    stage.follow()
    for person in (people.admin, people.owner, people.viewer, people.operator):
        assert stage.told(person) == [("instance.failed", 1)], person.name
    assert stage.told(people.stranger) == []
    [one] = people.viewer.get("notifications").get_json()["items"]
    assert one["path"] == f"/instances/{stage.claw}" and one["message"] == "helper was created." and not one["read"]
    assert people.viewer.get("notifications/unread").get_json() == {"unread": 1}


def test_what_happened_before_it_began_is_told_to_nobody(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    with stage.app.app_context(), transaction():
        db.session.query(Place).delete()
    stage.happens()
    stage.follow()  # begins here
    stage.happens("instance.storage_exceeded")
    stage.follow()
    assert stage.told(stage.people.owner) == [("instance.storage_exceeded", 1)]


def test_a_claw_that_ends_a_thousand_times_is_one_line(both_stages: Stage) -> None:
    stage = both_stages
    with stage.app.app_context(), transaction():
        for n in range(1000):
            instance = db.session.get_one(Instance, stage.claw)
            event_log.record(
                portal_of(stage.app), "instance.exited", actor=SYSTEM, instance=instance, level="warning", message=str(n)
            )
    for _ in range(1000 // gathering.AT_A_TIME):
        stage.follow()
    assert stage.told(stage.people.owner) == [("instance.failed", 1000)]
    assert stage.people.owner.get("notifications").get_json()["items"][0]["message"] == "999"
    stage.people.owner.post("notifications/read-all")
    stage.happens()
    stage.follow()
    assert stage.told(stage.people.owner) == [("instance.failed", 1), ("instance.failed", 1000)], "what was read is over"


def test_what_goes_on_for_days_begins_a_new_line(stage: Stage, travel: Callable[[timedelta], None]) -> None:
    stage.happens()
    stage.follow()
    travel(timedelta(hours=25))
    stage.happens()
    stage.follow()
    assert stage.told(stage.people.owner) == [("instance.failed", 1), ("instance.failed", 1)]


def test_that_it_is_well_again_is_told_once_to_those_who_heard_of_the_failure(stage: Stage) -> None:
    runs: dict[str, Any] = {"level": "info", "data": {"phase": "running"}}
    stage.happens("instance.phase_changed", **runs)
    stage.follow()
    assert stage.told(stage.people.owner) == [], "nobody heard that anything was wrong"
    stage.happens("instance.phase_changed", "error", data={"phase": "failed"})
    stage.happens("instance.phase_changed", **runs)
    stage.happens("instance.phase_changed", **runs)
    stage.follow()
    assert sorted(stage.told(stage.people.owner)) == [("instance.failed", 1), ("instance.recovered", 1)]


def test_what_is_well_and_fails_again_in_one_pass_is_not_told_as_well(stage: Stage) -> None:
    failed, runs = {"level": "error", "data": {"phase": "failed"}}, {"level": "info", "data": {"phase": "running"}}
    for state in (failed, runs, failed):
        stage.happens("instance.phase_changed", **state)  # type: ignore[arg-type]
    stage.follow()
    assert stage.told(stage.people.owner) == [("instance.failed", 2)]
    stage.happens("instance.phase_changed", **runs)  # type: ignore[arg-type]
    stage.follow()
    assert sorted(stage.told(stage.people.owner)) == [("instance.failed", 2), ("instance.recovered", 1)]


def test_a_pass_asks_no_more_where_more_happens(stage: Stage) -> None:
    """Its cost follows people and things, not how often something happens."""

    def cost(events: int) -> int:
        for _ in range(events):
            stage.happens()
        with counted_sql(stage.app) as statements:
            stage.follow()
        return len(statements)

    cost(1)
    assert cost(40) <= cost(1) + 2


def test_what_somebody_asked_for_is_told_to_them_only(stage: Stage) -> None:
    failed = {"state": "failed", "asked_by": "developer", "operation_id": "01h2xcejqtf2nbrexx3vqjhp41"}
    stage.happens("operation.finished", "error", data=failed)
    stage.follow()
    assert stage.told(stage.people.developer) == [("operation.failed", 1)]
    assert stage.told(stage.people.owner) == [] == stage.told(stage.people.admin)
    assert stage.people.developer.get("notifications").get_json()["items"][0]["path"] == f"/operations/{failed['operation_id']}"


def test_a_new_place_is_told_to_whose_account_it_is(both_stages: Stage) -> None:
    stage, viewer = both_stages, both_stages.people.viewer
    with stage.app.app_context(), transaction():
        event_log.record(
            portal_of(stage.app), "session.new_place", actor=viewer.actor, message="odd", person_id=viewer.actor.id, read=SELF
        )
    stage.follow()
    assert stage.told(viewer) == [("session.new_place", 1)]
    assert stage.told(stage.people.admin) == [] == stage.told(stage.people.owner)


def test_choices_are_kept_to(stage: Stage) -> None:
    owner, viewer = stage.people.owner, stage.people.viewer
    off = {"choices": {"instance.failed": {"portal": False}}}
    assert owner.patch("notifications/preferences", off).status_code == 200
    assert viewer.put(f"notifications/muted/{stage.claw}").status_code == 204
    stage.happens()
    stage.follow()
    assert stage.told(owner) == [] == stage.told(viewer)
    assert stage.told(stage.people.operator) == [("instance.failed", 1)]
    [muted] = viewer.get("notifications/preferences").get_json()["muted"]
    assert muted == {"instance_id": stage.claw, "name": "helper"}
    assert viewer.delete(f"notifications/muted/{stage.claw}").status_code == 204
    stage.happens()
    stage.follow()
    assert stage.told(viewer) == [("instance.failed", 1)]


def test_a_role_that_is_gone_takes_everything_away(both_stages: Stage) -> None:
    stage, viewer = both_stages, both_stages.people.viewer
    stage.happens()
    stage.follow()
    [one] = viewer.get("notifications").get_json()["items"]
    tenant = stage.people.owner.get("tenants").get_json()["items"][0]["id"]
    assert stage.people.owner.delete(f"tenants/{tenant}/members/{viewer.actor.id}").status_code == 204
    assert stage.told(viewer) == [], "what was told is theirs no more"
    assert viewer.get("notifications/unread").get_json() == {"unread": 0}
    assert viewer.post(f"notifications/{one['id']}/read").status_code == 404
    before = stage.lines()
    stage.happens("instance.storage_exceeded")
    stage.follow()
    assert stage.told(viewer) == [] and stage.lines() > before, "others are told"
    with stage.app.app_context():
        assert db.session.query(Line).filter_by(user_id=viewer.actor.id, interest="instance.storage_exceeded").count() == 0


# ---- once


def test_who_dies_in_between_has_told_nobody_and_tells_it_once(both_stages: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = both_stages
    stage.happens()
    stage.happens("instance.storage_exceeded")
    told, tell = [0], gathering._tell

    def dies(*given: Any) -> None:
        told[0] += 1
        if told[0] == 4:
            raise KeyboardInterrupt
        tell(*given)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(gathering, "_tell", dies)
        stage.follow()
    assert stage.lines() == 0, "nothing is told by halves"
    stage.follow()
    stage.follow()
    assert sorted(stage.told(stage.people.owner)) == [("instance.failed", 1), ("instance.storage_exceeded", 1)]


def test_several_replicas_count_each_event_once(both_stages: Stage) -> None:
    stage = both_stages
    for _ in range(6):
        stage.happens()

    def follow() -> None:
        for _ in range(3):
            stage.follow()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(follow) for _ in range(4)]:
            done.result(60)
    assert stage.told(stage.people.owner) == [("instance.failed", 6)]


def test_who_marks_all_as_read_meanwhile_does_not_read_what_just_came(
    both_stages: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, viewer, tell = both_stages, both_stages.people.viewer, gathering._tell
    stage.happens()
    stage.follow()
    seen = now()
    stage.happens()
    marking: list[threading.Thread] = []

    def mark() -> None:
        with stage.app.app_context():
            inbox.mark_all(viewer.actor, seen)

    def meanwhile(*given: Any) -> None:
        if not marking:
            marking.append(threading.Thread(target=mark))
            marking[0].start()
            marking[0].join(1)
        tell(*given)

    monkeypatch.setattr(gathering, "_tell", meanwhile)
    stage.follow()
    marking[0].join(30)
    assert stage.told(viewer) == [("instance.failed", 2)]
    assert viewer.get("notifications/unread").get_json() == {"unread": 1}


def test_old_news_are_told_to_nobody(stage: Stage, travel: Callable[[timedelta], None]) -> None:
    stage.happens()
    travel(timedelta(hours=25))
    stage.happens("instance.storage_exceeded")
    stage.follow()
    assert stage.told(stage.people.owner) == [("instance.storage_exceeded", 1)]


def test_the_bell_counts_to_a_hundred(stage: Stage) -> None:
    owner = stage.people.owner
    stage.happens()
    stage.follow()
    with stage.app.app_context(), transaction():
        one = db.session.scalars(select(Line).where(Line.user_id == owner.actor.id)).one()
        same = {"user_id": one.user_id, "interest": one.interest, "seq": one.seq, "first_at": one.first_at, "at": one.at}
        db.session.add_all([Line(**same, about=str(n)) for n in range(120)])
    assert owner.get("notifications/unread").get_json() == {"unread": 100}
    assert owner.post("notifications/read-all").get_json() == {"marked": 121}


# ---- keeping


def forget(app: Flask) -> None:
    with app.app_context():
        upkeep.forget_old(portal_of(app))


def test_old_lines_go_and_so_do_too_many(make_stage: Callable[..., Stage], travel: Callable[[timedelta], None]) -> None:
    stage = make_stage(most_each=10, keep_days=5)
    claws = [stage.people.owner.create(f"claw-{n}")["id"] for n in range(12)]
    for claw in claws:
        stage.happens(claw=claw)
    stage.follow()
    assert len(stage.told(stage.people.owner)) == 12
    forget(stage.app)
    assert len(stage.told(stage.people.owner)) == 10
    with stage.app.app_context():
        kept = set(db.session.scalars(select(Line.about).where(Line.user_id == stage.people.owner.actor.id)))
    assert kept == set(claws[2:]), "the newest stay"
    travel(timedelta(days=6))
    forget(stage.app)
    assert stage.lines() == 0


def test_a_line_goes_with_its_event(stage: Stage) -> None:
    stage.happens()
    stage.follow()
    with stage.app.app_context(), transaction():
        db.session.query(EventRow).delete()
    assert stage.told(stage.people.owner) == []


def test_pages_of_the_list_go_on_by_a_cursor(stage: Stage) -> None:
    owner = stage.people.owner
    for n in range(5):
        stage.happens(claw=owner.create(f"claw-{n}")["id"])
    stage.follow()
    found, cursor = [], ""
    for _ in range(3):
        page = owner.get(f"notifications?limit=2{f'&cursor={cursor}' if cursor else ''}").get_json()
        found += [one["instance_id"] for one in page["items"]]
        cursor = page["next"]
    assert len(set(found)) == 5 and not cursor
    assert (
        owner.get(f"notifications?limit=2&unread=true&cursor={owner.get('notifications?limit=2').get_json()['next']}").status_code
        == 422
    )
