"""A snapshot of the portal's schema in PostgreSQL, and putting it into an empty one; no program of PostgreSQL is needed.

Everything is read in one REPEATABLE READ transaction: statements that make the tables again as they are (also those of plugins
that are not loaded), then each table by COPY. It is put back in one transaction too, so that a kill leaves nothing. Keys between
tables are made after all rows are there; what they refer to is checked then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clawportal.services.backup.archive import BackupError, Stream

if TYPE_CHECKING:
    from psycopg import Connection
    from sqlalchemy import URL

BEFORE, TABLE, AFTER = "postgres/before", "postgres/table", "postgres/after"
_LOCK = 0x636C6177_70727400
"""Of whoever restores into a database."""

_TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
       a.attidentity::text, a.attgenerated::text,
       CASE WHEN a.attcollation <> t.typcollation THEN quote_ident(c.collname) END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = quote_ident(%s)::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_SEQUENCES = """
SELECT s.relname, format_type(q.seqtypid, NULL), q.seqincrement, t.relname, a.attname, coalesce(d.deptype::text, '')
FROM pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid
LEFT JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE s.relnamespace = current_schema()::regnamespace ORDER BY s.relname"""
_CONSTRAINTS = """
SELECT quote_ident(t.relname), quote_ident(c.conname), pg_get_constraintdef(c.oid, true) FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid
WHERE c.connamespace = current_schema()::regnamespace AND c.contype IN ('p', 'u', 'c', 'x', 'f')
ORDER BY strpos('puxcf', c.contype::text), t.relname, c.conname"""
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid, 0, true) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
WHERE x.relnamespace = current_schema()::regnamespace
AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
ORDER BY x.relname"""
_FUNCTIONS = """
SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind IN ('f', 'p')
AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY p.proname"""
_TRIGGERS = """
SELECT pg_get_triggerdef(g.oid, true) FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
WHERE t.relnamespace = current_schema()::regnamespace AND NOT g.tgisinternal ORDER BY g.tgname"""
_OBJECTS = """
SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
       quote_ident(relname)
FROM pg_class c WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i'))
UNION ALL
SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure::text
FROM pg_proc p WHERE pronamespace = current_schema()::regnamespace AND prokind IN ('f', 'p')
AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"""


@contextmanager
def connected(address: URL, *, autocommit: bool = False) -> Iterator[Connection[Any]]:
    """One connection, and one transaction that is committed where nothing was raised."""
    import psycopg

    plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=autocommit) as connection:
        yield connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ---- out


@contextmanager
def snapshot(address: URL) -> Iterator[Connection[Any]]:
    """A connection that goes on seeing one moment; the tables cannot be changed or dropped meanwhile, their rows can."""
    with connected(address) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for name in tables(connection):
            connection.execute(f"LOCK TABLE {_quoted(name)} IN ACCESS SHARE MODE")
        yield connection


def tables(connection: Connection[Any]) -> list[str]:
    return [str(row[0]) for row in connection.execute(_TABLES).fetchall()]


def versions(connection: Connection[Any], names: Iterable[str]) -> dict[str, list[str]]:
    query = "SELECT version_num FROM {} ORDER BY 1"
    return {name: [str(row[0]) for row in connection.execute(query.format(_quoted(name))).fetchall()] for name in names}


def size(connection: Connection[Any]) -> int:
    """Bytes of all tables, about what their rows take."""
    found = connection.execute(
        "SELECT coalesce(sum(pg_table_size(oid)), 0) FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind = 'r'"
    ).fetchone()
    return int(found[0]) if found else 0


def statements(connection: Connection[Any]) -> tuple[bytes, bytes]:
    """What makes the tables, and what is made once their rows are there; as JSON lists."""
    own = f"{_one(connection, 'SELECT quote_ident(current_schema())')}."
    free, owned, values = _sequences(connection)
    before = [*free, *(_create(connection, name) for name in tables(connection)), *owned]
    after = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" for table, name, text in connection.execute(_CONSTRAINTS)]
    after += [row[0] for row in connection.execute(_INDEXES)]
    # a function is told with its schema; it is made in whatever schema it is restored into
    after += [row[0].replace(f" {own}", " ", 1) for row in connection.execute(_FUNCTIONS)]
    after += [row[0] for row in connection.execute(_TRIGGERS)]
    return json.dumps(before).encode(), json.dumps(after + values).encode()


def _one(connection: Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _sequences(connection: Connection[Any]) -> tuple[list[str], list[str], list[str]]:
    """Statements before the tables, after them, and after the rows."""
    free, owned, values, value = [], [], [], "SELECT last_value, is_called FROM {}"
    for name, kind, step, table, column, bond in connection.execute(_SEQUENCES).fetchall():
        if bond != "i":  # that of an identity column is made with it
            free.append(f"CREATE SEQUENCE {_quoted(name)} AS {kind} INCREMENT {step}")
        if bond == "a":
            owned.append(f"ALTER SEQUENCE {_quoted(name)} OWNED BY {_quoted(table)}.{_quoted(column)}")
        last, called = connection.execute(value.format(_quoted(name))).fetchone() or (1, False)
        target = _quoted(name).replace("'", "''")
        values.append(f"SELECT setval('{target}', {last}, {'true' if called else 'false'})")
    return free, owned, values


def _create(connection: Connection[Any], table: str) -> str:
    columns = [_column(*row) for row in connection.execute(_COLUMNS, [table]).fetchall()]
    return f"CREATE TABLE {_quoted(table)} ({', '.join(columns)})"


def _column(
    name: str, kind: str, required: bool, default: str | None, identity: str, generated: str, collation: str | None
) -> str:
    parts = [_quoted(name), kind, f"COLLATE {collation}" if collation else "", "NOT NULL" if required else ""]
    if generated:
        parts.append(f"GENERATED ALWAYS AS ({default}) STORED")
    elif identity:
        parts.append(f"GENERATED {'ALWAYS' if identity == 'a' else 'BY DEFAULT'} AS IDENTITY")
    elif default is not None:
        parts.append(f"DEFAULT {default}")
    return " ".join(part for part in parts if part)


def columns(connection: Connection[Any], table: str) -> list[str]:
    """Those that are stored, not computed."""
    return [row[0] for row in connection.execute(_COLUMNS, [table]).fetchall() if not row[5]]


def rows(connection: Connection[Any], table: str, names: Iterable[str]) -> Iterator[bytes]:
    """In COPY's own text format."""
    listed = ", ".join(map(_quoted, names))
    with connection.cursor() as cursor, cursor.copy(f"COPY {_quoted(table)} ({listed}) TO STDOUT") as copy:
        for piece in copy:
            yield bytes(piece)


# ---- in


def objects(connection: Connection[Any]) -> list[tuple[str, str]]:
    """Kind and name of all that is in the schema and belongs to no extension."""
    return [(str(kind), str(name)) for kind, name in connection.execute(_OBJECTS).fetchall()]


def clear(connection: Connection[Any]) -> None:
    """Drop all that is in the schema: only what an interrupted restore left."""
    for kind, name in sorted(objects(connection), key=lambda one: one[0] != "TABLE"):
        connection.execute(f"DROP {kind} IF EXISTS {name} CASCADE")


def begin(connection: Connection[Any]) -> None:
    """Alone until the end of the transaction."""
    if not _one(connection, f"SELECT pg_try_advisory_xact_lock({_LOCK})"):
        raise BackupError("Another restore into this database is running.")


def take(connection: Connection[Any], stream: Stream) -> None:
    """The next stream of the database."""
    if stream.name == TABLE:
        return _load(connection, stream)
    for statement in json.loads(b"".join(stream.pieces)):
        connection.execute(statement)
    return None


def _load(connection: Connection[Any], stream: Stream) -> None:
    listed = ", ".join(map(_quoted, stream.about["columns"]))
    with connection.cursor() as cursor, cursor.copy(f"COPY {_quoted(stream.about['table'])} ({listed}) FROM STDIN") as copy:
        for piece in stream.pieces:
            copy.write(piece)
