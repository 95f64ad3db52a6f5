"""Databases from before each feature had migrations of its own: one history over all tables, in `alembic_version`.

It is run to its end, from whatever revision; then the new histories begin at their first revision, which makes the same tables.
"""

from __future__ import annotations

from collections.abc import Callable

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from clawportal import paths
from clawportal.histories import VERSION_TABLES, History

_TABLE = "alembic_version"
_SPLIT = ("core", "policies", "single_sign_on")
"""The features whose tables it had, also where their plugin is left out now."""
_FIRST = "0001"


class _Legacy(History):
    @property
    def version_table(self) -> str:
        return _TABLE


def history() -> History:
    return _Legacy("legacy", paths.resource("migrations") / "legacy")


def present(connection: Connection) -> bool:
    """Whether the database was made before; an `alembic_version` of somebody else in the same database is left alone,
    also beside tables of ours."""
    names = inspect(connection).get_table_names()
    return _TABLE in names and "user_account" in names and f"{VERSION_TABLES}core" not in names


def take_over(connection: Connection, config: Callable[[History, Connection], Config]) -> None:
    """Upgrade such a database to the end of its history, and note where each feature goes on from, in one transaction."""
    there = present(connection)
    connection.rollback()
    if not there:
        return
    command.upgrade(config(history(), connection), "head")
    connection.commit()  # where nothing was left to be done, only a look is open
    with connection.begin():
        for name in _SPLIT:
            table = f"{VERSION_TABLES}{name}"
            connection.execute(
                text(f"CREATE TABLE {table} (version_num VARCHAR(32) NOT NULL, CONSTRAINT {table}_pkc PRIMARY KEY (version_num))")
            )
            connection.execute(text(f"INSERT INTO {table} (version_num) VALUES (:first)"), {"first": _FIRST})  # noqa: S608  # our own names
        connection.execute(text(f"DROP TABLE {_TABLE}"))
