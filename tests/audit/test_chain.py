"""The chain: it verifies, it breaks where it is touched, nothing gets past it, and retention leaves it whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DatabaseError

from clawportal.app import prepare_rows
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db, transaction
from clawportal.models import AuditCheckpoint, AuditEntry, AuditHead, EventRow, Tenant
from clawportal.services.audit import chain, trail
from clawportal.services.audit.chain import End
from clawportal.services.audit.trail import Pending
from clawportal.services.events import event_log
from clawportal.services.system import migrations, portal_settings
from tests.audit.conftest import asked, entries
from tests.core.migrating import legacy, upgrade_all
from tests.core.world import World

KIM = Actor(id="kim", name="kim")


def write(world: World, count: int = 5) -> None:
    with asked(world):
        for number in range(count):
            trail.note(
                Pending("thing.change", KIM, "thing", f"t{number}", before={"a": number}, after={"a": number + 0.5, "ü": "é😀"})
            )


def verify(world: World, known: End | None = None) -> chain.Verdict:
    with world.context():
        return chain.verify(known)


def free(world: World, table: str = "audit_entry") -> None:
    """Take the triggers away, as somebody with the whole database could."""
    with world.context(), db.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            for name in connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            for name in ("audit_entry", "audit_head", "audit_checkpoint"):
                connection.exec_driver_sql(f"ALTER TABLE {name} DISABLE TRIGGER USER")


def run(world: World, statement: str) -> int:
    with world.context(), transaction():
        return int(db.session.execute(text(statement)).rowcount)  # type: ignore[attr-defined]  # a CursorResult


def refused(world: World, statement: str) -> None:
    with world.context(), pytest.raises(DatabaseError, match="audit"), db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_a_chain_verifies(both: World) -> None:
    assert verify(both).entries == 0 and verify(both).broken is None
    write(both, 7)
    found = entries(both)
    assert [row.seq for row in found] == list(range(1, 8))
    assert [row.prev_hash for row in found[1:]] == [row.hash for row in found[:-1]]
    verdict = verify(both)
    assert verdict.broken is None and verdict.entries == 7 and verdict.end == End(7, found[-1].hash)
    assert verify(both, verdict.end).broken is None


BEFORE_0002 = {
    "seq": 7, "at": datetime(2026, 11, 24, 8, 30, 1, 250, tzinfo=UTC), "actor_id": "kim", "actor_name": "Kim",
    "actor_kind": "user",
    "token_id": "", "tenant_id": "t1", "instance_id": None, "action": "thing.change", "object_type": "thing", "object_id": "t7",
    "object_name": "é😀", "summary": "Changed.", "via": "api", "address": "192.0.2.7", "agent": "", "request_id": "r1",
    "result": "ok",
    "status": 0, "reason": "", "times": 1, "before": {"a": 1}, "after": {"a": 1.5, "ü": "x"}, "prev_hash": "0" * 64,
}  # fmt: skip
"""An entry as it was before entries said which project and person they are about, and the hash that it was given then."""
HASH_BEFORE_0002 = "9fe8141addda55014224f0b825cfe02f3fc9da655f456ef80d3e3521635cb335"


def test_entries_from_before_keep_their_hash() -> None:
    added = {"project_id": None, "person_id": None, "read_permission": ""}
    assert chain.digest({**BEFORE_0002, **added}) == HASH_BEFORE_0002
    for name in added:
        assert chain.digest({**BEFORE_0002, **added, name: "x"}) != HASH_BEFORE_0002, f"{name} is covered where it is set"


TAMPERED = {
    "UPDATE audit_entry SET actor_name = 'lee' WHERE seq = 3": 3,
    "UPDATE audit_entry SET after = '{}' WHERE seq = 4": 4,
    "UPDATE audit_entry SET tenant_id = 'x' WHERE seq = 1": 1,
    "UPDATE audit_entry SET read_permission = 'portal.admin' WHERE seq = 2": 2,
    "UPDATE audit_entry SET project_id = 'p' WHERE seq = 4": 4,
    "UPDATE audit_entry SET at = '2020-01-01 00:00:00.000000' WHERE seq = 5": 5,
    "DELETE FROM audit_entry WHERE seq = 2": 2,
    "DELETE FROM audit_entry WHERE seq = 5": 5,
    "DELETE FROM audit_entry": 1,
    "UPDATE audit_entry SET hash = prev_hash WHERE seq = 2": 2,
    "UPDATE audit_head SET seq = 4": 4,
    "UPDATE audit_head SET hash = 'no'": 5,
    "UPDATE audit_head SET signature = ''": 5,
    "DELETE FROM audit_head": 0,
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_what_was_tampered_with_is_named(both: World, statement: str) -> None:
    write(both)
    free(both)
    assert run(both, statement) > 0
    verdict = verify(both)
    assert verdict.broken == TAMPERED[statement] and verdict.reason


def test_a_rewritten_chain_lacks_the_signature(both: World) -> None:
    """Somebody who can write to the database, and knows how hashes are made, but has no key."""
    write(both)
    free(both)
    with both.context(), transaction():
        last = db.session.get_one(AuditEntry, 2).hash
        for row in db.session.scalars(select(AuditEntry).where(AuditEntry.seq > 2).order_by(AuditEntry.seq)):
            row.actor_name, row.prev_hash = "lee", last
            row.hash = last = chain.digest({name: getattr(row, name) for name in chain.FIELDS})
        db.session.get_one(AuditHead, 1).hash = last
    verdict = verify(both)
    assert verdict.broken == 5 and "signed" in verdict.reason


def test_an_end_noted_elsewhere_shows_a_rollback(both: World) -> None:
    write(both)
    noted = verify(both).end
    assert verify(both, End(3, "0" * 64)).broken == 3
    assert verify(both, End(9, noted.hash)).broken == 6


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor_name = 'lee'", "DELETE FROM audit_entry WHERE seq = 1", "DELETE FROM audit_entry",
        "DELETE FROM audit_head", "UPDATE audit_head SET seq = 1", "TRUNCATE audit_entry",
    ],
)  # fmt: skip
def test_the_database_refuses_changes(both: World, statement: str) -> None:
    write(both)
    refused(both, statement)
    assert verify(both).entries == 5


def test_checkpoints_cannot_be_changed(both: World, travel: Callable[[timedelta], None]) -> None:
    write(both)
    travel(timedelta(days=401))
    write(both, 1)
    with both.context():
        trail.forget_old(400)
    for statement in ("UPDATE audit_checkpoint SET seq = 1", "DELETE FROM audit_checkpoint"):
        refused(both, statement)


def test_retention_leaves_a_chain_that_verifies(both: World, travel: Callable[[timedelta], None]) -> None:
    write(both)
    travel(timedelta(days=401))
    with both.context():
        assert trail.forget_old(400) == 0, "where everything is old, the clock is more likely wrong"
    write(both, 3)
    with both.context():
        assert trail.forget_old(400) == 5
        assert trail.forget_old(400) == 0
        assert db.session.scalar(select(func.count()).select_from(AuditCheckpoint)) == 1
    verdict = verify(both)
    assert verdict.broken is None and (verdict.first, verdict.entries) == (6, 3)


def test_a_long_chain_goes_in_pieces(still: World, travel: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "PIECE", 10)
    write(still, 35)
    travel(timedelta(days=401))
    write(still, 1)
    with still.context():
        assert trail.forget_old(400) == 35
        assert db.session.scalar(select(func.count()).select_from(AuditCheckpoint)) == 4
    assert verify(still).entries == 1 and verify(still).broken is None


def test_a_forged_checkpoint_is_found(both: World) -> None:
    write(both)
    with both.context(), transaction():
        row = db.session.get_one(AuditEntry, 3)
        db.session.add(AuditCheckpoint(seq=3, hash=row.hash, entries=3, signature="1:00"))
    run(both, "DELETE FROM audit_entry WHERE seq <= 3")  # the trigger cannot know signatures; verifying does
    verdict = verify(both)
    assert verdict.broken == 3 and "signed" in verdict.reason


def test_keys_can_be_rotated(both: World) -> None:
    from clawportal import keyring
    from clawportal.app import KEYRING_FILE

    write(both)
    file = both.folder / KEYRING_FILE
    with both.context():
        chain.use(db.engine, keyring.rotate(file))
    assert verify(both).broken is None, "what an older key signed still counts"
    write(both)
    assert verify(both).entries == 10


def test_eight_at_once(both: World) -> None:
    errors: list[BaseException] = []

    def change(number: int) -> None:
        try:
            for turn in range(6):
                with asked(both) as portal, transaction():
                    db.session.add(Tenant(name=f"t{number}-{turn}"))
                    event_log.record(portal, "tenant.created", actor=KIM, message="made")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    verdict = verify(both)
    assert verdict.broken is None and verdict.entries == 48
    names = {row.object_name for row in entries(both)}
    assert len(names) == 48, "each entry has found its own row"


@pytest.mark.parametrize("where", ["before the end", "while the entry is written", "at the commit"])
def test_neither_change_without_entry_nor_entry_without_change(both: World, where: str) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: Any) -> None:
        raise Crash

    with asked(both) as portal:
        with pytest.raises(Crash), transaction():
            db.session.add(Tenant(name="lost"))
            event_log.record(portal, "tenant.created", actor=KIM, message="made")
            if where == "before the end":
                crash()
            if where == "while the entry is written":
                event.listen(db.session, "do_orm_execute", crash, once=True)
            else:
                event.listen(db.session, "before_commit", crash, once=True)
        names = db.session.scalars(select(Tenant.name)).all()
        assert "lost" not in names and db.session.scalar(select(func.count()).select_from(EventRow)) == 0
    assert entries(both) == [] and verify(both).broken is None
    write(both, 2)
    assert verify(both).entries == 2


def test_a_chain_without_head_stops_changes(both: World) -> None:
    """Better no change than one that nobody can see."""
    free(both)
    run(both, "DELETE FROM audit_head")
    with asked(both), pytest.raises(Exception, match="No row"):
        portal_settings.write("x", 1)
    with both.context():
        assert portal_settings.read("x") is None


def test_background_work_writes_none(both: World) -> None:
    one = both.create("q")
    both.press("stop", one)
    with both.context() as portal:
        event_log.record(portal, "portal.clock_jumped", actor=SYSTEM, message="by itself")
    assert entries(both) == []


def test_migrations_make_the_same_triggers(make_world: Callable[..., World], database_url: str) -> None:
    world = make_world(start=False, create=False, database_url=database_url)

    def triggers() -> set[tuple[str, ...]]:
        sqlite = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"
        postgresql = (
            "SELECT t.tgname, c.relname, pg_get_triggerdef(t.oid) || pg_get_functiondef(t.tgfoid) FROM pg_trigger t "
            "JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal"
        )
        with db.engine.connect() as connection:
            found = connection.execute(text(sqlite if connection.dialect.name == "sqlite" else postgresql)).all()
        return {tuple(map(str, row)) for row in found if str(row[1]).startswith("audit_")}

    with world.context():
        db.create_all()
        wanted = triggers()
        assert len(wanted) == (6 if not database_url else 8)
        db.session.remove()
        db.drop_all()
        assert triggers() == set()
        legacy("upgrade", "0004")
        assert triggers() == wanted
        legacy("downgrade", "0003")
        assert triggers() == set()
        upgrade_all(world.app)
        assert triggers() == wanted
    write(world, 3)
    assert verify(world).entries == 3
    with world.context():
        db.session.remove()
        migrations.downgrade(upgrade_all(world.app), "", "base")
        assert triggers() == set()
        upgrade_all(world.app)
        assert triggers() == wanted
        prepare_rows()
    write(world, 1)
    assert verify(world).entries == 1
