"""What the portal costs while nothing happens: memory alone, CPU with two hundred running claws, and how fast commands answer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from bench.portal import Portal

CLAWS = 200
WATCH = 60.0
"""Seconds; two rounds of the slowest timer."""


def run() -> list[dict[str, Any]]:
    with Portal() as portal:
        first = [portal.first_page]
        for _ in range(2):
            portal.stop()
            portal.start()
            first.append(portal.first_page)
        time.sleep(5)
        rss, pss = portal.memory()
        rows: list[dict[str, Any]] = [
            {"what": "clawportal serve to its first page", "value": round(statistics.median(first), 2), "unit": "s"},
            {"what": "idle portal, resident memory", "value": round(rss, 1), "unit": "MB"},
            {"what": "idle portal, proportional memory", "value": round(pss, 1), "unit": "MB"},
        ]
        _fill(portal)
        before, begin = portal.cpu_seconds(), time.perf_counter()
        time.sleep(WATCH)
        share = 100 * (portal.cpu_seconds() - before) / (time.perf_counter() - begin)
        rss, pss = portal.memory()
        rows += [
            {"what": f"portal with {CLAWS} running claws, CPU", "value": round(share, 2), "unit": "% of a core"},
            {"what": f"portal with {CLAWS} running claws, resident memory", "value": round(rss, 1), "unit": "MB"},
        ]
    rows.append({"what": "claw --help", "value": round(_help("clawportal.cli.claw"), 3), "unit": "s"})
    rows.append({"what": "clawportal --help", "value": round(_help("clawportal.cli.server"), 3), "unit": "s"})
    return rows


def _fill(portal: Portal) -> None:
    for number in range(CLAWS):
        portal.call("POST", "/api/v1/instances", {"name": f"idle-{number}", "adapter": "echo"})
    end = time.monotonic() + 300
    while portal.call("GET", "/api/v1/instances?limit=1&phase=running")["total"] < CLAWS:
        if time.monotonic() > end:
            raise RuntimeError("not all claws run")
        time.sleep(1)
    time.sleep(10)


def _help(module: str) -> float:
    def once() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", module, "--help"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin

    once()
    return statistics.median(once() for _ in range(5))
