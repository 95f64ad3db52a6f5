"""What is broken stays broken until somebody says so, and nobody makes history anew: not with the database, not with the keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from clawportal import clock, keyring
from clawportal.app import KEYRING_FILE
from clawportal.cli import diagnosis
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.declarations import resolve
from clawportal.errors import Conflict
from clawportal.jobs import retention
from clawportal.models import ApiToken, AuditEntry, AuditHead, AuditSegment, UserSession
from clawportal.services.audit import chain, segment_keys, trail
from clawportal.services.audit.chain import GENESIS
from clawportal.services.system import portal_settings, trusted_clock
from tests.audit.conftest import asked, entries
from tests.audit.test_chain import free, run, verify, write
from tests.audit.test_commands import Run, clawportal
from tests.conftest import People, make_person, portal_of
from tests.core.world import World

__all__ = ["clawportal"]


def rehash(world: World, since: int) -> None:
    """What somebody can do who has the database and knows how hashes are made."""
    with world.context(), transaction():
        last = db.session.get_one(AuditEntry, since - 1).hash if since > 1 else GENESIS
        for row in db.session.scalars(select(AuditEntry).where(AuditEntry.seq >= since).order_by(AuditEntry.seq)):
            row.actor_name, row.prev_hash = "lee", last
            row.hash = last = chain.digest({name: getattr(row, name) for name in chain.FIELDS})
        db.session.get_one(AuditHead, 1).hash = last


def acknowledge(world: World, why: str = "restored from a backup") -> int:
    with asked(world):
        return int(trail.acknowledge(SYSTEM, why).broken or 0)


def test_a_broken_head_is_never_signed_over(both: World) -> None:
    write(both)
    free(both)
    rehash(both, 3)
    for _ in range(2):
        write(both, 2)
        verdict = verify(both)
        assert verdict.broken == 5 and "was not signed by this portal when the next entry was written" in verdict.reason
    with both.context():
        assert chain.known_break() == 5


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_head SET signature = ''", "UPDATE audit_head SET hash = prev.hash FROM (SELECT hash FROM audit_entry WHERE "
        "seq = 3) AS prev", "UPDATE audit_head SET seq = 3", "UPDATE audit_head SET signature = 's1:AAAA'",
    ],
)  # fmt: skip
def test_whatever_was_done_to_the_head_is_kept(both: World, change: str) -> None:
    write(both)
    free(both)
    run(both, change)
    write(both, 2)
    found = verify(both)
    assert found.broken is not None and len(entries(both)) == 7, "changes go on, and what is broken is told"
    run(both, "UPDATE audit_head SET broken_at = NULL")
    assert verify(both).broken is not None, "the mark is signed too"
    write(both, 1)
    assert verify(both).broken is not None


def test_acknowledging_is_an_entry_and_what_follows_is_whole(both: World) -> None:
    write(both)
    with pytest.raises(Conflict, match="whole"):
        acknowledge(both)
    free(both)
    rehash(both, 2)
    write(both, 1)
    assert acknowledge(both, "a test of the restore") == 5
    verdict = verify(both)
    assert verdict.broken is None and verdict.acknowledged == ((5, "a test of the restore"),)
    told = entries(both)[-1]
    assert told.action == "audit.acknowledge" and "a test of the restore" in told.summary
    write(both, 2)
    assert verify(both).broken is None
    run(both, "UPDATE audit_entry SET actor_name = 'eve' WHERE seq = 8")
    assert verify(both).broken == 8, "only what was acknowledged is passed over"


def test_a_changed_entry_can_be_acknowledged_as_well(both: World) -> None:
    write(both)
    free(both)
    run(both, "DELETE FROM audit_entry WHERE seq = 2")
    assert acknowledge(both) == 2 and verify(both).broken is None
    run(both, "DELETE FROM audit_head")
    assert verify(both).broken is not None
    acknowledge(both)
    write(both, 1)
    assert verify(both).broken is None


def test_what_an_earlier_version_wrote_goes_on(both: World) -> None:
    """Its head was signed with the key ring, and there were no segments."""
    write(both)
    free(both)
    with both.context() as portal, transaction():
        ring, head = portal.keyring, db.session.get_one(AuditHead, 1)
        head.signature = f"{ring.current}:" + segment_keys.ring_code(ring, ring.current, f"{head.seq}:{head.hash}")
        db.session.execute(text("DELETE FROM audit_segment"))
    assert verify(both).broken is None
    write(both, 2)
    assert verify(both).broken is None and verify(both).entries == 7
    with both.context():
        first = db.session.get_one(AuditSegment, 1)
        assert first.first_seq == 6
    run(both, "DELETE FROM audit_segment")
    assert verify(both).broken is not None


# ---- segments


def later(world: World, by: timedelta) -> bool:
    clock.travel(by)
    try:
        with world.context():
            return chain.turn()
    finally:
        clock.travel(-by)
        clock.take_jump()


def test_the_key_of_a_segment_is_erased_when_the_next_begins(both: World) -> None:
    write(both)
    assert not later(both, timedelta(hours=1))
    assert later(both, timedelta(hours=25))
    write(both, 2)
    with both.context():
        one, two = db.session.scalars(select(AuditSegment).order_by(AuditSegment.number))
        assert one.sealed is None and two.sealed is not None and two.first_seq == 6
    assert verify(both).broken is None


def test_segments_end_also_while_the_clock_is_not_believed(both: World, travel: Callable[[timedelta], None]) -> None:
    """Retention waits for somebody to confirm the clock, which may take weeks; keys must not live as long."""
    write(both)
    with both.context() as portal:
        retention.forget_once(portal)
        travel(timedelta(days=30))
        retention.forget_once(portal)
        assert trusted_clock.ahead() and segment_keys.newest() == 1
        turn = next(job for feature in portal.registry.features for job in feature.jobs if job.name == "segments")
        resolve(turn.run)(portal)
        assert segment_keys.newest() == 2
        resolve(turn.run)(portal)
        assert segment_keys.newest() == 2, "one a day"
        travel(timedelta(days=-30))
        resolve(turn.run)(portal)
        assert segment_keys.newest() == 3, "not open until the clock is there again"
    write(both, 1)
    assert verify(both).broken is None


def test_whoever_has_database_and_keys_cannot_make_an_older_segment_anew(both: World) -> None:
    write(both)
    later(both, timedelta(hours=25))
    write(both, 2)
    free(both)
    rehash(both, 3)
    with both.context() as portal, transaction():  # even with the open segment's own key
        row = db.session.get_one(AuditHead, 1)
        signer = segment_keys.signer(portal.keyring, 2)
        assert signer is not None
        head = chain._Head(row.seq, row.hash, "", None)
        row.signature = signer.sign(head.text)
        follower = db.session.get_one(AuditSegment, 2)
        follower.prev_hash = db.session.get_one(AuditEntry, 5).hash
    verdict = verify(both)
    assert verdict.broken == 5 and "not made by this portal" in verdict.reason


@pytest.mark.parametrize("column", ["public_key", "prev_hash", "vouched", "code", "first_seq"])
def test_a_segment_cannot_be_changed(both: World, column: str) -> None:
    write(both)
    later(both, timedelta(hours=25))
    write(both, 2)
    value = "9" if column == "first_seq" else "'AAAA'"
    run(both, f"UPDATE audit_segment SET {column} = {value} WHERE number = 2")
    assert verify(both).broken is not None


def test_a_second_process_signs_with_the_same_segment(both: World) -> None:
    write(both, 2)
    with both.context():
        segment_keys._kept.clear()
    write(both, 2)
    with both.context():
        assert db.session.scalar(select(func.count()).select_from(AuditSegment)) == 1
    assert verify(both).entries == 4


# ---- the clock


def test_a_clock_that_jumps_deletes_nothing(both: World, travel: Callable[[timedelta], None]) -> None:
    write(both)
    with both.context() as portal:
        retention.forget_once(portal)
    travel(timedelta(days=800))
    write(both, 1)  # so that the newest is of the new time
    with both.context() as portal:
        retention.forget_once(portal)
        retention.forget_once(portal)
        assert db.session.scalar(select(func.count()).select_from(AuditEntry)) == 6
        assert trusted_clock.ahead() > timedelta(days=790)
        trusted_clock.believe()
        retention.forget_once(portal)
        assert (db.session.scalar(select(func.count()).select_from(AuditEntry)) or 0) < 6, "somebody said that it is right"


def test_a_clock_that_comes_back_is_believed_again(both: World, travel: Callable[[timedelta], None]) -> None:
    with both.context():
        assert not trusted_clock.look()
        travel(timedelta(days=30))
        assert trusted_clock.look() > timedelta(days=29)
        travel(timedelta(days=-30))
        assert not trusted_clock.look()


def test_two_days_off_are_not_asked_about_and_two_weeks_are(both: World, travel: Callable[[timedelta], None]) -> None:
    with both.context():
        trusted_clock.look()
        for days, asked_about in ((2, False), (14, True)):
            trusted_clock._last = None  # another process
            travel(timedelta(days=days))
            assert bool(trusted_clock.look()) is asked_about


# ---- commands and pages


def test_commands_tell_acknowledge_and_go_on(clawportal: Run, tmp_path: Path) -> None:
    clawportal("user", "create", "ann", "--password-stdin", input="correct horse battery\n")
    with sqlite3.connect(tmp_path / "commands" / "clawportal.db") as connection:
        connection.execute("UPDATE audit_head SET hash = '%s'" % ("f" * 64))
    connection.close()
    clawportal("user", "create", "bob", "--password-stdin", input="correct horse battery\n")
    assert "BROKEN" in clawportal("audit", "verify", code=1).output
    assert "broken at entry" in clawportal("doctor", code=1).output
    assert "is acknowledged" in clawportal("audit", "acknowledge", "--why", "a test").output
    assert "went on in spite of that: a test" in clawportal("audit", "verify").output
    clawportal("doctor")
    assert "nothing to acknowledge" in clawportal("audit", "acknowledge", "--why", "again", code=1).output
    assert "not doubted" in clawportal("audit", "confirm-clock").output


def test_the_page_tells_and_takes_it(people: People) -> None:
    from tests.rights.test_rights_pages import Browser

    app = people.admin.app
    with app.app_context(), transaction():
        db.session.execute(text("UPDATE audit_head SET broken_at = 1"))
    people.admin.post("tenants", {"name": "more", "title": "More"})
    browser = Browser(people.admin)
    assert "The audit is broken at entry" in browser.page("/audit")
    assert "The audit is broken at entry" not in Browser(people.owner).page("/audit")
    browser.done("/audit/acknowledge", why="a test")
    assert "The audit is broken at entry" not in browser.page("/audit")


# ---- keys


def test_keys_that_are_missing_stop_the_start_with_the_way_out(clawportal: Run, tmp_path: Path) -> None:
    file = tmp_path / "commands" / KEYRING_FILE
    clawportal("user", "create", "first", "--password-stdin", input="correct horse battery\n")
    kept = file.read_bytes()
    file.unlink()
    said = clawportal("user", "create", "ann", "--password-stdin", input="correct horse battery\n", code=2).output
    assert "is missing" in said and "restore it from a backup" in said and "clawportal keys new" in said
    assert not file.exists(), "no new keys beside secrets that they do not open"
    assert "is missing" in clawportal("doctor", code=1).output
    file.write_bytes(kept)
    file.chmod(0o600)
    clawportal("keys", "new", code=1)
    file.unlink()
    clawportal("keys", "new")
    clawportal("user", "create", "ann", "--password-stdin", input="correct horse battery\n")
    clawportal("audit", "verify", code=1)
    clawportal("audit", "acknowledge", "--why", "the keys were lost")
    clawportal("audit", "verify")


def test_compromised_keys_end_everything(clawportal: Run, tmp_path: Path) -> None:
    from clawportal.app import create_app
    from clawportal.services.identity import clients
    from clawportal.services.identity.sessions import Place
    from clawportal.settings import Settings

    app = create_app(Settings(data_dir=tmp_path / "commands", jobs=False))
    kim = make_person(app, "kim", "portal-admin")
    portal = portal_of(app)
    with app.app_context():
        portal_settings.write(portal_settings.SETUP_DONE, True)
    browser = kim.browser()
    with app.app_context():
        from clawportal.models import User

        pair = clients.sign_in(portal, db.session.get_one(User, kim.actor.id), Place("192.0.2.1", "tests"))
    bearer = {"Authorization": f"Bearer {pair.access_token}"}
    assert kim.get("auth/me").status_code == 200 and browser.get("/profile").status_code == 200
    assert app.test_client().get("/api/v1/auth/me", headers=bearer).status_code == 200
    old = json.loads((tmp_path / "commands" / KEYRING_FILE).read_text())
    said = clawportal("keys", "rotate", "--compromised").output
    assert "sessions" in said and "API tokens were ended" in said
    assert kim.get("auth/me").status_code == 401 and browser.get("/profile").status_code == 302
    assert app.test_client().get("/api/v1/auth/me", headers=bearer).status_code == 401
    new = json.loads((tmp_path / "commands" / KEYRING_FILE).read_text())
    assert list(new["keys"]) == ["2"] and new["retired"] == old["keys"] and new["session_key"] != old["session_key"]
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(UserSession).where(UserSession.ended_at.is_(None))) == 0
        assert db.session.scalar(select(func.count()).select_from(ApiToken).where(ApiToken.revoked_at.is_(None))) == 0
        assert app.test_client().get("/login").status_code == 200 and app.secret_key == new["session_key"]
        with pytest.raises(keyring.KeyringError):
            portal.keyring.open((1).to_bytes(4, "big") + b"x" * 40, "somewhere")
        db.engine.dispose()
    clawportal("audit", "verify")
    assert next(iter(diagnosis.keys(portal.settings))).ok


def test_forging_with_a_retired_key_is_found(both: World) -> None:
    write(both)
    file = both.folder / KEYRING_FILE
    stolen = keyring.Keyring(keyring.load(file)._content)
    keyring.rotate(file)
    with both.context():
        chain.turn(at_once=True)
    keyring.retire(file)
    write(both, 1)
    assert verify(both).broken is None
    free(both)
    rehash(both, 3)
    with both.context(), transaction():
        db.session.execute(text("DELETE FROM audit_segment"))
        row = db.session.get_one(AuditHead, 1)
        signer = segment_keys.begin(stolen, 0, GENESIS, None)
        row.signature = signer.sign(chain._Head(row.seq, row.hash, "", None).text)
    with both.context():
        segment_keys._kept.clear()
    assert verify(both).broken == 6
