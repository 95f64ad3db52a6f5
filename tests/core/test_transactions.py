"""`transaction()` on both databases: one commit, effects after it, nothing lost by eight writers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, says, transaction
from clawportal.engine import leader
from clawportal.errors import Conflict, Invalid
from clawportal.models import Lease, PortalSetting, Tenant
from clawportal.services.clusters import ports
from clawportal.services.fleet import instances, operations
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.system import portal_settings
from clawportal.services.tenancy import tenancy
from tests.core.world import World


def tenants() -> set[str]:
    return set(db.session.scalars(select(Tenant.name)))


def test_nested_calls_join_the_outer_one(both: World) -> None:
    told: list[str] = []
    with both.context():
        with transaction() as after_commit:
            db.session.add(Tenant(name="one"))
            after_commit(told.append, "first")
            with transaction() as inner:
                db.session.add(Tenant(name="two"))
                inner(told.append, "second")
            assert told == [], "not before the outer commit"
        assert told == ["first", "second"] and tenants() >= {"one", "two"}


def test_an_error_takes_everything_back(both: World) -> None:
    told: list[str] = []
    with both.context():
        with pytest.raises(Invalid), transaction() as after_commit:
            with transaction() as inner:
                db.session.add(Tenant(name="one"))
                inner(told.append, "never")
            after_commit(told.append, "never")
            raise Invalid.field("x", "no")
        assert told == [] and "one" not in tenants()
        with transaction():
            db.session.add(Tenant(name="after"))
        assert told == [] and "after" in tenants(), "nothing of the failed one is left"


def test_a_callback_that_fails_stops_no_other(both: World, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError("surprise")

    def write() -> None:
        with transaction():
            db.session.add(Tenant(name="by-callback"))

    with both.context():
        with transaction() as after_commit:
            db.session.add(Tenant(name="one"))
            for callback in (fail, write):
                after_commit(callback)
            after_commit(told.append, "last")
        assert told == ["last"] and tenants() >= {"one", "by-callback"}
    assert "surprise" in caplog.text


def test_a_violated_constraint_is_a_conflict(both: World) -> None:
    with both.context():
        for flush in (True, False):
            with pytest.raises(Conflict, match="exists already"), transaction(), transaction():
                db.session.add(Tenant(name="default"))
                if flush:
                    db.session.flush()
        assert "default" in tenants()


def test_a_time_without_zone_is_refused(both: World) -> None:
    with both.context(), pytest.raises(Exception, match="without time zone"), transaction():
        db.session.add(Tenant(name="one", created_at=datetime(2026, 1, 1)))


def in_threads(world: World, work: Callable[[int], None], count: int = 8) -> list[BaseException]:
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            with world.context():
                gate.wait(10)
                work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_eight_writers_lose_no_update(both: World) -> None:
    with both.context(), transaction():
        portal_settings.write("count", 0)

    def add(_number: int) -> None:
        for _ in range(25):
            with transaction():
                row = db.session.get_one(PortalSetting, "count", with_for_update=True)
                row.value = row.value + 1

    assert in_threads(both, add) == []
    with both.context():
        assert portal_settings.read("count") == 200


def test_readers_see_no_half_done_work(both: World) -> None:
    with both.context(), transaction():
        portal_settings.write("left", 50)
        portal_settings.write("right", 50)
    done = threading.Event()
    seen: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            for step in range(40):
                with transaction():
                    portal_settings.write("left", step)
                    portal_settings.write("right", 100 - step)
            done.set()
            return
        while not done.is_set():
            rows = db.session.execute(select(PortalSetting.value).where(PortalSetting.name.in_(("left", "right")))).scalars()
            seen.append(sum(rows))
            db.session.rollback()

    assert in_threads(both, work, 3) == []
    assert set(seen) == {100}


def test_the_same_name_by_eight_at_once(both: World) -> None:
    errors = in_threads(both, lambda number: instances.create(both.portal, SYSTEM, NewInstance("same", "echo")) and None)
    assert len(errors) == 7 and all(isinstance(error, (Invalid, Conflict)) for error in errors), errors
    with both.context():
        assert instances.listing(SYSTEM, instances.Filters()).total == 1


def test_ports_and_installs_are_given_once_to_eight_at_once(both: World) -> None:
    runtime = both.runtime()
    ids = [both.create(f"e{number}") for number in range(8)]
    echo = both.portal.registry.adapters["echo"]
    given: list[int] = []
    installs: list[str] = []

    def work(number: int) -> None:
        cluster = tenancy.ensure_default() and instances.get(SYSTEM, ids[number]).cluster_id
        given.extend(ports.ensure(both.portal, runtime, cluster, ids[number], echo.ports("1.0")).values())
        asked = operations.ensure_install(both.portal, cluster, "tiny-1.0", "tiny", {"adapter": "x"}, clock.now())
        installs.append(asked.id)

    assert in_threads(both, work) == []
    assert len(set(given)) == 8 and len(set(installs)) == 1


def test_changes_of_eight_people_are_all_counted(both: World) -> None:
    one = both.create()
    assert in_threads(both, lambda _: instances.restart(both.portal, SYSTEM, one) and None) == []
    seen = both.see(one)
    assert seen.generation == 9 and seen.restarts_wanted == 8 and len(both.ops(one)) == 9
    assert sorted(row.generation for row in both.ops(one)) == list(range(1, 10))


# ---- the leader's lease


def test_one_leader_at_a_time(both: World, travel: Callable[..., None]) -> None:
    from datetime import timedelta

    with both.context():
        assert leader.take("leader", "a") == 1
        assert leader.take("leader", "a") == 1, "renewed"
        assert leader.take("leader", "b") is None
        travel(leader.TTL + timedelta(seconds=1))
        assert leader.take("leader", "b") == 2, "another holder has another epoch"
        assert leader.take("leader", "a") is None
        travel(timedelta(hours=-5))
        assert leader.take("leader", "a") == 3, "a lease of a clock that was set back does not last for hours"
        leader.release("leader", "b")
        assert leader.take("leader", "b") is None, "only its holder gives it back"
        leader.release("leader", "a")
        assert leader.take("leader", "b") == 1
        leader.release_all()
        assert db.session.scalar(select(Lease)) is None


@pytest.mark.parametrize(("text_of_it", "found"), [("мОСКВА", True), ("ÄRG", True), ("GRAD", True), ("100%", True), ("_", False)])
def test_a_text_is_found_in_large_letters_and_small(both: World, text_of_it: str, found: bool) -> None:
    with both.context():
        with transaction():
            db.session.add(Tenant(name="said", title="grad МоскВа, Ärger, 100%"))
        query = select(Tenant.name).where(Tenant.name == "said", says(Tenant.title, text_of_it))
        assert db.session.scalars(query).all() == (["said"] if found else [])


def test_eight_candidates(both: World) -> None:
    won: list[int] = []

    def stand(number: int) -> None:
        if leader.take("leader", f"candidate-{number}") is not None:
            won.append(number)

    assert in_threads(both, stand) == [] and len(won) == 1


def test_an_error_of_the_database_does_not_say_what_was_written(both: World) -> None:
    with both.context(), pytest.raises(DBAPIError) as refused:
        db.session.execute(text("SELECT no_such_function(:words)"), {"words": "my darkest secret"})
    assert "no_such_function" in str(refused.value) and "darkest" not in str(refused.value)
