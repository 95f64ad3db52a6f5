"""Logs through the API: as JSON, as a file, and live as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from flask import Flask
from sqlalchemy import QueuePool

from clawportal import clock, redact
from clawportal.db import db
from clawportal.errors import Invalid
from clawportal.services.configuration import secrets
from clawportal.services.live import logs
from tests.conftest import Person, Server, make_person, make_tenant, portal_of, wait_for


@pytest.fixture
def talker(server: Server) -> str:
    """A claw that writes a line every fifth of a second."""
    made = server.admin.create("talker", spec={"settings": {"log_every": 0.2}})
    server.admin.reaches(made["id"], "running")
    return str(made["id"])


class Stream:
    """A reader of server-sent events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, Any, str]:
        """Name, data and id of the next event; `comment` for a heartbeat."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                fields["event"] = "comment"
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                return fields["event"], json.loads(fields.get("data", "null")), fields.get("id", "")
        return "end", None, ""

    def lines(self, count: int) -> tuple[list[list[str]], str]:
        """At least so many lines, and the id of the last event."""
        found: list[list[str]] = []
        while len(found) < count:
            name, data, event_id = self.next()
            assert name in ("lines", "comment"), (name, data)
            found += data["lines"] if name == "lines" else []
        return found, event_id


@contextmanager
def following(server: Server, instance_id: str, query: str = "", **headers: str) -> Iterator[Stream]:
    address = f"{server.url}/api/v1/instances/{instance_id}/logs?follow=true{query}"
    with httpx.stream("GET", address, headers={**server.admin.headers, **headers}, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream"), answer.read()
        yield Stream(answer)


# ---- the last lines


def test_the_last_lines(server: Server, talker: str) -> None:
    wait_for(lambda: len(server.admin.get(f"instances/{talker}/logs").get_json()["lines"]) > 5)
    lines = server.admin.get(f"instances/{talker}/logs?tail=3").get_json()["lines"]
    assert len(lines) == 3
    assert set(lines[0]) == {"at", "stream", "source", "level", "text"}
    assert (lines[0]["stream"], lines[0]["source"]) == ("stdout", "echo")
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)


def test_levels_and_since(server: Server, talker: str) -> None:
    wait_for(lambda: server.admin.get(f"instances/{talker}/logs?level=debug").get_json()["lines"])
    found = server.admin.get(f"instances/{talker}/logs?level=info").get_json()["lines"]
    assert {line["level"] for line in found} == {"info"}
    assert server.admin.get(f"instances/{talker}/logs?level=error").get_json()["lines"] == []
    since = found[-1]["at"]
    newer = server.admin.get(f"instances/{talker}/logs?since={since}").get_json()["lines"]
    assert newer[0]["at"] >= since
    assert server.admin.get(f"instances/{talker}/logs?since=1h").get_json()["lines"]


def test_the_file(server: Server, talker: str) -> None:
    wait_for(lambda: server.admin.get(f"instances/{talker}/logs").get_json()["lines"])
    for ask in ({"path": f"instances/{talker}/logs?download=true"},
                {"path": f"instances/{talker}/logs", "headers": {"Accept": "text/plain"}}):  # fmt: skip
        answer = server.admin.get(**ask)
        assert answer.content_type == "text/plain; charset=utf-8"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="talker.log"'
        first = answer.get_data(as_text=True).splitlines()[0].split(" ")
        assert first[0].endswith("Z") and first[1:3] == ["stdout", "echo"]


def test_secrets_of_the_instance_are_masked(server: Server, talker: str) -> None:
    with server.app.app_context():
        secrets.store(portal_of(server.app), talker, {"model_api_key": "messages so far"})
    wait_for(lambda: "alive" in server.admin.get(f"instances/{talker}/logs").get_data(as_text=True))
    for text in (
        server.admin.get(f"instances/{talker}/logs").get_data(as_text=True),
        server.admin.get(f"instances/{talker}/logs?download=true").get_data(as_text=True),
    ):
        assert redact.MASK in text and "messages so far" not in text
    with following(server, talker) as stream:
        assert "messages so far" not in str(stream.lines(2))


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("tail=-1", "tail"),
        ("tail=10001", "tail"),
        ("tail=x", "tail"),
        ("since=yesterday", "since"),
        ("since=2026-11-23T08:30:00", "since"),
        ("level=loud", "level"),
        ("follow=perhaps", "follow"),
        ("tial=1", "tial"),
    ],
)
def test_bad_questions(admin: Person, query: str, path: str) -> None:
    instance_id = admin.create("quiet", start=False)["id"]
    refused = admin.get(f"instances/{instance_id}/logs?{query}")
    assert (refused.status_code, refused.get_json()["errors"][0]["path"]) == (422, path)


def test_rights(running_app: Flask) -> None:
    make_tenant(running_app, "acme")
    owner = make_person(running_app, "owner", "tenant-admin", "default")
    instance_id = owner.create("quiet", start=False)["id"]
    for role, tenant, status in (("viewer", "default", 403), ("developer", "default", 200), ("tenant-admin", "acme", 404)):
        person = make_person(running_app, f"{role}-{tenant}", role, tenant)
        for query in ("", "?download=true"):
            answer = person.get(f"instances/{instance_id}/logs{query}")
            assert answer.status_code == status, (role, query)
            answer.close()
        if status != 200:
            assert person.get(f"instances/{instance_id}/logs?follow=true").status_code == status


def test_a_time_as_people_write_it() -> None:
    assert logs.parse_since("") is None
    for text, ago in (("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)):
        found = logs.parse_since(text)
        assert found is not None and abs(clock.now() - found - timedelta(seconds=ago)) < timedelta(seconds=5)
    assert str(logs.parse_since("2026-11-23T08:30:00Z")) == "2026-11-23 08:30:00+00:00"
    assert str(logs.parse_since("2026-11-23T08:30:00 02:00")) == "2026-11-23 08:30:00+02:00"  # a plus that a URL lost
    for text in ("10", "m", "-5m", "10y", "999999999d", "99999999d", "²m", "0001-01-01T00:00:00"):
        with pytest.raises(Invalid):
            logs.parse_since(text)


# ---- live


def test_follow_shows_the_tail_then_what_comes(server: Server, talker: str) -> None:
    with following(server, talker, "&tail=2") as stream:
        assert stream.next()[0] == "comment"
        lines, _ = stream.lines(8)
    kept = [line["text"] for line in server.admin.get(f"instances/{talker}/logs?tail=1000").get_json()["lines"]]
    texts = [row[4] for row in lines]
    times = [row[0] for row in lines]
    assert times == sorted(times)
    begin = next(place for place in range(len(kept)) if kept[place : place + len(texts)] == texts)
    assert begin >= 0


def test_a_reader_who_comes_back_misses_nothing_and_gets_nothing_twice(server: Server, talker: str) -> None:
    with following(server, talker, "&tail=1000") as stream:
        before, event_id = stream.lines(4)
    time.sleep(0.7)
    with following(server, talker, **{"Last-Event-ID": event_id}) as stream:
        after, _ = stream.lines(4)
    kept = server.admin.get(f"instances/{talker}/logs?tail=1000").get_json()["lines"]
    seen = [(row[0], row[4]) for row in [*before, *after]]
    assert [(line["at"], line["text"]) for line in kept][: len(seen)] == seen


def test_the_reader_ends_when_the_caller_goes(server: Server, talker: str) -> None:
    hub, counted = portal_of(server.app).logs, server.app.extensions["clawportal_viewers"]
    with following(server, talker) as one, following(server, talker) as two:
        one.lines(1)
        two.lines(1)
        assert (hub.readers, counted.count) == (1, 2)
    wait_for(lambda: (hub.readers, counted.count) == (0, 0), what="nobody reads")


@pytest.mark.slow
def test_a_quiet_log_has_heartbeats(server: Server) -> None:
    instance_id = server.admin.create("quiet", start=False)["id"]
    server.admin.reaches(instance_id, "stopped")
    with following(server, instance_id) as stream:
        begin = time.monotonic()
        assert stream.next()[0] == "comment"
        assert stream.next()[0] == "comment"
        assert 5 < time.monotonic() - begin < 15


def test_following_holds_no_database_connection(server: Server, talker: str) -> None:
    with server.app.app_context():
        pool = db.engine.pool
    assert isinstance(pool, QueuePool)
    with following(server, talker) as one, following(server, talker) as two:
        one.lines(2)
        two.lines(2)
        wait_for(lambda: pool.checkedout() == 0, what="no connection is in use")  # background work uses one now and then


def test_follow_only_grave_lines(server: Server) -> None:
    made = server.admin.create("crash", spec={"settings": {"exit_after": 1, "log_every": 0.2}, "restart": "never"})
    with following(server, made["id"], "&level=error") as stream:
        lines, _ = stream.lines(1)
    assert {row[3] for row in lines} == {"error"}
    assert "leaving with code 1" in lines[0][4]


def test_bad_resume_point(admin: Person) -> None:
    instance_id = admin.create("quiet", start=False)["id"]
    refused = admin.get(f"instances/{instance_id}/logs?follow=true", headers={"Last-Event-ID": "nonsense"})
    assert (refused.status_code, refused.get_json()["errors"][0]["path"]) == (422, "Last-Event-ID")
