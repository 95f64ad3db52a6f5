"""Counting the fleet: what is counted, at what cost, who sees it, and for how long it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask

from clawportal import clock, pluginmanager
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.lifecycle import Phase
from clawportal.models import Instance, Project
from clawportal.services.events import event_log
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import NewInstance
from clawportal_charts import sampling, services
from clawportal_charts.models import FINE, HOURLY, Sample
from tests.conftest import People, Person, counted_sql, make_person, portal_of
from tests.core.world import World
from tests.rights.test_people_cli import Run, claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]

NOON = datetime(2026, 11, 30, 12, 2, tzinfo=UTC)


def made(portal: Any, name: str, phase: Phase) -> Instance:
    row = instances.create(portal, SYSTEM, NewInstance(name, "echo", start=False))
    with transaction():
        row = db.session.get_one(Instance, row.id)
        row.phase = phase
    return row


def happened(portal: Any, row: Instance, kind: str, moment: datetime, **data: Any) -> None:
    with transaction():
        event = event_log.record(portal, kind, actor=SYSTEM, instance=row, message="x", data=data)
        event.at = moment


def sample(project: Project, at: int, running: int) -> Sample:
    return Sample(project_id=project.id, tenant_id=project.tenant_id, step=FINE, at=at, running=running)


def test_what_is_counted(both: World) -> None:
    with both.context() as portal:
        rows = [made(portal, f"c{n}", phase) for n, phase in enumerate(
            (Phase.RUNNING, Phase.RUNNING, Phase.STARTING, Phase.STOPPED, Phase.FAILED))]  # fmt: skip
        inside, before = NOON - timedelta(minutes=4), NOON - timedelta(minutes=30)
        happened(portal, rows[0], "instance.phase_changed", inside, phase="running")
        happened(portal, rows[0], "instance.phase_changed", inside, phase="stopped")
        happened(portal, rows[4], "instance.phase_changed", inside, phase="failed")
        happened(portal, rows[4], "instance.exited", inside)
        happened(portal, rows[4], "instance.exited", before)
        for _ in range(2):
            sampling.sample_once(portal, NOON)
        found = services.series(SYSTEM, "day", NOON)
        assert found.at == [int(NOON.timestamp()) // FINE * FINE], "once for each stretch"
        assert {name: values[0] for name, values in found.columns.items()} == {
            "running": 2, "changing": 1, "stopped": 1, "failed": 1, "starts": 1, "failures": 1, "exits": 1,
        }  # fmt: skip


def test_an_hour_becomes_one_row_and_old_ones_go(both: World) -> None:
    with both.context() as portal:
        row = made(portal, "one", Phase.RUNNING)
        begin = NOON.replace(minute=0)
        for minute in range(0, 65, 5):
            moment = begin + timedelta(minutes=minute)
            if minute in (10, 40):
                happened(portal, row, "instance.exited", moment - timedelta(minutes=1))
            sampling.sample_once(portal, moment)
        week = services.series(SYSTEM, "week", moment)
        hour = int((begin + timedelta(hours=1)).timestamp())
        assert week.at[-1] == hour and week.columns["running"][-1] == 1 and week.columns["exits"][-1] == 2
        (_, told), *_ = services.series(SYSTEM, "day", moment).hours
        assert told["exits"] == 2 and told["running"] == 1
        sampling.forget_old(portal, begin + timedelta(days=2))
        steps = set(db.session.scalars(db.select(Sample.step)))
        assert steps == {HOURLY}, "a week is kept by the hour"
        sampling.forget_old(portal, begin + timedelta(days=9))
        assert not db.session.scalars(db.select(Sample.at)).all()


def test_counting_costs_the_same_however_many_there_are(still: World) -> None:
    def statements(moment: datetime) -> int:
        with still.statements() as told, still.context() as portal:
            sampling.sample_once(portal, moment)
        return len(told)

    with still.context() as portal:
        made(portal, "first", Phase.RUNNING)
    statements(NOON)
    few = statements(NOON + timedelta(minutes=5))
    with still.context() as portal:
        for number in range(30):
            made(portal, f"more-{number}", Phase.RUNNING)
    assert statements(NOON + timedelta(minutes=10)) == few
    with still.context():
        assert services.series(SYSTEM, "day", NOON + timedelta(minutes=11)).columns["running"][-1] == 31


def test_each_team_sees_its_own(people: People) -> None:
    app = people.owner.app
    people.owner.create("mine", start=False)
    own = people.owner.get("tenants").get_json()["items"][0]["id"]
    with app.app_context():
        home = db.session.scalars(db.select(Project).where(Project.tenant_id == own)).first()
        foreign = db.session.scalars(db.select(Project).where(Project.tenant_id != own)).first()
        end = int(clock.now().timestamp()) // FINE * FINE
        with transaction():
            for k in range(3):
                for project, running in ((home, 3), (foreign, 40)):
                    db.session.add(sample(project, end - k * FINE, running))
    assert people.owner.get("fleet/series").get_json()["running"] == [3, 3, 3]
    assert people.stranger.get("fleet/series").get_json()["running"] == [40, 40, 40]
    assert people.admin.get("fleet/series").get_json()["running"] == [43, 43, 43]
    assert people.owner.get("fleet/series?span=week").get_json()["at"] == []
    assert people.owner.get("fleet/series?span=year").status_code == 422
    text = Browser(people.owner).page("/")
    assert "running: 3" in text and "running: 40" not in text
    page = Browser(people.stranger).page("/charts")
    assert "How the fleet did" in page and '<td class="end num">40</td>' in page
    assert "Nothing was counted yet" in Browser(people.owner).page("/charts?span=week")


def test_home_costs_the_same_with_a_full_series(people: People) -> None:
    people.owner.create("mine", start=False)

    def statements() -> int:
        browser = Browser(people.owner)
        browser.page("/")
        with counted_sql(people.owner.app) as told:
            browser.page("/")
        return len(told)

    few = statements()
    with people.owner.app.app_context(), transaction():
        end = int(clock.now().timestamp()) // FINE * FINE
        for project in db.session.scalars(db.select(Project)).all():
            for k in range(288):
                db.session.add(sample(project, end - k * FINE, k))
    assert statements() == few


def test_the_fleet_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    owner = claw(people.owner)
    assert "Nothing was counted yet." in owner("fleet").output
    assert json.loads(owner("fleet", "--span", "week", "-o", "json").output)["step"] == HOURLY


def test_without_charts_nothing_is_left(make_app: Callable[..., Flask]) -> None:
    app = make_app(plugins=",".join(name for name in pluginmanager.BUNDLED if name != "clawportal_charts"))
    admin = make_person(app, "admin", "portal-admin")
    assert admin.get("fleet/series").status_code == 404 and portal_of(app).registry.feature("charts") is None


def test_claws_that_are_gone_are_counted_no_more(both: World) -> None:
    with both.context() as portal:
        row, later = made(portal, "gone", Phase.RUNNING), NOON + timedelta(seconds=FINE)
        sampling.sample_once(portal, NOON)
        with transaction():
            db.session.get_one(Instance, row.id).destroyed_at = NOON
        sampling.sample_once(portal, later)
        found = services.series(SYSTEM, "day", later)
        assert found.columns["running"] == [1, 0] and len(found.at) == 2


def test_an_old_count_is_not_said_to_be_now(people: People) -> None:
    people.owner.create("mine", start=False)
    end = int(clock.now().timestamp()) // FINE * FINE
    with people.owner.app.app_context(), transaction():
        project = db.session.scalars(db.select(Project).join(Instance)).one()
        db.session.add_all(sample(project, end - k * FINE, 7) for k in (3, 4))
    old = Browser(people.owner).page("/")
    assert "Last counted" in old and "Running when it was last counted: 7" in old and "Running now" not in old
    with people.owner.app.app_context(), transaction():
        db.session.add(sample(db.session.get_one(Project, project.id), end, 7))
    new = Browser(people.owner).page("/")
    assert "Last counted" not in new and "Running now: 7" in new


def test_the_card_reads_hours_and_tells_what_the_samples_tell(both: World) -> None:
    hour = int(NOON.timestamp()) // HOURLY * HOURLY
    with both.context():
        project = db.session.scalars(db.select(Project)).one()
        with transaction():
            for k in range(1, 12 * 20 + 4):  # twenty hours and a quarter of one
                at = hour - 20 * HOURLY + k * FINE
                db.session.add(Sample(project_id=project.id, tenant_id=project.tenant_id, step=FINE, at=at, running=7, starts=1))
        for back in reversed(range(20)):
            sampling._roll_up(hour - back * HOURLY)
        moment = NOON + timedelta(minutes=15)
        whole, glance = services.series(SYSTEM, "day", moment), services.glance(SYSTEM, moment)
    assert len(glance.at) == 20 + 3 and glance.at[-1] == whole.at[-1] and glance.at == sorted(set(glance.at))
    assert sum(glance.columns["starts"]) == sum(whole.columns["starts"]) == 12 * 20 + 3
    assert set(glance.columns["running"]) == {7}
