"""The list of instances, API and page, at 100 to 10,000 instances, beside a bare Flask view that answers the same JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import load
from bench.portal import PASSWORD, Portal, free_port

SIZES = (100, 1_000, 10_000)

_BARE = """
import json
from flask import Flask, jsonify
app = Flask(__name__)
document = json.load(open({path!r}))
@app.get("/bare")
def bare():
    return jsonify(document)
"""


def run() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with Portal(CLAWPORTAL_JOBS="false") as portal:
        headers = {"Authorization": f"Bearer {portal.token}", "Accept": "application/json"}
        page_headers = {"Cookie": session_cookie(portal), "Accept": "text/html"}
        have = 0
        for size in SIZES:
            seed(portal, have, size)
            have = size
            # a first round warms caches and the threads of the server; only the second is kept
            for keep in (False, True):
                seconds = 4.0 if keep else 1.0
                api = _asked(portal, "/api/v1/instances?limit=50", headers, seconds)
                page = _asked(portal, "/instances", page_headers, seconds)
            rows += [_row("API list of 50", size, *api), _row("list page", size, *page)]
        rows += _last_pages(portal, headers, page_headers)
        _, body = portal.raw("GET", "/api/v1/instances?limit=50")
        bare = _bare(body)
        rows.append(_row("bare Flask view, same JSON", 50, bare))
    return _ratios(rows, bare)


def _asked(portal: Portal, path: str, headers: dict[str, str], seconds: float) -> tuple[load.Result, float]:
    """What the clients saw, and the milliseconds of CPU that the portal spent on an answer: the machine may be busy."""
    before = portal.cpu_seconds()
    found = load.ask(portal.port, path, headers, seconds=seconds)
    return found, 1000 * (portal.cpu_seconds() - before) / (found.per_second * seconds)


def _last_pages(portal: Portal, headers: dict[str, str], page_headers: dict[str, str]) -> list[dict[str, Any]]:
    """Pages at the beginning, in the middle and at the end, in turn; the better of two rounds: the machine may be busy."""
    first = json.loads(portal.raw("GET", "/api/v1/instances?limit=50")[1])
    middle = json.loads(portal.raw("GET", f"/api/v1/instances?limit=50&offset={SIZES[-1] // 2}")[1])["next"]
    asked = {
        "API, first page": "/api/v1/instances?limit=50",
        "API, last page by offset": f"/api/v1/instances?limit=50&offset={SIZES[-1] - 50}",
        "API, middle by offset": f"/api/v1/instances?limit=50&offset={SIZES[-1] // 2}",
        "API, middle by cursor": f"/api/v1/instances?limit=50&cursor={middle}",
        "list page, first": "/instances",
        "list page, last by offset": f"/instances?offset={SIZES[-1] - 50}",
    }
    assert first["total"] == SIZES[-1]
    best: dict[str, tuple[load.Result, float]] = {}
    for _round in range(2):
        for what, path in asked.items():
            found = _asked(portal, path, headers if path.startswith("/api") else page_headers, 3.0)
            if what not in best or found[1] < best[what][1]:
                best[what] = found
    return [_row(what, SIZES[-1], *found) for what, found in best.items()]


def _row(what: str, size: int, result: load.Result, cpu: float | None = None) -> dict[str, Any]:
    return {"what": what, "instances": size, "p50 ms": round(result.p50, 1), "p95 ms": round(result.p95, 1),
            "requests/s": round(result.per_second), "CPU ms": "" if cpu is None else round(cpu, 2),
            "KB": round(result.bytes / 1000, 1)}  # fmt: skip


def _ratios(rows: list[dict[str, Any]], bare: load.Result) -> list[dict[str, Any]]:
    first = {row["what"]: row["p50 ms"] for row in rows if row["instances"] == SIZES[0]}
    for row in rows:
        row["of bare"] = round(row["requests/s"] / bare.per_second, 2)
        row["p50 to smallest"] = round(row["p50 ms"] / first.get(row["what"], row["p50 ms"]), 2)
    return rows


def session_cookie(portal: Portal, name: str = "bench") -> str:
    """Sign in as a browser does."""
    import re

    import httpx

    with httpx.Client(base_url=f"http://127.0.0.1:{portal.port}", follow_redirects=False, trust_env=False) as browser:
        page = browser.get("/login").text
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page) or re.search(
            r'name="csrf-token" content="([^"]+)"', page
        )
        assert found, "the sign-in page has no CSRF token"
        browser.post("/login", data={"csrf_token": found[1], "username": name, "password": PASSWORD})
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def seed(portal: Portal, have: int, want: int) -> None:
    """Rows of running instances, straight into the tables: the list does not know the difference."""
    from sqlalchemy import create_engine, insert, select

    from clawportal import clock
    from clawportal.ids import new_id
    from clawportal.models import Cluster, Instance, PortalSetting, Project

    engine = create_engine(f"sqlite:///{portal.data_dir / 'clawportal.db'}")
    with engine.begin() as connection:
        project = connection.execute(select(Project.id, Project.tenant_id)).first()
        cluster = connection.execute(select(Cluster.id)).scalar()
        assert project is not None
        if not have:
            connection.execute(insert(PortalSetting).values(name="setup_done", value=True, updated_at=clock.now()))
        values = [
            {
                "id": new_id(), "tenant_id": project.tenant_id, "project_id": project.id, "cluster_id": cluster,
                "name": f"claw-{number:05}", "adapter": "echo" if number % 3 else "nanobot",
                "version": "1.0" if number % 3 else "0.3.5", "spec": {}, "phase": "running", "sync": "synced",
                "health": "healthy", "observed_generation": 1, "due_at": None, "created_at": clock.now(), "labels": {},
            }
            for number in range(have, want)
        ]  # fmt: skip
        if values:
            connection.execute(insert(Instance), values)
    engine.dispose()


def _bare(body: bytes) -> load.Result:
    """The same JSON from a Flask view that does nothing else, behind the same kind of server."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "document.json").write_text(json.dumps(json.loads(body)))
        Path(folder, "bare.py").write_text(_BARE.format(path=str(Path(folder, "document.json"))))
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "-k", "gthread", "-w", "1", "--threads", "64", "--no-control-socket",
                   "--bind", f"127.0.0.1:{port}", "--log-level", "error", "bare:app"]  # fmt: skip
        server = subprocess.Popen(command, cwd=folder, env=dict(os.environ), stdin=subprocess.DEVNULL)
        try:
            _await(port)
            load.ask(port, "/bare", {}, seconds=1.0)
            return load.ask(port, "/bare", {}, seconds=4.0)
        finally:
            server.terminate()
            server.wait(10)


def _await(port: int) -> None:
    import socket

    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the bare server did not start")
