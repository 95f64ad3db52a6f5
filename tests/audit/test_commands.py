"""`clawportal audit` on the server, `claw audit` from elsewhere, and a portal that is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select, text

from clawportal.cli import claw as client
from clawportal.cli import server
from clawportal.db import db
from clawportal.models import Tenant
from clawportal.services.audit import chain
from tests.audit.conftest import entries
from tests.conftest import People, Person, serving
from tests.core.world import World

Run = Callable[..., Result]


# ---- clawportal audit


@pytest.fixture
def clawportal(tmp_path: Path) -> Run:
    folder = tmp_path / "commands"

    def run(*arguments: str, code: int = 0, **options: str) -> Result:
        given = ("--data-dir", str(folder), *arguments)
        found = CliRunner(env={"CLAWPORTAL_LOG_LEVEL": "error"}).invoke(server.cli, given, **options)
        assert found.exit_code == code, (found.exit_code, found.output, found.exception)
        return found

    run("db", "upgrade", "--first-start")
    return run


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command writes its data folder into the environment."""
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", "unused")
    yield


def test_commands_are_entries_and_verify(clawportal: Run, tmp_path: Path) -> None:
    clawportal("user", "create", "kim", "--password-stdin", input="correct horse battery\n")
    rows = [json.loads(line) for line in clawportal("audit", "export", "--actor", "clawportal").output.splitlines()]
    made = next(row for row in rows if row["action"] == "user.create" and row["object_name"] == "kim")
    assert made["via"] == "command" and made["agent"].startswith("clawportal, run by ")
    said = clawportal("audit", "verify").output
    assert "entries are right" in said
    head = said.rsplit(" ", 1)[-1].strip()
    clawportal("audit", "verify", "--head", head)
    file = tmp_path / "audit.csv"
    assert (
        "were written" in clawportal("audit", "export", "--format", "csv", "--output", str(file), "--since", "2020-01-01").output
    )
    assert file.read_text().startswith("seq,at,") and file.stat().st_mode & 0o077 == 0
    clawportal("keys", "rotate")
    clawportal("user", "create", "lee", "--password-stdin", input="correct horse battery\n")
    rows = [json.loads(line) for line in clawportal("audit", "export", "--action", "keys").output.splitlines()]
    assert [row["action"] for row in rows] == ["keys.rotate"]
    clawportal("audit", "verify", "--head", head)
    clawportal("audit", "verify", "--head", "nonsense", code=2)
    clawportal("audit", "export", "--since", "2026-01-02", "--until", "2026-01-01", code=1)


def test_tampering_is_named_with_exit_code_one(clawportal: Run, tmp_path: Path) -> None:
    import sqlite3

    for name in ("ann", "bob"):
        clawportal("user", "create", name, "--password-stdin", input="correct horse battery\n")
    with sqlite3.connect(tmp_path / "commands" / "clawportal.db") as connection:
        connection.execute("DROP TRIGGER audit_entry_no_update")
        seq = connection.execute("SELECT seq FROM audit_entry WHERE object_name = 'ann'").fetchone()[0]
        connection.execute("UPDATE audit_entry SET object_name = 'eve' WHERE seq = ?", (seq,))
    connection.close()
    assert f"BROKEN at entry {seq}: this entry was changed" in clawportal("audit", "verify", code=1).output


# ---- claw audit


@pytest.fixture
def claw(people: People) -> Iterator[Callable[[Person], Run]]:
    with serving(people.admin.app) as (url, _port):

        def of(person: Person) -> Run:
            def run(*arguments: str, code: int = 0) -> Result:
                env = {"CLAW_URL": url, "CLAW_TOKEN": person.token}
                found = CliRunner().invoke(client.cli, ("audit", *arguments), env=env)
                assert found.exit_code == code, (found.exit_code, found.output, found.exception)
                return found

            return run

        yield of


def test_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    made = people.owner.create("alpha", spec={"settings": {"greeting": "Hello"}})
    people.developer.patch(
        f"instances/{made['id']}", {"spec": {"settings": {"greeting": "Good day"}}}, headers={"If-Match": "1"},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    owner = claw(people.owner)
    said = owner("--instance", made["id"], "--action", "instance.update").output
    assert "developer" in said and "spec.settings.greeting: Hello -> Good day" in said
    (entry,) = json.loads(owner("--object", "alpha", "--actor", "developer", "-o", "json").output)
    shown = owner(str(entry["seq"])).output
    assert "spec.settings.greeting: Hello -> Good day" in shown and entry["hash"] in shown
    assert len(owner("--all", "-o", "jsonl").output.splitlines()) == len(json.loads(owner("-n", "200", "-o", "json").output))
    assert "No entry fits" in owner("--since", "2100-01-01").output
    owner("99999", code=3)
    claw(people.viewer)(code=4)


# ---- killed in the middle

WRITER = """
    import sys
    from clawportal.db import transaction, db
    from clawportal.models import Tenant
    from clawportal.origin import Origin, during
    from clawportal.contracts.permissions import Actor
    from clawportal.services.events import event_log as ledger
    from clawportal.settings import Settings
    from tests.core.world import make_core

    app = make_core(Settings(data_dir=sys.argv[1], log_level="error"))
    with app.app_context(), during(Origin("api")):
        for number in range(100000):
            with transaction():
                db.session.add(Tenant(name=f"k{sys.argv[2]}-{number}"))
                ledger.record(app.extensions["clawportal"], "tenant.created", actor=Actor("kim", "kim"), message="made")
            print(number, flush=True)
"""


def test_killed_at_any_time(still: World) -> None:
    before = count(still)
    for turn in range(3):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(still.folder), str(turn)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        assert writer.stdout is not None and writer.stdout.readline()
        time.sleep(0.05 + 0.11 * turn)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        assert len(entries(still)) == count(still) - before > turn
        with still.context():
            assert chain.verify().broken is None


def count(world: World) -> int:
    with world.context():
        return db.session.scalar(select(func.count()).select_from(Tenant)) or 0


def test_the_raw_table_says_the_same(still: World) -> None:
    """An auditor without the portal can check the hashes: plain SHA-256 over canonical JSON, as docs/keys-and-audit.md says."""
    import hashlib

    from clawportal.contracts.permissions import Actor
    from clawportal.services.audit import trail

    with still.context():
        trail.note(trail.Pending("thing.change", Actor("kim", "kim"), "thing", "1", after={"ü": [1, None]}))
        row = dict(db.session.execute(text("SELECT * FROM audit_entry")).mappings().one())
    given = row.pop("hash")
    row = {
        name: value
        for name, value in row.items()
        if value or name not in ("project_id", "person_id", "read_permission", "messages")
    }
    row["at"] = row["at"].replace(" ", "T") + "+00:00"
    row["before"], row["after"] = json.loads(row["before"]), json.loads(row["after"])
    canonical = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == given
