"""A backup of each database while others write, and restored on an empty machine: the same rows, people, secrets and audit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.models import AuditEntry, AuditSegment
from clawportal.services.audit import chain
from clawportal.services.backup import making
from clawportal.services.backup.archive import BackupError, Reader
from clawportal.services.configuration import secrets
from clawportal.services.fleet import instances, notes
from clawportal.services.fleet.instances import NewInstance
from clawportal.settings import Settings
from tests.backup.conftest import Portal, content, migrated, shape
from tests.cli.test_operator_input import clawportal
from tests.conftest import PASSWORD, portal_of

CHANGED = ("audit_entry", "audit_head", "audit_segment", "portal_setting")
"""Where making or restoring a backup writes."""


def back_up(portal: Portal, target: Path, **more: Any) -> making.Made:
    with portal.app.app_context():
        return making.create(portal_of(portal.app), target, **more)


def restored(portal: Portal, backup: Path, folder: Path, url: str = "") -> str:
    done = clawportal(
        "restore", str(backup), "--recovery-key-file", "-", folder=folder, stdin=portal.secret,
        **({"DATABASE_URL": url} if url else {}),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def second(portal: Portal, request: pytest.FixtureRequest) -> str:
    """The address of an empty database of the same kind."""
    return str(request.getfixturevalue("postgres")()) if portal.url else ""


def opened(folder: Path, url: str, keep: Callable[[Flask], Flask]) -> Flask:
    return keep(migrated(folder, url))


def test_all_of_it_is_there_again(portal: Portal, second: str, tmp_path: Path, closing_apps: Callable[[Flask], Flask]) -> None:
    app = portal.app
    with app.app_context():
        kept = db.session.query(AuditEntry).count()
        wanted = NewInstance(name="sealed", adapter="echo", secrets={"model_api_key": "a secret of it"})
        instance_id = instances.create(portal_of(app), SYSTEM, wanted).id
        notes.write(portal_of(app), SYSTEM, instance_id, "Ask Kim.", revision=0)
    rows, tables = content(app), shape(app)
    (portal.folder / "clawportal.toml").write_text('upload_mib = 7\nrate_limit = ""\n')
    portal_of(app).registry.stores["local"].put("exports/a.csv", [b"a,b\n" * 1000])
    made = back_up(portal, tmp_path / "x.backup")
    assert (tmp_path / "x.backup").stat().st_mode & 0o777 == 0o600 and made.gaps == ()

    folder = tmp_path / "second"
    said = restored(portal, made.path, folder, second)
    assert "The audit is right" in said
    again = opened(folder, second, closing_apps)
    assert shape(again) == tables
    found = content(again)
    assert (
        found["instance_note"]
        and found.keys() == rows.keys()
        and found["notes_note"]
        and found["notes_alembic_version"] == [("n7",)]
    )
    assert {name for name in rows if found[name] != rows[name]} <= set(CHANGED)
    with again.app_context():
        assert secrets.open_all(portal_of(again), instance_id, ["model_api_key"]) == {"model_api_key": "a secret of it"}
        verdict = chain.verify()
        assert verdict.broken is None and verdict.entries > kept
        last = db.session.query(AuditEntry).order_by(AuditEntry.seq.desc()).first()
        assert last is not None and last.action == "backup.restore" and made.id == last.object_id
    answer = again.test_client().post("/api/v1/auth/token", json={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 201
    assert Settings(data_dir=folder).upload_mib == 7
    assert b"".join(portal_of(again).registry.stores["local"].open("exports/a.csv")) == b"a,b\n" * 1000
    assert not (folder / making.WORK).exists() and (folder / "clawportal.db").exists() == (not second)


def test_while_others_write(portal: Portal, second: str, tmp_path: Path, closing_apps: Callable[[Flask], Flask]) -> None:
    """One moment: each instance with its entry in the audit, and the chain whole."""
    stop, made, errors = threading.Event(), threading.Event(), []

    def write(number: int) -> None:
        with portal.app.app_context():
            try:
                for count in range(10_000):
                    if stop.is_set():
                        return
                    wanted = NewInstance(name=f"w{number}-{count}", adapter="echo", start=False)
                    instances.create(portal_of(portal.app), SYSTEM, wanted)
                    db.session.remove()
                    made.set()
            except Exception as error:
                errors.append(error)
                made.set()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert made.wait(20)
        backups = [back_up(portal, tmp_path / f"{number}.backup") for number in range(3)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert errors == []
    restored(portal, backups[-1].path, tmp_path / "second", second)
    again = opened(tmp_path / "second", second, closing_apps)
    found, live = content(again), content(portal.app)
    assert 0 < len(found["instance"]) < len(live["instance"])
    ids = {row[0] for row in found["instance"]}
    with again.app_context():
        assert chain.verify().broken is None
        assert {row.instance_id for row in db.session.query(AuditEntry).filter(AuditEntry.action == "instance.create")} <= ids
        for table in ("instance_secret", "operation"):
            column = db.metadata.tables[table].c.instance_id
            assert set(db.session.scalars(db.select(column))) <= ids | {None}
    with portal.app.app_context():
        assert chain.verify().broken is None


def test_keys_of_a_backup_sign_nothing_later(portal: Portal, tmp_path: Path) -> None:
    with portal.app.app_context():
        back_up(portal, tmp_path / "x.backup")
        rows = db.session.query(AuditSegment).order_by(AuditSegment.number).all()
        assert [row.sealed is not None for row in rows] == [False] * (len(rows) - 1) + [True]
        entry = db.session.query(AuditEntry).order_by(AuditEntry.seq.desc()).first()
        assert entry is not None and entry.action == "backup.create"
        assert rows[-1].first_seq <= entry.seq, "what tells of the backup is signed by the segment after the one in it"


def test_refusals(portal: Portal, tmp_path: Path, second: str) -> None:
    back_up(portal, tmp_path / "x.backup")
    words = ("restore", str(tmp_path / "x.backup"), "--recovery-key-file", "-")
    used = clawportal(*words, folder=portal.folder, stdin=portal.secret, **portal.environment)
    assert used.returncode == 1 and "is in use" in used.stderr and "Traceback" not in used.stderr
    from clawportal.services.backup import recovery

    wrong = clawportal(*words, folder=tmp_path / "second", stdin=recovery.make()[1], **portal.environment)
    assert wrong.returncode == 1 and "does not open the backup" in wrong.stderr
    if portal.url:
        database = clawportal(*words, folder=tmp_path / "second", stdin=portal.secret, **portal.environment)
        assert database.returncode == 1 and "The database is in use" in database.stderr
        kind = clawportal(*words, folder=tmp_path / "second", stdin=portal.secret)
        assert kind.returncode == 1 and "on PostgreSQL" in kind.stderr
    damaged = bytearray((tmp_path / "x.backup").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "x.backup").write_bytes(damaged)
    bad = clawportal(*words, folder=tmp_path / "second", stdin=portal.secret)
    assert bad.returncode == 1 and ("is damaged" in bad.stderr or "cut off" in bad.stderr)
    assert not (tmp_path / "second" / "keys").exists(), "nothing was written"
    assert content(portal.app)["user_account"], "the portal that was in the way is as it was"


def test_a_newer_portal_made_it(portal: Portal, second: str, tmp_path: Path) -> None:
    with portal.app.app_context(), db.engine.begin() as connection:
        connection.execute(db.text("UPDATE alembic_version_core SET version_num = 'ffff'"))
    made = back_up(portal, tmp_path / "x.backup")
    done = clawportal(
        "restore", str(made.path), "--recovery-key-file", "-", folder=tmp_path / "second", stdin=portal.secret,
        **({"DATABASE_URL": second} if second else {}),
    )  # fmt: skip
    assert done.returncode == 1 and "tables are at ffff" in done.stderr and not (tmp_path / "second").exists()


def test_only_a_backup_is_replaced(portal: Portal, tmp_path: Path) -> None:
    first = back_up(portal, tmp_path / "x.backup")
    assert back_up(portal, tmp_path / "x.backup").id != first.id
    assert Reader(tmp_path / "x.backup").verify().header.id != first.id
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BackupError, match="is no backup; it is left as it is"):
        back_up(portal, tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    named = back_up(portal, tmp_path)
    assert named.path.parent == tmp_path and named.path.name.startswith("clawportal-")
