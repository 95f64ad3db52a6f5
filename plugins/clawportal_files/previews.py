"""What can be shown of a file: text, pictures, and the beginning of tables. Bounded, and nothing in it is run."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote

ROWS, COLUMNS, CELL = 200, 50, 500
_TABLES = 50
_STEPS = 2_000_000
"""Of SQLite's machine, for one question: a view can be made to take for ever."""
PICTURES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp", "bmp": "image/bmp",
    "ico": "image/x-icon",
}  # fmt: skip
"""By the ending of a name. SVG is text: as a page of its own it could run scripts."""
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: bool
    """There are further rows."""


def ending(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def text_of(raw: bytes) -> str | None:
    """None for what is no text."""
    if b"\0" in raw:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def tables_of(name: str, raw: bytes) -> list[Table]:
    """CSV, JSON lines and SQLite; empty for anything else, and for what is broken."""
    if raw.startswith(_SQLITE):
        return _sqlite(raw)
    text = text_of(raw)
    if text is None:
        return []
    if ending(name) in ("csv", "tsv"):
        return _csv(text, "\t" if ending(name) == "tsv" else ",")
    return _json_lines(text) if ending(name) in ("jsonl", "ndjson") else []


def _cells(values: Sequence[object]) -> list[str]:
    return ["" if value is None else str(value)[:CELL] for value in values[:COLUMNS]]


def _csv(text: str, separator: str) -> list[Table]:
    try:
        rows = list(islice(csv.reader(io.StringIO(text), delimiter=separator), ROWS + 2))
    except csv.Error:
        return []
    return [Table("", _cells(rows[0]), [_cells(row) for row in rows[1 : ROWS + 1]], len(rows) > ROWS + 1)] if rows else []


def _json_lines(text: str) -> list[Table]:
    lines = list(islice((line for line in text.splitlines() if line.strip()), ROWS + 1))
    try:
        found = [json.loads(line) for line in lines[:ROWS]]
    except ValueError:
        return []
    dicts = [item if isinstance(item, dict) else {"": item} for item in found]
    head = list(dict.fromkeys(key for item in dicts for key in item))[:COLUMNS]
    rows = [_cells([_shown(item.get(key)) for key in head]) for item in dicts]
    return [Table("", _cells(head), rows, len(lines) > ROWS)] if head else []


def _shown(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _sqlite(raw: bytes) -> list[Table]:
    """A copy that nothing writes to, opened without its extensions and with an end to each question."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "copy.db"
        file.write_bytes(raw)
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)) as base:
                base.execute("PRAGMA trusted_schema=OFF")
                base.execute("PRAGMA query_only=ON")
                base.text_factory = lambda value: value.decode(errors="replace")
                return list(_of_base(base))
        except sqlite3.Error:
            return []


def _of_base(base: sqlite3.Connection) -> Iterator[Table]:
    names = base.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name LIMIT ?", (_TABLES,)).fetchall()
    for (name,) in names:
        left = iter(range(_STEPS // 1000))
        base.set_progress_handler(lambda left=left: next(left, None) is None, 1000)  # type: ignore[misc]  # bound early
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            found = base.execute(f"SELECT * FROM {quoted} LIMIT {ROWS + 1}")  # noqa: S608  # a name out of the file, quoted
            rows = found.fetchall()
        except sqlite3.Error:
            continue
        head = _cells([column[0] for column in found.description])
        yield Table(name, head, [_cells(_plain(row)) for row in rows[:ROWS]], len(rows) > ROWS)


def _plain(row: Sequence[object]) -> list[object]:
    return [f"({len(value)} bytes)" if isinstance(value, bytes) else value for value in row]
