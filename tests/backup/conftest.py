"""A portal on each database with something in it, and the commands as an operator runs them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import inspect, text

from clawportal.app import create_app, prepare_rows, stop_jobs
from clawportal.db import db
from clawportal.services.backup import recovery
from clawportal.settings import Settings
from tests.conftest import make_people, portal_of
from tests.core.conftest import database_url, postgres
from tests.core.migrating import upgrade_all

__all__ = ["database_url", "postgres"]


@dataclass
class Portal:
    """A portal with tables of its migrations, and the secret half of its recovery key."""

    app: Flask
    folder: Path
    secret: str
    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Settings for a command on this portal."""
        return {"DATABASE_URL": self.url} if self.url else {}


def migrated(folder: Path, url: str = "") -> Flask:
    app = create_app(Settings(data_dir=folder, database_url=url, jobs=False, log_level="warning"))
    with app.app_context():
        upgrade_all(app)
        prepare_rows()
    return app


@pytest.fixture
def closing_apps() -> Iterator[Callable[[Flask], Flask]]:
    made: list[Flask] = []

    def keep(app: Flask) -> Flask:
        made.append(app)
        return app

    yield keep
    for app in made:
        stop_jobs(app)
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def portal(tmp_path: Path, database_url: str, closing_apps: Callable[[Flask], Flask]) -> Portal:
    """On each database, with people in two tenants, secrets, and a table of a plugin that is not loaded."""
    folder = tmp_path / "first"
    app = closing_apps(migrated(folder, database_url))
    public, secret = recovery.make()
    recovery.write(folder, recovery.public_of(public))
    people = make_people(app)
    people.admin.create("kept", labels={"team": "blue"})
    with app.app_context():
        add_table_of_absent_plugin()
    return Portal(app, folder, secret, database_url)


def add_table_of_absent_plugin() -> None:
    """With what a plugin may bring: a number of its own, a key into the core, an index over some rows, a check, a default."""
    number = "SERIAL PRIMARY KEY" if db.engine.dialect.name == "postgresql" else "INTEGER PRIMARY KEY AUTOINCREMENT"
    statements = [
        f"CREATE TABLE notes_note (id {number}, tenant_id VARCHAR(26) NOT NULL REFERENCES tenant (id) ON DELETE CASCADE, "
        "text VARCHAR(200) DEFAULT 'a \"b\"' NOT NULL, done BOOLEAN, CONSTRAINT ck_short CHECK (length(text) < 100))",
        "CREATE UNIQUE INDEX uq_notes_open ON notes_note (tenant_id, text) WHERE done IS NULL",
        "CREATE TABLE notes_alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        "INSERT INTO notes_alembic_version VALUES ('n7')",
        "INSERT INTO notes_note (tenant_id, text) SELECT id, '1' FROM tenant",
        "INSERT INTO notes_note (tenant_id, text, done) SELECT id, 'tab\there, line\nend, back\\slash, 中文', true FROM tenant",
    ]
    with db.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def content(app: Flask) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, as the database compares them."""
    with app.app_context(), db.engine.connect() as connection:
        names = inspect(connection).get_table_names()
        found = {name: [tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))] for name in names}
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def shape(app: Flask) -> dict[str, Any]:
    """Columns, keys, checks and indexes of all tables."""
    with app.app_context(), db.engine.connect() as connection:
        look = inspect(connection)
        return {
            name: (
                [{**column, "type": str(column["type"])} for column in look.get_columns(name)],
                look.get_pk_constraint(name), sorted(map(str, look.get_foreign_keys(name))),
                sorted(map(str, look.get_check_constraints(name))), sorted(map(_words, look.get_indexes(name))),
            )
            for name in look.get_table_names()
        }  # fmt: skip


def _words(index: Any) -> str:
    """Conditions as text: they are objects that are never equal."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return str({**index, "dialect_options": options})


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of 8 MiB."""
    import subprocess

    folder = Path(tempfile.mkdtemp(prefix="small-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def service(app: Flask) -> Any:
    return portal_of(app)
