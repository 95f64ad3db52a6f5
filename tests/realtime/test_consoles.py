"""Consoles, samples and ports over real websockets, with a real claw."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import simple_websocket
from sqlalchemy import select, update

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.engine import console_hub
from clawportal.models import ApiToken, AuditEntry
from clawportal.services.live import tickets
from tests.conftest import Person, Server, make_person, make_tenant, portal_of, wait_for
from tests.realtime.conftest import Browser
from tests.realtime.lines import Line

MakeBrowser = Callable[..., Browser]


@pytest.fixture
def claw(server: Server) -> str:
    made = server.admin.create("shelled")
    server.admin.reaches(made["id"], "running")
    return str(made["id"])


def shown(one: Browser) -> str:
    replay = b"".join(told["replay"] for told in one.all("opened"))
    return (replay + b"".join(told["data"] for told in one.all("output"))).decode("utf-8", "replace")


def opened(browser: MakeBrowser, person: Person, claw: str, **more: Any) -> Browser:
    one = browser("/console", person)
    one.say("open", {"instance_id": claw, "columns": 90, "rows": 20, **more})
    one.hears("opened", 40)
    return one


def test_a_shell_answers_and_its_end_is_told(browser: MakeBrowser, server: Server, claw: str) -> None:
    one = opened(browser, server.admin, claw)
    one.say("input", {"data": "echo $((6*7)); stty size\n"})
    wait_for(lambda: "42" in shown(one) and "20 90" in shown(one), what="the shell answers")
    one.say("resize", {"columns": 120, "rows": 40})
    one.say("input", {"data": b"stty size\n"})
    wait_for(lambda: "40 120" in shown(one), what="the new size is known")
    one.say("input", {"data": "exit 7\n"})
    assert one.hears("ended")["code"] == 7
    wait_for(lambda: _events(server, claw) == ["instance.console_closed", "instance.console_opened"], what="both are events")
    with server.app.app_context():
        told = [entry.action for entry in db.session.scalars(select(AuditEntry)) if "console" in entry.action]
    assert told == ["instance.console_open", "instance.console_close"]


def _events(server: Server, claw: str) -> list[str]:
    told = server.admin.get(f"instances/{claw}/events?limit=50").get_json()["items"]
    return [entry["kind"] for entry in told if "console" in entry["kind"]]


def test_a_break_keeps_the_shell_and_what_it_showed(browser: MakeBrowser, server: Server, claw: str) -> None:
    first = opened(browser, server.admin, claw)
    first.say("input", {"data": "MARK=still-here; echo before\n"})
    wait_for(lambda: shown(first).count("before") >= 2, what="it answers")
    console_id = first.all("opened")[0]["console_id"]
    first.client.disconnect()
    again = opened(browser, server.admin, claw, console_id=console_id)
    assert again.all("opened")[0]["console_id"] == console_id and "before" in shown(again)
    again.say("input", {"data": "echo $MARK\n"})
    wait_for(lambda: shown(again).count("still-here") >= 2, what="it is the same shell")


def test_what_is_sent_again_after_a_break_arrives_once(browser: MakeBrowser, server: Server, claw: str) -> None:
    first = opened(browser, server.admin, claw)
    for number, data in ((1, "echo one"), (2, "-two\n"), (2, "-two\n"), (1, "echo one")):
        first.say("input", {"data": data, "number": number})
    wait_for(lambda: "one-two" in shown(first).splitlines(), what="it answers")
    console_id = first.all("opened")[0]["console_id"]
    first.client.disconnect()
    again = opened(browser, server.admin, claw, console_id=console_id)
    assert again.all("opened")[0]["typed"] == 2
    for number, data in ((2, "-two\n"), (3, "echo three\n")):
        again.say("input", {"data": data, "number": number})
    wait_for(lambda: "three" in shown(again).splitlines(), what="what is new arrives")
    assert "-two: " not in shown(again)  # the shell would have looked for such a program
    again.say("input", {"data": "x", "number": "four"})
    assert "1, 2, 3" in again.hears("problem")["detail"]


def test_another_person_cannot_take_a_console_over(browser: MakeBrowser, server: Server, claw: str) -> None:
    mine = opened(browser, server.admin, claw).all("opened")[0]["console_id"]
    other = make_person(server.app, "second-admin", "portal-admin")
    theirs = opened(browser, other, claw, console_id=mine)
    assert theirs.all("opened")[0]["console_id"] != mine


def test_those_without_the_right_get_nowhere(browser: MakeBrowser, server: Server, claw: str) -> None:
    make_tenant(server.app, "elsewhere")
    stranger = make_person(server.app, "stranger", "tenant-admin", "elsewhere")
    one = browser("/console", stranger)
    one.say("open", {"instance_id": claw})
    assert "no instance" in one.hears("problem")["detail"]
    for wrong in ({}, {"instance_id": claw, "columns": "wide"}, {"instance_id": 3}):
        one.say("open", wrong)
    wait_for(lambda: len(one.all("problem")) == 4, what="each is told")
    operator = make_person(server.app, "watcher", "operator", "default")
    with pytest.raises(Exception, match=r"forbidden|refused|One or more namespaces"):
        browser("/console", operator)


def test_idle_consoles_are_closed_and_their_number_is_limited(browser: MakeBrowser, server: Server, claw: str) -> None:
    many = [opened(browser, server.admin, claw) for _ in range(console_hub.MAX_OF_ONE)]
    more = browser("/console", server.admin)
    more.say("open", {"instance_id": claw})
    assert "Close one first" in more.hears("problem")["detail"]
    console = portal_of(server.app).consoles.get(many[0].all("opened")[0]["console_id"])
    assert console is not None
    console.touched = time.monotonic() - console_hub.IDLE_SECONDS - 1
    assert "Nobody typed" in many[0].hears("ended")["reason"]


def test_samples_come_while_somebody_looks(browser: MakeBrowser, server: Server, claw: str) -> None:
    one = browser("/metrics", server.admin)
    one.say("join", {"instance_id": claw})
    sample = one.hears("sample", 40)
    assert sample["instance_id"] == claw and sample["memory_bytes"] > 1_000_000
    make_tenant(server.app, "far-away")
    other = browser("/metrics", make_person(server.app, "far", "viewer", "far-away"))
    other.say("join", {"instance_id": claw})
    assert "no instance" in other.hears("problem")["detail"]


# ---- without Socket.IO


def line(server: Server, person: Person, path: str) -> Line:
    url = f"{server.url.replace('http', 'ws')}/api/v1/instances/{path}"
    return Line.connect(url, headers={"Authorization": f"Bearer {person.token}"})


def test_plain_websockets_carry_logs_samples_shells_and_ports(server: Server, claw: str) -> None:
    logs = line(server, server.admin, f"{claw}/logs/stream?tail=5")
    assert any("listening" in row[4] for row in json.loads(logs.receive(timeout=10))["lines"])
    logs.close()
    samples = line(server, server.admin, f"{claw}/metrics/stream")
    assert json.loads(samples.receive(timeout=40))["memory_bytes"] > 1_000_000
    samples.close()
    shell = line(server, server.admin, f"{claw}/console?columns=70&rows=10")
    shell.send(b"stty size; exit 4\n")
    told: list[Any] = []
    try:
        while True:
            told.append(shell.receive(timeout=10))
    except simple_websocket.ConnectionClosed:
        pass
    assert b"10 70" in b"".join(piece for piece in told if isinstance(piece, bytes))
    assert json.loads(next(piece for piece in told if isinstance(piece, str)))["code"] == 4
    port = line(server, server.admin, f"{claw}/connect/http")
    port.send(b"GET /health HTTP/1.0\r\n\r\n")
    assert b"200 OK" in port.receive(timeout=10)


def test_streams_refuse_in_words_what_is_no_websocket_and_strangers(server: Server, claw: str) -> None:
    make_tenant(server.app, "next-door")
    stranger = make_person(server.app, "guest", "tenant-admin", "next-door")
    for path in ("logs/stream", "metrics/stream", "console", "connect/http"):
        answer = server.admin.get(f"instances/{claw}/{path}")
        assert answer.status_code == 400 and "WebSocket" in answer.get_json()["detail"]
        with pytest.raises(simple_websocket.ConnectionError) as caught:
            line(server, stranger, f"{claw}/{path}")
        assert caught.value.status_code == 404


def ticketed(server: Server, path: str) -> Line:
    """Without a cookie, without a header."""
    return Line.connect(f"{server.url.replace('http', 'ws')}{path}")


def refused(server: Server, path: str) -> int:
    with pytest.raises(simple_websocket.ConnectionError) as caught:
        ticketed(server, path)
    return int(caught.value.status_code)


def test_a_ticket_opens_one_console_once(server: Server, claw: str) -> None:
    made = server.admin.post(f"instances/{claw}/console")
    assert made.status_code == 201, made.get_data(as_text=True)
    told = made.get_json()
    assert told["url"].startswith("ws://") and told["url"].endswith(told["path"]) and told["ticket"] in told["path"]
    other = server.admin.create("other")["id"]
    assert refused(server, told["path"].replace(claw, other)) == 401, "it is for one instance"
    assert refused(server, f"/api/v1/instances/{claw}/console?ticket={told['ticket'][:-6]}AAAAAA") == 401
    assert refused(server, f"/api/v1/instances/{claw}/console?ticket=%FF") == 401
    shell = ticketed(server, f"{told['path']}&columns=71&rows=11")
    shell.send(b"stty size; exit 3\n")
    pieces: list[Any] = []
    with contextlib.suppress(simple_websocket.ConnectionClosed):
        while True:
            pieces.append(shell.receive(timeout=10))
    assert b"11 71" in b"".join(piece for piece in pieces if isinstance(piece, bytes))
    assert refused(server, told["path"]) == 401, "it is spent"
    late = server.admin.post(f"instances/{claw}/console").get_json()
    clock.travel(tickets.LIFE + timedelta(seconds=1))
    try:
        assert refused(server, late["path"]) == 401, "it is too old"
    finally:
        clock.travel(-tickets.LIFE - timedelta(seconds=1))


def test_a_ticket_is_worth_what_its_owner_may_now(server: Server, claw: str) -> None:
    viewer = make_person(server.app, "looker", "viewer", "default")
    assert viewer.post(f"instances/{claw}/console").status_code in (403, 404)
    make_tenant(server.app, "beside")
    assert make_person(server.app, "beside", "tenant-admin", "beside").post(f"instances/{claw}/console").status_code == 404
    admin = make_person(server.app, "going", "tenant-admin", "default")
    told = admin.post(f"instances/{claw}/console").get_json()
    with server.app.app_context(), transaction():
        db.session.execute(update(ApiToken).where(ApiToken.user_id == admin.actor.id).values(revoked_at=clock.now()))
    assert refused(server, told["path"]) == 401, "the token by which it was asked for is revoked"
    server.admin.post(f"instances/{claw}/stop")
    server.admin.reaches(claw, "stopped")
    assert server.admin.post(f"instances/{claw}/console").status_code == 409
