"""The number of an event is its own for ever, also when the newest ones are deleted; counters of them never fall."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select, text

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.models import EventRow
from clawportal.services.events import event_log
from clawportal.services.identity import identity
from clawportal.services.system import migrations, portal_settings
from tests.core.migrating import Bare, upgrade_all
from tests.core.world import World


@pytest.fixture
def empty(tmp_path: Path, database_url: str) -> Iterator[Bare]:
    """A portal on a database without any table."""
    made = Bare(tmp_path / "portal", database_url)
    yield made
    made.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Bare]:
    """The same, on SQLite only."""
    made = Bare(tmp_path / "portal")
    yield made
    made.close()


def say(portal: Portal, words: str = "it happened") -> int:
    with transaction():
        return event_log.record(portal, "odd.one", actor=SYSTEM, message=words).seq


def test_numbers_of_deleted_events_are_not_given_again(both: World) -> None:
    with both.context() as portal:
        (labels, before), *_ = event_log.number_so_far(portal)
        last = [say(portal) for _ in range(3)][-1]
        with transaction():
            db.session.execute(delete(EventRow))
        assert event_log.number_so_far(portal) == [({}, last)] and last > before and labels == {}
        assert event_log.settled() == last
        assert say(portal) > last
        assert len(event_log.feed(SYSTEM, after=last, oldest_first=True)) == 1, "a follower that was there hears of it"


def test_where_nothing_happened_yet_nothing_is_skipped(empty: Bare) -> None:
    with empty.context():
        upgrade_all(empty.app)
        assert event_log.settled() == 0
        first = say(empty.portal)
        assert [row.seq for row in event_log.feed(SYSTEM, after=0, oldest_first=True)] == [first]


def rows() -> list[tuple[object, ...]]:
    found = db.session.execute(select(*EventRow.__table__.columns).order_by(EventRow.seq)).all()
    db.session.rollback()
    return [tuple(row) for row in found]


def counts_on() -> bool:
    return "AUTOINCREMENT" in str(db.session.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'event'")))


def test_the_migration_of_numbers_keeps_events_up_and_down(empty: Bare) -> None:
    with empty.context():
        known = upgrade_all(empty.app)
        identity.first_start(empty.portal)
        last = [say(empty.portal, f"number {n}") for n in range(3)][-1]
        before = rows()
        migrations.downgrade(known, "core", "0003")
        assert rows() == before and len(before) >= 3
        migrations.upgrade(known)
        assert rows() == before
        assert all(state.fresh for state in migrations.check(known))
        assert say(empty.portal) == last + 1


def test_the_migration_numbers_on_from_the_highest_that_is_known(local: Bare) -> None:
    """Of what was deleted before, only the places of routes are left."""
    with local.context():
        known = upgrade_all(local.app)
        assert counts_on()
        migrations.downgrade(known, "core", "0003")
        assert not counts_on()
        last = say(local.portal)
        portal_settings.write("notices.0123", {"seq": last + 7, "tries": 0, "again": ""})
        portal_settings.write("setup_done", True)
        migrations.upgrade(known)
        assert counts_on() and event_log.settled() == last + 7
        assert say(local.portal) == last + 8


def test_tables_that_were_never_migrated_count_on_as_well(make_world: Callable[..., World]) -> None:
    with make_world(start=False).context():
        assert counts_on()
