"""Each feature's tables go up and down on their own, on both databases; old databases, absent plugins, kills."""

from __future__ import annotations

import os
import sqlite3
import stat
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from clawportal import declarations, features, histories
from clawportal.app import prepare_rows
from clawportal.cli import tables_ready
from clawportal.contracts.features import Feature
from clawportal.db import Base, db
from clawportal.histories import History
from clawportal.pluginmanager import BUNDLED, load
from clawportal.services.identity import identity
from clawportal.services.system import database_copy, legacy_tables, migrations
from tests.commands import Command
from tests.core.migrating import Bare, legacy, upgrade_all
from tests.core.world import eventually

ROOT = Path(__file__).parents[2]
NEWEST = {
    history.name: max(file.name[:4] for file in history.folder.glob("0*.py")) for history in histories.of(load(BUNDLED).features)
}
"""The newest revision of each bundled feature."""
CORE = NEWEST["core"]


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


def all_fresh(known: tuple[History, ...]) -> bool:
    return all(state.fresh for state in migrations.check(known))


def tables() -> set[str]:
    return set(inspect(db.engine).get_table_names())


# ---- up and down


def test_up_check_down_up(empty: Bare) -> None:
    with empty.context():
        known = upgrade_all(empty.app)
        assert all_fresh(known), migrations.check(known)
        prepare_rows()
        identity.first_start(empty.portal)
        assert migrations.upgrade(known) == [], "once more is no harm"
        for history in known[1:]:
            own = migrations.tables(history)
            assert own and own <= tables()
            others = tables() - own
            migrations.downgrade(known, history.name, "base")
            assert tables() == others - {history.version_table}, "only what is its own goes"
            assert [state.name for state in migrations.upgrade(known, history.name)] == [history.name]
            assert all_fresh(known)
        migrations.downgrade(known, "", "base")
        assert tables() == set()
        upgrade_all(empty.app)
        assert all_fresh(known)
        prepare_rows()


def test_the_tables_below_others_stay(empty: Bare) -> None:
    with empty.context():
        known = upgrade_all(empty.app)
        before = tables()
        with pytest.raises(migrations.Refused, match=r"clawportal db downgrade base --feature (policies|single_sign_on)"):
            migrations.downgrade(known, "core", "base")
        with pytest.raises(migrations.Refused, match=r"No feature named 'polices'.*Known: core, .*policies"):
            migrations.downgrade(known, "polices", "base")
        assert tables() == before


def test_steps_back_end_at_the_first_revision(empty: Bare) -> None:
    with empty.context():
        known = upgrade_all(empty.app)
        own = next(history for history in known if history.name == "policies")
        there = len(migrations.revisions([own]))
        before = tables()
        with pytest.raises(migrations.Refused, match=f"can go back by {there} revisions only.*`base`"):
            migrations.downgrade(known, "policies", f"-{there + 1}")
        assert tables() == before
        migrations.downgrade(known, "policies", f"-{there}")
        assert tables() == before - migrations.tables(own) - {own.version_table}


def test_a_history_of_somebody_else_beside_ours_is_left_alone(empty: Bare) -> None:
    with empty.context():
        upgrade_all(empty.app)
        with db.engine.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        with db.engine.connect() as connection:
            assert not legacy_tables.present(connection)
        upgrade_all(empty.app)
        assert "alembic_version" in tables()


def test_one_feature_comes_with_those_that_it_requires(empty: Bare) -> None:
    with empty.context():
        known = histories.of(empty.portal.registry.features)
        assert [state.name for state in migrations.upgrade(known, "policies")] == ["core", "policies"]
        assert "policy" in tables() and "oidc_provider" not in tables()


def test_a_check_sees_the_tables_of_its_own_feature_alone(empty: Bare) -> None:
    with empty.context():
        known = upgrade_all(empty.app)
        with db.engine.begin() as connection:
            connection.execute(text("ALTER TABLE policy ADD COLUMN forgotten INTEGER"))
            connection.execute(text("CREATE TABLE of_somebody_else (id INTEGER PRIMARY KEY)"))
        found = {state.name: state for state in migrations.check(known)}
        assert [name for name, state in found.items() if not state.fresh] == ["policies"]
        assert "forgotten" in str(found["policies"].differences)


def test_foreign_keys_point_to_the_core_or_to_what_is_required() -> None:
    known = histories.of(load(BUNDLED).features)
    owners = {table: history for history in known for table in migrations.tables(history)}
    assert set(owners) == {name for name, table in db.metadata.tables.items() if name in owners}
    for name, history in owners.items():
        for key in db.metadata.tables[name].foreign_keys:
            target = owners[key.column.table.name]
            assert target == history or target.name in history.requires, f"{name} refers to {key.column.table.name}"


def test_every_table_of_the_core_has_a_history() -> None:
    owned = {table for history in histories.of(features.register_features()) for table in migrations.tables(history)}
    mapped = {
        str(mapper.local_table) for mapper in Base.registry.mappers if mapper.class_.__module__.startswith("clawportal.models")
    }
    assert mapped == owned


def test_histories_run_after_those_they_require() -> None:
    def feature(name: str, *requires: str, own: bool = True) -> Feature:
        return Feature(name, name, package="clawportal", requires=requires, migrations="translations" if own else "")

    found = histories.of([feature("c", "b"), feature("b", "a", own=False), feature("a"), feature("d")])
    names = [history.name for history in found]
    assert names[0] == "core" and names.index("a") < names.index("c")
    assert next(one for one in found if one.name == "c").requires == {"core", "a"}, "also through one that has no tables"


def test_models_without_migrations_are_refused() -> None:
    with pytest.raises(declarations.Broken, match="models without migrations"):
        declarations.check(Feature("notes", "Notes", package="clawportal_notes", models=("clawportal_notes.models",)))


# ---- plugins that come and go


def test_an_absent_feature_keeps_its_tables(empty: Bare) -> None:
    with empty.context():
        known = upgrade_all(empty.app)
        insert_policy()
        without = histories.of(one for one in empty.portal.registry.features if one.name != "policies")
        assert migrations.absent(without) == {"policies": NEWEST["policies"]} and migrations.absent(known) == {}
        assert migrations.upgrade(without) == [] and all_fresh(without)
        with pytest.raises(migrations.Refused, match=r"policies refer to those of core.*load its plugin"):
            migrations.downgrade(without, "", "base")
        assert migrations.upgrade(known) == [] and all_fresh(known), "back in, all is there again"
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT name FROM policy")) == "office-hours"


def insert_policy() -> None:
    with db.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO policy (id, name, title, enabled, mode, kind, parameters, actions, message, remedy, created_by, "
                "created_at, updated_at) VALUES ('p', 'office-hours', '', true, 'warn', 'window', '{}', '[]', '', '', '', :t, :t)"
            ),
            {"t": "2026-01-01 00:00:00"},
        )


# ---- databases from before


def shape(connection: Connection) -> dict[str, Any]:
    """All that a database says of its tables, without the order of columns."""
    look = inspect(connection)
    return {
        table: (
            sorted((one["name"], str(one["type"]), one["nullable"], str(one["default"])) for one in look.get_columns(table)),
            sorted(map(str, look.get_foreign_keys(table))),
            sorted((str(one["name"]), str(one["column_names"]), str(one["unique"])) for one in look.get_indexes(table)),
            sorted(map(str, look.get_unique_constraints(table))),
            sorted(str(one["sqltext"]) for one in look.get_check_constraints(table)),
            look.get_pk_constraint(table)["constrained_columns"],
        )
        for table in look.get_table_names()
    }


@pytest.mark.parametrize("revision", ["head", "0071", "0006", "0001"])
def test_a_database_from_before_gets_the_same_tables(empty: Bare, revision: str) -> None:
    with empty.context():
        legacy("upgrade", revision)
        before = tables()
        known = upgrade_all(empty.app)
        assert "alembic_version" in before and "alembic_version" not in tables()
        assert migrations.versions() == NEWEST
        assert all_fresh(known), migrations.check(known)
        with db.engine.connect() as connection:
            upgraded = shape(connection)
        migrations.downgrade(known, "", "base")
        upgrade_all(empty.app)
        with db.engine.connect() as connection:
            assert shape(connection) == upgraded


def test_what_a_provider_gave_is_kept(empty: Bare) -> None:
    at = {"t": "2026-01-01 00:00:00"}
    with empty.context():
        legacy("upgrade", "0071")
        with db.engine.begin() as connection:
            for table, values in ROWS_OF_BEFORE.items():
                for row in values:
                    names = ", ".join(row)
                    given = ", ".join(f":{name}" for name in row)
                    times = {name: at["t"] for name, value in row.items() if value == "T"}
                    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({given})"), row | times)
        legacy("upgrade", "head")
        legacy("downgrade", "0071")
        with db.engine.connect() as connection:
            kept = "SELECT oidc_provider_id, oidc_group FROM membership ORDER BY id"
            assert connection.execute(text(kept)).all() == [("prov", "ops"), (None, "")]
        upgrade_all(empty.app)
        with db.engine.connect() as connection:
            rows = connection.execute(text("SELECT source, source_group, source_title FROM membership ORDER BY id")).all()
            assert rows == [("oidc:prov", "ops", "Company SSO"), ("", "", "")]
            rows = connection.execute(text("SELECT source, source_title, vouched FROM user_session ORDER BY id")).all()
            assert [(*row[:2], bool(row[2])) for row in rows] == [("oidc:prov", "Company SSO", True), ("", "", False)]


_ACCOUNT = {"display_name": "", "password_hash": "x", "session_epoch": 1, "must_change_password": False, "active": True,
            "language": "", "theme": "", "created_at": "T", "searched": ""}  # fmt: skip
_SESSION = {"user_id": "u1", "kind": "browser", "epoch": 1, "serial": 1, "address": "", "agent": "", "created_at": "T",
            "last_seen_at": "T", "expires_at": "T"}  # fmt: skip
ROWS_OF_BEFORE: dict[str, list[dict[str, Any]]] = {
    "tenant": [{"id": "t1", "name": "one", "title": "", "created_at": "T", "searched": "one"}],
    "user_account": [{"id": "u1", "name": "ann", "folded": "ann", "skeleton": "ann", **_ACCOUNT}],
    "oidc_provider": [
        {
            "id": "prov", "slug": "sso", "title": "Company SSO", "issuer": "https://sso.example", "client_id": "x", "scopes": "",
            "username_claim": "", "email_claim": "", "name_claim": "", "groups_claim": "", "email_domains": "[]",
            "create_users": False, "link_by_email": False, "second_factor": True, "role": "viewer", "enabled": True,
            "created_at": "T", "updated_at": "T",
        },
    ],
    "membership": [
        {"id": "m1", "user_id": "u1", "tenant_id": "t1", "role": "viewer", "oidc_provider_id": "prov", "oidc_group": "ops"},
        {"id": "m2", "user_id": "u1", "tenant_id": None, "role": "portal-admin", "oidc_provider_id": None, "oidc_group": ""},
    ],
    "user_session": [
        {"id": "s1", "oidc_provider_id": "prov", **_SESSION}, {"id": "s2", "oidc_provider_id": None, **_SESSION},
    ],
}  # fmt: skip


def test_a_table_of_versions_of_somebody_else_is_left_alone(empty: Bare) -> None:
    with empty.context():
        with db.engine.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('cafe')"))
        assert all_fresh(upgrade_all(empty.app))
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "cafe"


# ---- the copy


def test_sqlite_is_copied_before_tables_change(local: Bare) -> None:
    database = local.portal.settings.database_file
    with local.context():
        known = upgrade_all(local.app)
        assert database_copy.made(database) == [], "nothing was there to lose"
        insert_policy()
        for _ in range(database_copy.KEPT + 1):
            migrations.downgrade(known, "single_sign_on", "base")
            migrations.upgrade(known)
    copies = database_copy.made(database)
    assert len(copies) == database_copy.KEPT
    assert all(stat.S_IMODE(copy.stat().st_mode) == 0o600 for copy in copies)
    with closing(sqlite3.connect(copies[-1])) as connection:
        assert connection.execute("SELECT name FROM policy").fetchall() == [("office-hours",)]
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name = 'oidc_provider'").fetchall()


def test_without_room_for_a_copy_nothing_changes(local: Bare) -> None:
    with local.context():
        known = upgrade_all(local.app)
        folder = local.portal.settings.data_dir
        blocked = [folder / f"clawportal.db.before-{number}" for number in range(1)]
        blocked[0].write_bytes(b"")
        broken = folder / "elsewhere.db"
        broken.write_bytes(b"this is no database, but longer than nothing")
        with pytest.raises(database_copy.NoCopy, match=r"elsewhere.db could not be copied .* left as it is"):
            database_copy.make(broken)
        assert list(folder.glob("elsewhere.db.before*")) == [] and all_fresh(known)


# ---- processes: commands, kills, two at once


MODELS = """
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column
from clawportal.db import Base

class Parrot(Base):
    __tablename__ = "parrots_parrot"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
"""
FEATURE = '''
"""Parrots."""
from clawportal import hookimpl
from clawportal.contracts.features import Feature

FEATURE = Feature(
    "parrots", "Parrots", package="clawportal_parrots", models=("clawportal_parrots.models",), migrations="migrations"
)

@hookimpl
def register_features():
    return [FEATURE]
'''
HELD = """
import os
from alembic import op
revision: str = "0002"
down_revision: str = "0001"

def upgrade():
    op.execute("INSERT INTO parrots_parrot (id, tenant_id) SELECT 'half', id FROM tenant")
    open(os.environ["PARROTS_HELD"] + ".begun", "w").close()
    with open(os.environ["PARROTS_HELD"]) as pipe:  # until somebody opens the other end
        pipe.read()

def downgrade():
    op.execute("DELETE FROM parrots_parrot")
"""


class Portal:
    """`clawportal` as processes on one data folder, with a plugin from outside."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder, self.held = folder, folder / "pipe"
        self.plugin = folder / "site" / "clawportal_parrots"
        (self.plugin / "migrations").mkdir(parents=True)
        (self.plugin / "__init__.py").write_text(FEATURE)
        (self.plugin / "models.py").write_text(MODELS)
        self.url = database_url or f"sqlite:///{folder / 'data' / 'clawportal.db'}"
        self.environment = {
            **os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}:{folder / 'site'}",
            "CLAWPORTAL_DATA_DIR": str(folder / "data"), "PARROTS_HELD": str(self.held), "CLAWPORTAL_DATABASE_URL": database_url,
        }  # fmt: skip

    def begin(self, *words: str, plugin: bool = True) -> Command:
        names = ",".join([*BUNDLED, *(["clawportal_parrots"] if plugin else [])])
        return Command(words, self.environment | {"CLAWPORTAL_PLUGINS": names})

    def run(self, *words: str, code: int = 0, plugin: bool = True) -> str:
        process = self.begin(*words, plugin=plugin)
        said = "".join(process.communicate())
        assert process.returncode == code, said
        return said

    def versions(self) -> dict[str, str]:
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return migrations.versions_in(connection)
        finally:
            engine.dispose()

    def old(self) -> str:
        """Revision of the history of before."""
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return str(connection.scalar(text("SELECT version_num FROM alembic_version")))
        except SQLAlchemyError:
            return ""
        finally:
            engine.dispose()

    def kill_at(self, revision: str) -> None:
        """An upgrade of a database from before, as soon as it is that far."""
        process = self.begin("db", "upgrade", plugin=False)
        there = lambda: self.old() >= revision or self.versions() or process.poll() is not None  # noqa: E731  # short-lived
        eventually(there, f"at {revision}", 60, 0.002)
        process.kill()


@pytest.fixture
def portal(tmp_path: Path, database_url: str) -> Iterator[Portal]:
    yield Portal(tmp_path, database_url)


def test_a_plugin_from_outside(portal: Portal) -> None:
    """Its folder of migrations is written, run, checked and left alone by the same commands."""
    portal.run("db", "upgrade", "--first-start", plugin=False)
    assert "parrots_parrot" in Path(portal.run("db", "revision", "Parrots", "--feature", "parrots").split()[-1]).read_text()
    assert [path.name for path in (portal.plugin / "migrations").glob("*.py")] == ["0001_parrots.py"]
    assert "parrots: has no tables yet" in portal.run("db", "check", code=1)
    assert portal.run("db", "upgrade").split("\n")[0] == "parrots: the tables are at 0001 now"
    assert "parrots: at 0001, as the models say" in portal.run("db", "check")
    assert "<- the tables are here" in portal.run("db", "history", "--feature", "parrots")
    for words in (("db", "upgrade"), ("db", "check"), ("doctor",)):
        process = portal.begin(*words, plugin=False)
        said = "".join(process.communicate())
        assert "parrots" in said and "kept as they are" in said, said
    assert portal.versions()["parrots"] == "0001"
    assert "Say with --feature whose tables go back" in portal.run("db", "downgrade", code=2)
    portal.run("db", "downgrade", "base", "--feature", "parrots")
    assert "parrots" not in portal.versions()


def test_killed_between_two_features_and_inside_one(portal: Portal) -> None:
    portal.run("db", "upgrade", "--first-start", plugin=False)
    portal.run("db", "revision", "Parrots", "--feature", "parrots")
    portal.run("db", "downgrade", "base", "--feature", "policies", plugin=False)
    (portal.plugin / "migrations" / "0002_held.py").write_text(textwrap.dedent(HELD))
    os.mkfifo(portal.held)
    process = portal.begin("db", "upgrade")
    eventually(lambda: Path(f"{portal.held}.begun").exists() or process.poll() is not None, "the last revision has begun", 60)
    other = portal.begin("db", "upgrade")  # waits for the first one, and goes on where it was killed
    assert portal.versions() == {**NEWEST, "parrots": "0001"}
    Path(f"{portal.held}.begun").unlink()
    process.kill()
    eventually(lambda: Path(f"{portal.held}.begun").exists() or other.poll() is not None, "the second one goes on", 60)
    with portal.held.open("w") as pipe:
        pipe.write("go on")
    said = "".join(other.communicate())
    assert other.returncode == 0 and "parrots: the tables are at 0002 now" in said, said
    assert portal.versions()["parrots"] == "0002"
    engine = create_engine(portal.url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM parrots_parrot")).all() == [("half",)], "once, not twice"
    engine.dispose()
    portal.run("db", "check")


def test_a_database_from_before_killed_again_and_again(portal: Portal, database_url: str) -> None:
    old = Bare(portal.folder / "data", database_url)
    with old.context():
        legacy("upgrade", "0001")
    old.close()
    reached = set()
    for aim in ("0003", "0006", "0022", "0091"):
        portal.kill_at(aim)
        reached.add(portal.old())
    assert len(reached) > 1
    portal.run("db", "upgrade", plugin=False)
    assert portal.versions() == NEWEST
    portal.run("db", "check", plugin=False)


def test_two_at_once(portal: Portal) -> None:
    both = [portal.begin("db", "upgrade", "--first-start", plugin=False) for _ in range(2)]
    said = ["".join(process.communicate()) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(f"core: the tables are at {CORE} now" in one for one in said) == 1
    assert sum("with password" in one for one in said) == 1, "one first user"
    portal.run("db", "check", plugin=False)


# ---- a quick start


def test_a_ready_database_is_told_without_loading_anything(local: Bare) -> None:
    settings, registry = local.portal.settings, local.portal.registry
    with local.context():
        known = upgrade_all(local.app)
        identity.first_start(local.portal)
        assert not tables_ready.ready(settings), "nobody has noted it yet"
        tables_ready.note(settings, registry, migrations.versions())
        assert tables_ready.ready(settings)
        assert not tables_ready.ready(settings.model_copy(update={"plugins": "clawportal_echo"})), "others are wanted"
        plugin = settings.data_dir / "plugins" / "parrots-1.0.dist-info"
        plugin.mkdir(parents=True)
        (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
        (plugin / "entry_points.txt").write_text("[clawportal]\nparrots = clawportal_parrots\n")
        with_folder = settings.model_copy(update={"plugin_path": str(plugin.parent)})
        assert not tables_ready.ready(with_folder), "there is one more in a folder"
        tables_ready.note(with_folder, registry, migrations.versions())
        assert tables_ready.ready(with_folder) and not tables_ready.ready(settings)
        tables_ready.note(settings, registry, migrations.versions())
        migrations.downgrade(known, "policies", "base")
        assert not tables_ready.ready(settings), "the database says otherwise"
        migrations.upgrade(known)
        assert tables_ready.ready(settings)
    (settings.data_dir / tables_ready.FILE).write_text("{}")
    assert not tables_ready.ready(settings)
