"""Brings the tables of each feature up to what its models say, and back.

Each revision is a transaction, so that a kill at any line loses one revision at most, and the next upgrade goes on from there.
All but `versions_in` and `states` need an app context.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from clawportal import paths
from clawportal.db import Base, db, writing
from clawportal.histories import CORE, VERSION_TABLES, History
from clawportal.services.system import database_copy, legacy_tables
from clawportal.services.system.upgrade_lock import alone

Versions = dict[str, str]
"""Revision of each history that has tables in the database, by its name."""


_BACK = re.compile(r"-[1-9]\d*")


class Refused(Exception):
    """What was asked for would break the tables; the message says why, and what to do first."""


@dataclass(frozen=True)
class State:
    """Where the tables of one feature are."""

    name: str
    at: str
    """Revision in the database; empty: it has no tables there."""
    newest: str
    """Revision that this version wants."""
    differences: tuple[str, ...] = ()
    """How the tables differ from the models, where that was asked for."""

    @property
    def fresh(self) -> bool:
        return self.at == self.newest and not self.differences


@dataclass(frozen=True)
class Revision:
    history: str
    id: str
    title: str
    here: bool
    """The tables are at this one."""


# ---- what is there


def versions() -> Versions:
    """Of every feature that has tables in this database, loaded or not."""
    with db.engine.connect() as connection:
        return versions_in(connection)


def versions_in(connection: Connection) -> Versions:
    found: Versions = {}
    for table in inspect(connection).get_table_names():
        if table.startswith(VERSION_TABLES):
            rows = connection.execute(text(f'SELECT version_num FROM "{table}" ORDER BY version_num')).scalars().all()  # noqa: S608  # a name that the database gave
            if rows:
                found[table.removeprefix(VERSION_TABLES)] = ", ".join(rows)
    return found


def absent(histories: Iterable[History], found: Versions | None = None) -> Versions:
    """Features whose plugin is not loaded now: their tables are left alone until it is back."""
    known = {history.name for history in histories}
    found = versions() if found is None else found
    return {name: version for name, version in found.items() if name not in known}


def states(histories: Sequence[History], found: Versions | None = None) -> list[State]:
    found = versions() if found is None else found
    return [State(history.name, found.get(history.name, ""), newest(history)) for history in histories]


def newest(history: History) -> str:
    """The revision that no other follows."""
    heads = _script(history).get_heads()
    if len(heads) != 1:
        raise Refused(f"The migrations of {history.name} in {history.folder} have {len(heads)} ends; there must be one.")
    return heads[0]


def known_revisions(histories: Iterable[History]) -> dict[str, set[str]]:
    """All that tables may be at to be upgraded from there, by table of versions; also of databases from before."""
    return {
        history.version_table: {script.revision for script in _script(history).walk_revisions()}
        for history in (*histories, legacy_tables.history())
    }


def ready(histories: Sequence[History]) -> bool:
    """Whether nothing is to be done."""
    with db.engine.connect() as connection:
        return not legacy_tables.present(connection) and all(state.fresh for state in states(histories, versions_in(connection)))


def check(histories: Sequence[History]) -> list[State]:
    """As `states`, and whether tables and models are the same, each feature on its own."""
    found = versions()
    with db.engine.connect() as connection:
        return [
            State(history.name, found.get(history.name, ""), newest(history), tuple(_differences(connection, history)))
            for history in histories
        ]


def _differences(connection: Connection, history: History) -> Iterator[str]:
    context = MigrationContext.configure(connection, opts=_options(connection, history))
    for difference in compare_metadata(context, db.metadata):
        for one in difference if isinstance(difference, list) else [difference]:
            yield " ".join(str(part) for part in one if part is not None)


def revisions(histories: Iterable[History]) -> list[Revision]:
    """All of them, oldest first, in the order in which the histories run."""
    found = versions()
    return [
        Revision(history.name, script.revision, (script.doc or "").splitlines()[0], script.revision == found.get(history.name))
        for history in histories
        for script in reversed(list(_script(history).walk_revisions()))
    ]


# ---- up and down


def upgrade(histories: Sequence[History], name: str = "") -> list[State]:
    """Bring the tables of all features (or of one, with those that it requires) up to this version; says what was done.

    SQLite is copied before anything changes. Can be called again after a kill at any line, and by several at once.
    """
    wanted = _with_required(histories, name) if name else list(histories)
    _let_go()
    with alone(db.engine):
        if ready(wanted):
            return []
        before = versions()
        _copy()
        with opened() as connection:
            legacy_tables.take_over(connection, config)
        for state, history in zip(states(wanted), wanted, strict=True):
            if not state.fresh:
                _upgrade(history)
        return [state for state in states(wanted) if before.get(state.name) != state.at]


def _upgrade(history: History) -> None:
    try:
        with opened() as connection:
            command.upgrade(config(history, connection), "head")
    except SQLAlchemyError as error:
        line = str(getattr(error, "orig", None) or error).splitlines()[0].rstrip(".")
        remedy = (
            "Install clawportal again." if history.name == CORE else "Repair its plugin, or leave it out with CLAWPORTAL_PLUGINS."
        )
        raise Refused(
            f"The tables of {history.name} cannot be brought up to this version, and stay as they are: {line}. {remedy}"
        ) from error


def downgrade(histories: Sequence[History], name: str, revision: str) -> None:
    """Take the tables of one feature back, such as to `-1` or `base`; of all with an empty name, and then only to `base`."""
    _let_go()
    with alone(db.engine):
        back = [named(histories, name)] if name else list(reversed(histories))
        revision = _within(back[0], revision) if name else revision
        _refuse_below(histories, back, revision)
        _copy()
        for history in back:
            if history.name not in versions():
                continue
            with opened() as connection:
                command.downgrade(config(history, connection), revision)
            if history.name not in versions():
                with db.engine.begin() as connection:
                    connection.execute(text(f'DROP TABLE "{history.version_table}"'))


def _let_go() -> None:
    """Whoever waits for another to end must hold no table meanwhile: a read that is open on another connection would hold up the
    one that works, and no database notices that the two wait for each other."""
    db.session.rollback()


def _within(history: History, revision: str) -> str:
    """`-2` where there are as many to go back; `base` where those are all."""
    if not _BACK.fullmatch(revision):
        return revision
    known = revisions([history])
    there = next((place for place, one in enumerate(known, 1) if one.here), 0)
    wanted = int(revision[1:])
    if wanted > there:
        raise Refused(f"The tables of {history.name} can go back by {there} revisions only. Say `base` to take them all away.")
    return "base" if wanted == there else revision


def _refuse_below(histories: Sequence[History], back: Sequence[History], revision: str) -> None:
    """The tables of a feature are not taken from below those that refer to them."""
    if revision != "base":
        return
    found, gone = versions(), {history.name for history in back}
    above = {history.name: history.requires for history in histories} | dict.fromkeys(absent(histories, found), frozenset({CORE}))
    for other, requires in above.items():
        if other in found and other not in gone and requires & gone:
            missing = other not in {history.name for history in histories}
            remedy = "load its plugin, then run" if missing else "run"
            raise Refused(
                f"The tables of {other} refer to those of {', '.join(sorted(requires & gone))}: "
                f"first {remedy} `clawportal db downgrade base --feature {other}`."
            )


def write_revision(history: History, message: str) -> Path:
    """A new revision, with what the models of this feature say and its tables do not have yet."""
    following = max((int(found[0]) for path in history.folder.glob("*.py") if (found := re.match(r"\d+", path.name))), default=0)
    history.folder.mkdir(parents=True, exist_ok=True)
    with opened() as connection:
        script = command.revision(
            config(history, connection), message, autogenerate=True, rev_id=f"{following + 1:04}", version_path=history.folder
        )
    made = script[0] if isinstance(script, list) else script
    if made is None:
        raise Refused(f"Nothing was written for {history.name}.")
    return Path(made.path)


def named(histories: Iterable[History], name: str) -> History:
    known = {history.name: history for history in histories}
    if name not in known:
        raise Refused(f"No feature named {name!r} has tables here. Known: {', '.join(known)}.")
    return known[name]


def _with_required(histories: Sequence[History], name: str) -> list[History]:
    wanted = named(histories, name)
    return [history for history in histories if history == wanted or history.name in wanted.requires]


def _copy() -> None:
    """Only SQLite, which is a file, and only where there is something to lose."""
    database = db.engine.url.database
    if db.engine.dialect.name == "sqlite" and database and database != ":memory:":
        with db.engine.connect() as connection:
            some = bool(inspect(connection).get_table_names())
        if some:
            database_copy.make(Path(database))


# ---- Alembic


@contextlib.contextmanager
def opened() -> Iterator[Connection]:
    """SQLite changes a table by copying and dropping it, and dropping it would delete every row that refers to it."""
    with writing(), db.engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            yield connection
            return
        raw: Any = connection.connection.dbapi_connection  # not through SQLAlchemy: its BEGIN would make the pragma void
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            yield connection
            lost = raw.execute("PRAGMA foreign_key_check").fetchall()
            if lost:
                raise RuntimeError(f"the migration left rows that refer to nothing: {lost[:5]}")
        finally:
            connection.rollback()
            raw.execute("PRAGMA foreign_keys=ON")


def _script(history: History) -> ScriptDirectory:
    return ScriptDirectory.from_config(config(history))


def config(history: History, connection: Connection | None = None) -> Config:
    made = Config()
    for option, value in (("script_location", paths.resource("migrations")), ("version_locations", history.folder)):
        made.set_main_option(option, str(value).replace("%", "%%"))
    made.set_main_option("path_separator", "newline")
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    if connection is not None:
        made.attributes["options"] = {"connection": connection, **_options(connection, history)}
    return made


def _options(connection: Connection, history: History) -> dict[str, Any]:
    own = tables(history)
    return {
        "target_metadata": db.metadata,
        "version_table": history.version_table,
        "include_name": lambda name, kind, _parents: kind != "table" or name in own,
        "include_object": lambda _item, name, kind, _reflected, _other: kind != "table" or name in own,
        "render_as_batch": True,  # SQLite changes tables by copying them
        "render_item": _render,
        "compare_type": True,
        "transaction_per_migration": True,
        "transactional_ddl": True,  # SQLite can, as our connections say BEGIN themselves
    }


def _render(kind: str, item: Any, _autogen: Any) -> str | bool:
    """Migrations must not import the code of today: column types of our own are plain ones in the database."""
    return f"sa.{item.impl!r}" if kind == "type" and type(item).__module__.startswith("clawportal") else False


def tables(history: History) -> frozenset[str]:
    """Names of the tables that the models of this feature have."""
    for module in history.modules:
        importlib.import_module(module)
    return frozenset(str(mapper.local_table) for mapper in Base.registry.mappers if mapper.class_.__module__ in history.modules)
