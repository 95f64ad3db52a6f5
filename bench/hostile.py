"""What hostile claws cost: memory of the portal while they drip, flood and never end a line, and how long others wait."""

from __future__ import annotations

import os
import statistics
import threading
import time
from typing import Any

from bench.portal import Portal
from clawportal.pluginmanager import BUNDLED

MINUTES = float(os.environ.get("HOSTILE_MINUTES", "5"))
OF_EACH = 4
MANNERS = ("drip", "drip_headers", "giant_line", "many_lines", "flood")


def run() -> list[dict[str, Any]]:
    plugins = ",".join((*BUNDLED, "bench.hostile_claws"))
    with Portal(CLAWPORTAL_PLUGINS=plugins, CLAWPORTAL_HEALTH_SECONDS="5") as portal:
        team = portal.call("POST", "/api/v1/tenants", {"name": "others", "title": "Others"})["id"]
        project = portal.call("POST", "/api/v1/projects", {"name": "main", "tenant": team})["id"]
        time.sleep(5)
        before = portal.memory()[0]
        claws = [_hostile(portal, manners, number) for manners in MANNERS for number in range(OF_EACH)]
        over = threading.Event()
        callers = [threading.Thread(target=_bother, args=(portal, claw, over), daemon=True) for claw in claws]
        for caller in callers:
            caller.start()
        sampled, waits = _watch(portal, project)
        over.set()
    beside = f"beside {len(claws)} hostile claws for {MINUTES:g} minutes"
    return [
        _row("portal alone, resident", before, "MB"),
        _row(f"{beside}, median", statistics.median(sampled), "MB"),
        _row(f"{beside}, largest sample (goal: 250)", max(sampled), "MB"),
        _row(f"{len(waits)} echo claws of others, create to running, median", statistics.median(waits), "s"),
        _row("the same, slowest", max(waits), "s"),
    ]


def _row(what: str, value: float, unit: str) -> dict[str, Any]:
    return {"what": what, "value": round(value, 2), "unit": unit}


def _hostile(portal: Portal, manners: str, number: int) -> str:
    body = {"name": f"{manners.replace('_', '-')}-{number}", "adapter": "hostile", "spec": {"settings": {"manners": manners}}}
    return str(portal.call("POST", "/api/v1/instances", body)["id"])


def _bother(portal: Portal, claw: str, over: threading.Event) -> None:
    """Chats with it and reads its log, for as long as it lasts."""
    while not over.is_set():
        for method, path, body in (("POST", "chat", {"text": "hello"}), ("GET", "logs?tail=10000", None)):
            try:
                portal.raw(method, f"/api/v1/instances/{claw}/{path}", body)
            except OSError:
                pass  # the answer takes longer than this caller waits
        over.wait(0.2)


def _watch(portal: Portal, project: str) -> tuple[list[float], list[float]]:
    sampled, waits = list[float](), list[float]()
    end, number = time.monotonic() + MINUTES * 60, 0
    while time.monotonic() < end:
        begin = time.monotonic()
        made = portal.call("POST", "/api/v1/instances", {"name": f"calm-{number}", "adapter": "echo", "project": project})["id"]
        while portal.call("GET", f"/api/v1/instances/{made}")["phase"] != "running":
            sampled.append(portal.memory()[0])
            time.sleep(0.1)
        waits.append(time.monotonic() - begin)
        portal.call("DELETE", f"/api/v1/instances/{made}")
        number += 1
        for _ in range(10):
            sampled.append(portal.memory()[0])
            time.sleep(0.5)
    return sampled, waits
