"""Folders of a claw, API and page, at 100 to 10,000 entries; the goal is 500 ms for the page of the largest."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from statistics import median
from typing import Any

from bench.lists import session_cookie
from bench.portal import Portal

SIZES = (100, 1_000, 10_000)
_ROUNDS = 15


def run() -> list[dict[str, Any]]:
    with Portal() as portal:
        made = portal.call("POST", "/api/v1/instances", {"name": "files", "adapter": "echo"})["id"]
        folder = portal.data_dir / "clusters" / "local" / "instances" / made / "work"
        until = time.monotonic() + 60
        while not folder.is_dir():
            if time.monotonic() > until:
                raise SystemExit("the claw got no folders within a minute")
            time.sleep(0.1)
        cookie = {"Cookie": session_cookie(portal), "Accept": "text/html"}
        _set_up(portal)
        return [row for size in SIZES for row in _measured(portal, made, folder, size, cookie)]


def _set_up(portal: Portal) -> None:
    """Past the first-run page, which stands before all others."""
    [base] = portal.data_dir.glob("*.db")
    with closing(sqlite3.connect(base, timeout=30)) as tables, tables:
        at = time.strftime("%Y-%m-%d %H:%M:%S")
        sql = "INSERT OR REPLACE INTO portal_setting (name, value, updated_at) VALUES ('setup_done', 'true', ?)"
        tables.execute(sql, (at,))


def _measured(portal: Portal, made: str, folder: Any, size: int, cookie: dict[str, str]) -> list[dict[str, Any]]:
    (folder / f"many-{size}").mkdir()
    for number in range(size):
        (folder / f"many-{size}" / f"file-{number:05}.txt").write_text("x")
    path = f"path=work/many-{size}"
    asked = {
        "page, first": (f"/instances/{made}/files?{path}", cookie),
        "page, last": (f"/instances/{made}/files?{path}&offset={size}", cookie),
        "search by name": (f"/instances/{made}/files?{path}&q=00", cookie),
    }
    return [{"what": what, "entries": size, **_times(portal, *how)} for what, how in asked.items()]


def _times(portal: Portal, path: str, headers: dict[str, str]) -> dict[str, Any]:
    found = []
    for _ in range(_ROUNDS):
        before = time.perf_counter()
        status, _ = portal.raw("GET", path, headers=headers)
        if status != 200:
            raise SystemExit(f"{path} answered {status}")
        found.append(1000 * (time.perf_counter() - before))
    return {"p50 ms": round(median(found), 1), "worst ms": round(max(found), 1)}
