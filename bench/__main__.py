"""`python -m bench [part ...]`: measure, print, keep the figures. Without a name all parts, which are listed below."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import (
    apps,
    audit,
    console,
    conversations,
    fanout,
    files,
    hostile,
    idle,
    kubernetes,
    life,
    lists,
    rights,
    serving,
    walls,
)

PARTS = {
    "lists": lists.run, "life": life.run, "idle": idle.run, "fanout": fanout.run, "audit": audit.run, "rights": rights.run,
    "kubernetes": kubernetes.run, "console": console.run, "walls": walls.run, "serving": serving.run, "hostile": hostile.run,
    "conversations": conversations.run,
    "apps": apps.run,
    "files": files.run,
}  # fmt: skip
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return {"cores": os.cpu_count(), "cpu": cpu, "system": platform.platform(), "python": platform.python_version(),
            "load at start": round(os.getloadavg()[0], 2), "at": time.strftime("%Y-%m-%d %H:%M")}  # fmt: skip


def show(name: str, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=name, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console(width=140).print(table)


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    unknown = set(wanted) - set(PARTS)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}. Known: {', '.join(PARTS)}")
    RESULTS.mkdir(exist_ok=True)
    found: dict[str, Any] = {"machine": machine()}
    for name in wanted:
        found[name] = PARTS[name]()
        show(name, found[name])
    file = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.write_text(json.dumps(found, indent=1))
    print(f"kept in {file}")


if __name__ == "__main__":
    main()
