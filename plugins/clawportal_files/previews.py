"""What can be shown of a file: text, pictures, documents, sound, and the beginning of tables. Bounded; nothing in it is run."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from clawportal.sdk.bounded import parse_json
from clawportal_files.places import written

Kind = Literal["picture", "document", "sound", "film"]
ROWS, COLUMNS, CELL = 200, 50, 500
_TABLES = 50
_STEPS = 2_000_000
"""Of SQLite's machine, for one table: a view can be made to take for ever."""
_STRIDE = 1000
_SECONDS = 3.0
"""For a whole database."""
_LONGEST = 256 << 10
"""Bytes of one value of a database: a few letters of SQL can ask for gigabytes."""
SHOWN: Mapping[str, tuple[Kind, str]] = {
    "png": ("picture", "image/png"), "jpg": ("picture", "image/jpeg"), "jpeg": ("picture", "image/jpeg"),
    "gif": ("picture", "image/gif"), "webp": ("picture", "image/webp"), "avif": ("picture", "image/avif"),
    "bmp": ("picture", "image/bmp"), "ico": ("picture", "image/x-icon"), "pdf": ("document", "application/pdf"),
    "mp3": ("sound", "audio/mpeg"), "m4a": ("sound", "audio/mp4"), "ogg": ("sound", "audio/ogg"), "oga": ("sound", "audio/ogg"),
    "opus": ("sound", "audio/ogg"), "wav": ("sound", "audio/wav"), "flac": ("sound", "audio/flac"),
    "mp4": ("film", "video/mp4"), "webm": ("film", "video/webm"),
}  # fmt: skip
"""What a browser shows as it is, by the ending of a name. SVG is text: as a page of its own it could run scripts."""
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
    return ["" if value is None else written(str(value)[:CELL]) for value in values[:COLUMNS]]


def _csv(text: str, separator: str) -> list[Table]:
    try:
        rows = list(islice(csv.reader(io.StringIO(text), delimiter=separator), ROWS + 2))
    except csv.Error:
        return []
    return [Table("", _cells(rows[0]), [_cells(row) for row in rows[1 : ROWS + 1]], len(rows) > ROWS + 1)] if rows else []


def _json_lines(text: str) -> list[Table]:
    lines = list(islice((line for line in text.splitlines() if line.strip()), ROWS + 1))
    try:
        found = [parse_json(line) for line in lines[:ROWS]]
    except ValueError:
        return []
    dicts = [item if isinstance(item, dict) else {"": item} for item in found]
    head = list(dict.fromkeys(key for item in dicts for key in item))[:COLUMNS]
    rows = [_cells([_shown(item.get(key)) for key in head]) for item in dicts]
    return [Table("", _cells(head), rows, len(lines) > ROWS)] if head else []


def _shown(value: object) -> object:
    try:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value
    except RecursionError:  # what could just be read may be too deep to be written
        return "…"


class _Patience:
    """Ends what SQLite does: each question after so many steps, and all of them together after a time."""

    def __init__(self, seconds: float) -> None:
        self._until, self._left = time.monotonic() + seconds, 0
        self.again()

    def again(self) -> None:
        self._left = _STEPS

    def __call__(self) -> bool:
        """Whether it is enough."""
        self._left -= _STRIDE
        return self._left < 0 or time.monotonic() > self._until


def _sqlite(raw: bytes) -> list[Table]:
    """A copy that nothing writes to, opened without its extensions and with an end to each question."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "copy.db"
        file.write_bytes(raw)
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)) as base:
                return list(_of_base(base, _bounded(base)))
        except (sqlite3.Error, ValueError):
            return []


def _bounded(base: sqlite3.Connection) -> _Patience:
    """Before anything is asked: the schema is read with the first question, and is of whoever made the file."""
    patience = _Patience(_SECONDS)
    base.set_progress_handler(patience, _STRIDE)
    base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    base.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, CELL)
    base.text_factory = lambda value: value.decode(errors="replace")
    base.execute("PRAGMA trusted_schema=OFF")
    base.execute("PRAGMA query_only=ON")
    return patience


def _of_base(base: sqlite3.Connection, patience: _Patience) -> Iterator[Table]:
    """Tables that lie in the file; virtual ones are programs that read what the file says."""
    wanted = "SELECT CAST(name AS TEXT) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name LIMIT ?"
    for (name,) in base.execute(wanted, (_TABLES,)).fetchall():
        patience.again()
        try:
            head = _stored(base, name)
            if head:
                yield _first_rows(base, name, head)
        except (sqlite3.Error, ValueError):  # a name with a NUL is no SQL
            continue


def _stored(base: sqlite3.Connection, table: str) -> list[str]:
    """The first columns that are in the file: what is computed may take any time and memory."""
    columns = base.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden IN (0, 3) LIMIT ?", (table, COLUMNS))
    return [name for (name,) in columns]


def _first_rows(base: sqlite3.Connection, table: str, head: Sequence[str]) -> Table:
    """Row by row, so that never more than one is held as it is in the file; up to the first that is too large or broken."""
    rows: list[list[str]] = []
    try:
        found = base.execute(f"SELECT {', '.join(map(_quoted, head))} FROM {_quoted(table)}")  # noqa: S608  # names of the file, quoted
        for row in islice(found, ROWS):
            rows.append(_cells(_plain(row)))
        more = next(found, None) is not None
    except sqlite3.Error:
        more = True
    return Table(_cells([table])[0], _cells(head), rows, more)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(row: Sequence[object]) -> list[object]:
    return [f"({len(value)} bytes)" if isinstance(value, bytes) else value for value in row]
