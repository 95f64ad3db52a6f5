"""The audit as a file: CSV for spreadsheets, JSON lines for programs; both made while they are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

COLUMNS = (
    "seq", "at", "actor_name", "actor_kind", "actor_id", "token_id", "action", "object_type", "object_name", "object_id",
    "result", "status", "reason", "times", "summary", "messages", "before", "after", "via", "address", "agent", "request_id",
    "tenant_id", "instance_id", "project_id", "person_id", "read_permission", "prev_hash", "hash",
)  # fmt: skip
"""In the order of reading: who, what, how it ended, what changed, from where, and the proof."""

TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins so is run by spreadsheets, and its text was typed by people."""


def lines(rows: Iterable[Mapping[str, Any]], form: str) -> Iterator[str]:
    return _csv(rows) if form == "csv" else _json(rows)


def _json(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps({name: _plain(row[name]) for name in COLUMNS}, ensure_ascii=False) + "\n"


def _csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield _line(COLUMNS)
    for row in rows:
        yield _line([_cell(_plain(row[name])) for name in COLUMNS])


def _line(cells: Iterable[Any]) -> str:
    held = io.StringIO()
    csv.writer(held).writerow(cells)
    return held.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False) if value else ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
