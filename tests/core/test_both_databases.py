"""What a portal does all day, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.jobs import retention
from clawportal.paging import Which
from clawportal.services.events import event_log
from clawportal.services.fleet import instances, operations
from clawportal.services.fleet.instances import Filters
from clawportal.services.identity import identity
from tests.core.world import World


def test_a_life(make_world: Callable[..., World], database_url: str) -> None:
    world = make_world(database_url=database_url)
    one = world.create(settings={"greeting": "Hello"})
    world.until(one, "running", 30)
    world.press("stop", one)
    world.until(one, "stopped")
    world.press("start", one)
    world.until(one, "running")
    world.update(one, settings={"greeting": "Good day"})
    seen = world.until(one, lambda s: s.settled and s.phase == "running" and "Good day" in str(s.workload))
    assert seen.sync == "synced"
    world.press("delete", one)
    world.until(one, lambda s: s.destroyed_at)
    assert {row.state for row in world.ops(one)} == {"succeeded"}
    seqs = [row.seq for row in world.events(one)]
    assert seqs == sorted(seqs) and len(seqs) > 10


def test_lists(both: World) -> None:
    for name in ("b", "a", "c%", "d"):
        if name.isalnum():
            both.create(name, labels={"team": "x"})
    with both.context():
        page = instances.listing(SYSTEM, Filters(), Which(2, 1), sort="name")
        assert [row.name for row in page.items] == ["b", "d"] and page.total == 3
        assert instances.listing(SYSTEM, Filters(text="A")).total == 1
        assert instances.listing(SYSTEM, Filters(text="%")).total == 0
        assert instances.listing(SYSTEM, Filters(phases=("pending",), adapters=("echo",), project="default")).total == 3
        assert instances.listing(SYSTEM, Filters(trouble=True)).total == 0
        assert instances.counts(SYSTEM).changing == 3
        assert instances.find(SYSTEM, "b").name == "b"
        assert operations.listing(SYSTEM, states=("queued",)).total == 3
        assert len(event_log.feed(SYSTEM, levels=("info",), limit=2)) == 2


def test_people(both: World) -> None:
    with both.context() as portal:
        password = identity.first_start(portal)
        assert password and identity.first_start(portal) is None
        user = identity.authenticate(portal, "admin", password)
        made = identity.create_token(portal, SYSTEM, user.id, "laptop", 1)
        actor = identity.actor_from_token(portal, made.text)
        assert actor and actor.name == "admin"


def test_retention(both: World, travel: Callable[..., None], tmp_path: Path) -> None:
    from datetime import timedelta

    one = both.create("old")
    with both.context() as portal:
        row = instances.get(SYSTEM, one)
        operations.close_for_instance(portal, row, 1, "succeeded", message="Running")
    travel(timedelta(days=200))
    two = both.create("new")
    with both.context() as portal:
        from sqlalchemy import update

        from clawportal import clock
        from clawportal.db import transaction
        from clawportal.models import Instance

        before = len(event_log.feed(SYSTEM, limit=500))
        with transaction():
            gone = clock.now() - timedelta(days=15)
            db.session.execute(update(Instance).where(Instance.id == one).values(destroyed_at=gone))
        retention.forget_once(portal)
        assert len(event_log.feed(SYSTEM, limit=500)) < before
        assert db.session.get(Instance, one) is None and db.session.get(Instance, two) is not None
    assert both.ops(one) == [] and len(both.ops(two)) == 1


@pytest.mark.parametrize("column", ["-name", "created_at", "-phase", "adapter", "updated_at"])
def test_every_sort(both: World, column: str) -> None:
    both.create("a")
    with both.context():
        assert instances.listing(SYSTEM, Filters(), sort=column).total == 1
