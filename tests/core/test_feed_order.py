"""Whoever follows the feed misses nothing, also where an event is committed later than one with a greater position."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import EventRow
from clawportal.services.events import event_log
from clawportal.services.notices import routes as notices
from tests.core.world import World

pytestmark = pytest.mark.postgres


@pytest.fixture
def world(make_world: Callable[..., World], postgres: Callable[[], str]) -> World:
    return make_world(start=False, database_url=postgres())


def say(world: World, message: str, *, meanwhile: Callable[[], object] = lambda: None) -> int:
    """Record one event, and do something before it is committed. Its position."""
    with world.context() as portal, transaction():
        seq = event_log.record(portal, "portal.said", actor=SYSTEM, message=message).seq
        meanwhile()
    return seq


def follow(world: World, after: int) -> tuple[list[str], int]:
    """What is new, and where to go on."""
    with world.context():
        rows = event_log.feed(SYSTEM, after=after, oldest_first=True, limit=500)
        return [row.message for row in rows], rows[-1].seq if rows else after


def test_an_event_that_is_committed_late_is_not_missed(world: World) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(30)

    start = say(world, "start")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(say, world, "late", meanwhile=hold)
        try:
            assert begun.wait(30)
            early = say(world, "early")
            with world.context():
                there = list(db.session.scalars(select(EventRow.message).where(EventRow.seq > start)))
            assert there == ["early"], "it is committed, and the one before it is not"
            told, place = follow(world, start)
            assert told == [], "so a follower has to wait"
        finally:
            go.set()
        assert late.result(30) < early
    told, place = follow(world, place)
    assert told == ["late", "early"]
    assert follow(world, place) == ([], place)


def test_a_new_route_of_notices_begins_before_what_is_still_open(
    make_world: Callable[..., World],
    postgres: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    route = {"via": "log", "least": "info", "kinds": ["portal.said"]}
    monkeypatch.setenv("CLAWPORTAL_NOTICES_ROUTES", json.dumps([route]))
    caplog.set_level(logging.INFO, "clawportal.notices")
    world = make_world(start=False, database_url=postgres())

    def meanwhile() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(say, world, "early").result(30)
            pool.submit(carry).result(30)

    def carry() -> None:
        with world.context() as portal:
            notices.deliver_once(portal)

    say(world, "late", meanwhile=meanwhile)
    carry()
    assert "late" in caplog.text, "it was open when the route began"


def test_the_very_first_event_can_be_the_late_one(world: World) -> None:
    with world.context(), transaction():  # as in a database that was made this moment
        db.session.execute(db.text("TRUNCATE event RESTART IDENTITY"))
    begun, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(say, world, "late", meanwhile=lambda: (begun.set(), go.wait(30)))
        assert begun.wait(30)
        say(world, "early")
        nothing = follow(world, 0)
        go.set()
        assert late.result(30) == 1
    assert nothing == ([], 0) and follow(world, 0)[0] == ["late", "early"]


def test_one_that_is_taken_back_holds_nobody_up(world: World) -> None:
    def fail() -> None:
        raise KeyError

    start = say(world, "start")
    with pytest.raises(KeyError):
        say(world, "never", meanwhile=fail)
    say(world, "after")
    assert follow(world, start)[0] == ["after"]


def test_a_follower_of_many_writers_hears_each_once_and_in_order(world: World) -> None:
    writers, each = 6, 15

    def write(number: int) -> None:
        for turn in range(each):
            say(world, f"{number}-{turn}", meanwhile=lambda: time.sleep(random.random() * 0.01))

    start = say(world, "start")
    heard: list[str] = []
    end = time.monotonic() + 60
    with ThreadPoolExecutor(writers) as pool:
        done = [pool.submit(write, number) for number in range(writers)]
        place = start
        while len(heard) < writers * each and time.monotonic() < end:
            told, place = follow(world, place)
            heard += told
        for one in done:
            one.result(30)
    assert len(heard) == len(set(heard)) == writers * each
    with world.context():
        assert heard == list(db.session.scalars(select(EventRow.message).where(EventRow.seq > start).order_by(EventRow.seq)))
