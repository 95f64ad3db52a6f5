"""`clawportal backup` and `restore` as an operator uses them: a real claw with its files, a full disk, doctor, cron."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from flask import Flask

from clawportal import clock
from clawportal.cli import diagnosis
from clawportal.db import db
from clawportal.models import AuditEntry
from clawportal.services.backup import making, recovery
from clawportal.services.backup.archive import BackupError, Reader
from clawportal.services.system import portal_settings
from clawportal.settings import Settings
from tests.backup.conftest import Portal, migrated
from tests.browser.portal import PortalProcess
from tests.cli.test_operator_input import clawportal
from tests.conftest import portal_of


@pytest.fixture
def database_url() -> str:
    """SQLite alone: what these commands do besides is the same with both."""
    return ""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[[str], PortalProcess]]:
    made: list[PortalProcess] = []

    def make(name: str) -> PortalProcess:
        made.append(PortalProcess(tmp_path / name))
        return made[-1]

    yield make
    for process in made:
        process.end()


def file_of(portal: PortalProcess, instance_id: str, path: str, content: bytes | None = None) -> bytes:
    address, headers = f"{portal.url}/api/v1/instances/{instance_id}/files/content", {"Authorization": f"Bearer {portal._token}"}
    if content is None:
        answer = httpx.get(address, params={"path": path}, headers=headers, timeout=30)
    else:
        answer = httpx.put(address, params={"path": path}, content=content, headers=headers, timeout=30)
    assert answer.is_success, answer.text
    return answer.content


@pytest.mark.slow
def test_a_claw_with_its_files_on_another_machine(processes: Callable[[str], PortalProcess], tmp_path: Path) -> None:
    first = processes("first")
    first.start()
    first.set_up(practice=False)
    one = first.running("one", spec={"settings": {"greeting": "Still here"}})["id"]
    file_of(first, one, "work/notes.txt", b"what people cannot make again")
    home = first.folder / "clusters" / "local" / "instances" / one / "home"
    (home / "inside").symlink_to("notes/today")
    (home / "outside").symlink_to("/etc/passwd")

    made = clawportal("backup", "recovery-key", folder=first.folder)
    secret = next(line.strip() for line in made.stdout.splitlines() if line.strip().startswith("CLAWPORTAL-RECOVERY-"))
    assert not any(secret in path.read_text(errors="replace") for path in first.folder.rglob("*.pub"))
    done = clawportal("backup", str(tmp_path / "x.backup"), "--files", folder=first.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = clawportal("backup", "verify", str(tmp_path / "x.backup"), "--recovery-key-file", "-", folder="/", stdin=secret)
    assert checked.returncode == 0 and "with the files of claws" in checked.stdout and "It is whole" in checked.stdout
    first.end()

    second = processes("second")
    (tmp_path / "key").write_text(secret)
    words = ("restore", str(tmp_path / "x.backup"), "--recovery-key-file", str(tmp_path / "key"))
    back = clawportal(*words, folder=second.folder)
    assert back.returncode == 3 and "1 links lead out of it" in back.stderr and "such as outside" in back.stderr, back.stderr
    second.start()
    second.sign_in()
    second.reaches(one, "running", 60)
    assert second.get(one)["spec"]["settings"]["greeting"] == "Still here"
    assert file_of(second, one, "work/notes.txt") == b"what people cannot make again"
    found = second.folder / "clusters" / "local" / "instances" / one / "home"
    assert os.readlink(found / "inside") == "notes/today" and not (found / "outside").exists()
    verified = clawportal("audit", "verify", folder=second.folder)
    assert verified.returncode == 0, verified.stdout


def test_without_a_recovery_key(tmp_path: Path, closing_apps: Callable[[Flask], Flask]) -> None:
    closing_apps(migrated(tmp_path / "data"))
    done = clawportal("backup", str(tmp_path / "x.backup"), folder=tmp_path / "data")
    assert done.returncode == 1 and "clawportal backup recovery-key" in done.stderr and not (tmp_path / "x.backup").exists()


def test_a_recovery_key_is_not_lost_by_mistake(portal: Portal) -> None:
    again = clawportal("backup", "recovery-key", folder=portal.folder)
    assert again.returncode == 1 and "--replace" in again.stderr
    public, _ = recovery.make()
    taken = clawportal("backup", "recovery-key", "--replace", "--use", public, folder=portal.folder)
    assert taken.returncode == 0 and recovery.read(portal.folder) == recovery.public_of(public)
    assert "CLAWPORTAL-RECOVERY-" not in taken.stdout
    wrong = clawportal("backup", "recovery-key", "--replace", "--use", "abc", folder=portal.folder)
    assert wrong.returncode == 1 and "no public recovery key" in wrong.stderr


def test_quiet_says_nothing_to_cron(portal: Portal, tmp_path: Path) -> None:
    done = clawportal("backup", str(tmp_path), "--quiet", folder=portal.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (made,) = tmp_path.glob("clawportal-*.backup")
    assert Reader(made).verify().pieces


def test_two_at_a_time(portal: Portal, tmp_path: Path) -> None:
    with making._alone(portal.folder):
        done = clawportal("backup", str(tmp_path / "x.backup"), folder=portal.folder)
    assert done.returncode == 1 and "Another backup of this portal" in done.stderr


def test_a_full_disk(portal: Portal, small_disk: Path) -> None:
    """Where the room is too small from the beginning, and where it ends in the middle; the former backup stays."""
    with portal.app.app_context():
        former = making.create(portal_of(portal.app), small_disk / "x.backup")
        portal_of(portal.app).registry.stores["local"].put("large.bin", [os.urandom(1 << 20)] * 12)
        with pytest.raises(BackupError, match="is full, so there is no backup"):
            making.create(portal_of(portal.app), small_disk / "x.backup")
        assert [path.name for path in small_disk.iterdir()] == ["x.backup"] and Reader(
            former.path
        ).verify().header.id == former.id
        with db.engine.begin() as connection:
            connection.execute(db.text("CREATE TABLE large (content BLOB)"))
            connection.execute(db.text("INSERT INTO large VALUES (zeroblob(40000000))"))
        with pytest.raises(BackupError, match=r"to give\. Make room"):
            making.create(portal_of(portal.app), small_disk / "x.backup")
        assert db.session.query(AuditEntry).filter(AuditEntry.action == "backup.create").count() == 1


def test_a_restore_where_there_is_no_room(portal: Portal, small_disk: Path, tmp_path: Path) -> None:
    with portal.app.app_context():
        portal_of(portal.app).registry.stores["local"].put("large.bin", [bytes(1 << 20)] * 12)
        making.create(portal_of(portal.app), tmp_path / "x.backup")
    words = ("restore", str(tmp_path / "x.backup"), "--recovery-key-file", "-")
    done = clawportal(*words, folder=small_disk / "data", stdin=portal.secret, RESERVE_MIB="0")
    assert done.returncode == 1 and "Make room" in done.stderr and list(small_disk.iterdir()) == []


def test_settings_of_this_machine_stay(portal: Portal, tmp_path: Path) -> None:
    (portal.folder / "clawportal.toml").write_text('upload_mib = 7\n  database_url = "sqlite:////nowhere/x.db"\nport = 9000\n')
    with portal.app.app_context():
        making.create(portal_of(portal.app), tmp_path / "x.backup")
    words = ("restore", str(tmp_path / "x.backup"), "--recovery-key-file", "-")
    own = tmp_path / "own"
    own.mkdir()
    (own / "clawportal.toml").write_text(f'upload_mib = 9\ndatabase_url = "sqlite:///{own}/mine.db"\n')
    done = clawportal(*words, folder=own, stdin=portal.secret)
    assert done.returncode == 0 and (own / "mine.db").exists() and Settings(data_dir=own).upload_mib == 9, done.stderr
    assert "upload_mib = 7" in (own / "clawportal.toml.from-backup").read_text()

    drill = tmp_path / "drill"
    done = clawportal(*words, folder=drill, stdin=portal.secret, DATABASE_URL="")
    assert done.returncode == 0 and "that line was taken out" in done.stdout, done.stderr
    assert (drill / "clawportal.db").exists()
    assert Settings(data_dir=drill).database_url == "" and Settings(data_dir=drill).port == 9000


def test_no_portal_starts_in_half_of_one(portal: Portal, tmp_path: Path) -> None:
    (portal.folder / "restore-unfinished.json").write_text("{}")
    for words in (("serve",), ("user", "unlock", "admin"), ("backup", str(tmp_path / "x"))):
        done = clawportal(*words, folder=portal.folder)
        assert done.returncode == 2 and "Run `clawportal restore` again" in done.stderr, (words, done.stderr)


def test_doctor_says_when(portal: Portal, tmp_path: Path) -> None:
    def said() -> tuple[bool, str]:
        (found,) = diagnosis.backups(Settings(data_dir=portal.folder))
        return found.ok, found.message

    assert said()[0] and "None was made yet" in said()[1]
    with portal.app.app_context():
        making.create(portal_of(portal.app), tmp_path / "x.backup")
        assert said()[0] and str(tmp_path / "x.backup") in said()[1]
        last = portal_settings.read(making.LAST_BACKUP)
        portal_settings.write(making.LAST_BACKUP, {**last, "at": (clock.now() - timedelta(days=8)).isoformat()})
        assert not said()[0]
        portal_settings.write(making.LAST_BACKUP, {**last, "gaps": 2})
        assert not said()[0] and "2 parts could not be read" in said()[1]
