"""How the `claw` command shows things: aligned columns for people, JSON for scripts, colours only where they are wanted."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from clawportal.cli.remote import clean

_COLOURS = {
    "running": "green", "succeeded": "green", "healthy": "green", "synced": "green",
    "failed": "red", "unhealthy": "red", "error": "red",
    "degraded": "yellow", "out-of-sync": "yellow", "warning": "yellow", "cancelled": "yellow",
    "stopped": "bright_black", "destroyed": "bright_black",
}  # fmt: skip


def colours() -> bool:
    """https://no-color.org, and never into a pipe."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as they need to be; the last one may run on."""
    cells = [[clean(_text(value)).replace("\n", " ") for value in row] for row in rows]
    widths = [max([_width(title), *(_width(row[place]) for row in cells)]) for place, title in enumerate(head)]
    click.echo(_line(head, widths, bold=True))
    for row in cells:
        click.echo(_line(row, widths))


def _line(row: Sequence[str], widths: Sequence[int], *, bold: bool = False) -> str:
    last = len(row) - 1
    padded = [text if place == last else text + " " * (widths[place] - _width(text)) for place, text in enumerate(row)]
    if colours():
        padded = [
            click.style(text, bold=bold, fg=None if bold else _COLOURS.get(word)) for text, word in zip(padded, row, strict=True)
        ]
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items()) or "-"
    return str(value)


def word(text: str) -> str:
    """A state, coloured by what it means."""
    return click.style(text, fg=_COLOURS[text]) if colours() and text in _COLOURS else text


def as_json(document: Any) -> None:
    import json

    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def as_yaml(document: Any) -> None:
    import yaml

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())


def age(text: str | None) -> str:
    """How long ago, short: 40s, 5m, 3h, 12d."""
    if not text:
        return "-"
    from datetime import UTC, datetime

    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (seconds >= size and unit == "d"):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(number: int | None) -> str:
    """Memory as people read it."""
    if number is None:
        return "-"
    amount = float(number)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


INSTANCE_HEAD = ("NAME", "TYPE", "PHASE", "HEALTH", "AGE", "MESSAGE")
WIDE_HEAD = (
    "NAME", "TYPE", "VERSION", "PHASE", "HEALTH", "SYNC", "CPU", "MEMORY", "RESTARTS", "PROJECT", "CLUSTER", "LABELS", "AGE",
    "ID", "MESSAGE",
)  # fmt: skip


def instance_row(item: Mapping[str, Any]) -> Sequence[Any]:
    return (item["name"], item["adapter"], item["phase"], item["health"], age(item["created_at"]), item["message"])


def wide_row(item: Mapping[str, Any]) -> Sequence[Any]:
    usage = item["usage"] or {}
    cpu = usage.get("cpu_percent")
    return (
        item["name"], item["adapter"], item["version"], item["phase"], item["health"], item["sync"],
        None if cpu is None else f"{cpu:.0f}%", size(usage.get("memory_bytes")), item["restart_count"], item["project"]["name"],
        item["cluster"]["name"], ",".join(f"{name}={value}" for name, value in item["labels"].items()),
        age(item["created_at"]), item["id"], item["message"],
    )  # fmt: skip


def fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """Name and value below each other; empty values are left out."""
    known = [(name, clean(_text(value))) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in known), default=0)
    for name, text in known:
        click.echo(f"{name:<{width}}  {word(text)}")
