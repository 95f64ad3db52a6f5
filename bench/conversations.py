"""Conversations: the first words of an answer through portal and store beside those straight from the claw; a long one opened."""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench.portal import Portal

ROUNDS = 60
LONG = 1000
TEXT = "The quick brown fox jumps over **the lazy dog**, and writes it down in `fox.txt`.\n" * 5


def run() -> list[dict[str, Any]]:
    with Portal() as portal:
        claw = portal.call("POST", "/api/v1/instances", {"name": "talker", "adapter": "echo"})
        while (claw := portal.call("GET", f"/api/v1/instances/{claw['id']}"))["phase"] != "running":
            time.sleep(0.05)
        token, talk = _token(claw["id"]), portal.call("POST", "/api/v1/conversations", {"instance": claw["id"]})["id"]
        address = urlsplit(claw["endpoints"][0]["url"])
        straight, kept, core = list[float](), list[float](), list[float]()
        for number in range(ROUNDS + 5):  # by turns, so that all meet the same load; the first five warm up
            found = (
                _straight(str(address.hostname), int(address.port or 0), token),
                _kept(portal, talk),
                _core(portal, claw["id"]),
            )
            if number >= 5:
                for row, value in zip((straight, kept, core), found, strict=True):
                    row.append(value)
        _fill(portal, talk)
        short = portal.call("POST", "/api/v1/conversations", {"instance": claw["id"], "title": "short"})["id"]
        opened, middle, empty = (
            _timed(portal, f"/api/v1/conversations/{which}") for which in (
                f"{talk}/messages?limit=50", f"{talk}/messages?limit=50&before={LONG // 2}", f"{short}/messages?limit=50",
            )
        )  # fmt: skip
    alone = statistics.median(straight)
    return [
        _row("first words straight from the claw", alone, alone),
        _row("through the portal, not kept (POST .../chat)", statistics.median(core), alone),
        _row("through portal and store (goal: at most 15 ms later)", statistics.median(kept), alone),
        _row("the same, later by", statistics.median(kept) - alone, alone),
        _row(f"a conversation of {LONG:,} messages opens, newest 50 (goal: 200)", opened, empty),
        _row("50 from its middle", middle, empty),
        _row("one without messages", empty, empty),
    ]


def _row(what: str, seconds: float, one: float) -> dict[str, Any]:
    return {"what": what, "ms": round(seconds * 1000, 1), "ratio": round(seconds / one, 2)}


def _timed(portal: Portal, path: str) -> float:
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        portal.call("GET", path)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _token(instance_id: str) -> str:
    """The claw's own, which it has in its environment alone."""
    for process in psutil.process_iter():
        try:
            if f"/instances/{instance_id}/" in " ".join(process.cmdline()) and (found := process.environ().get("ECHO_TOKEN")):
                return str(found)
        except psutil.Error:
            continue
    raise RuntimeError("the claw is not there")


def _straight(host: str, port: int, token: str) -> float:
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        begin = time.perf_counter()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", "/chat", json.dumps({"session": "bench", "text": "hello"}), headers)
        connection.getresponse().readline()
        return time.perf_counter() - begin


def _lines(portal: Portal, method: str, path: str, body: Any = None) -> Iterator[str]:
    with closing(http.client.HTTPConnection("127.0.0.1", portal.port, timeout=30)) as connection:
        headers = {"Authorization": f"Bearer {portal.token}", "Accept": "text/event-stream", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        yield f"status {answer.status}"
        while line := answer.readline():
            yield line.decode().strip()


def _until(lines: Iterator[str], wanted: str) -> None:
    for line in lines:
        if line == f"event: {wanted}":
            return
    raise RuntimeError(f"no {wanted} came")


def _kept(portal: Portal, talk: str) -> float:
    """As the page does it: it follows already, says something, and waits for the first words."""
    stream = _lines(portal, "GET", f"/api/v1/conversations/{talk}/events")
    next(stream)
    next(stream)  # the first sign of life: it follows
    begin = time.perf_counter()
    portal.call("POST", f"/api/v1/conversations/{talk}/messages", {"text": "hello"})
    _until(stream, "delta")
    taken = time.perf_counter() - begin
    _until(stream, "ended")
    stream.close()  # type: ignore[attr-defined]  # a generator
    return taken


def _core(portal: Portal, instance_id: str) -> float:
    begin = time.perf_counter()
    stream = _lines(portal, "POST", f"/api/v1/instances/{instance_id}/chat", {"text": "hello", "session": "bench"})
    _until(stream, "delta")
    taken = time.perf_counter() - begin
    _until(stream, "final")
    stream.close()  # type: ignore[attr-defined]  # a generator
    return taken


def _fill(portal: Portal, talk: str) -> None:
    """Makes it long by copies of its last message."""
    with closing(sqlite3.connect(portal.data_dir / "clawportal.db", timeout=30)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(conversations_message)")]
        last = "SELECT * FROM conversations_message WHERE conversation_id = ? ORDER BY position DESC LIMIT 1"
        row = dict(zip(columns, database.execute(last, (talk,)).fetchone(), strict=True))
        more = ({"id": f"{number:026d}", "position": row["position"] + 1 + number, "text": TEXT} for number in range(LONG))
        rows = [row | one for one in more]
        marks = ", ".join(f":{name}" for name in columns)
        database.executemany(f"INSERT INTO conversations_message VALUES ({marks})", rows)  # names of our own columns
        database.execute("UPDATE conversations_conversation SET position = position + ? WHERE id = ?", (LONG, talk))
        database.commit()
