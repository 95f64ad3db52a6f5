"""/logs over real websockets with a real claw."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest
import simple_websocket
import socketio
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request, TextMessage

from clawportal.db import db, transaction
from clawportal.http.streams import Viewers
from clawportal.models import Membership
from tests.conftest import Server, make_person, make_tenant, portal_of, wait_for
from tests.realtime.conftest import Browser
from tests.realtime.lines import Line

MakeBrowser = Callable[..., Browser]


@pytest.fixture
def talker(server: Server) -> str:
    """A claw that writes a line every fifth of a second."""
    made = server.admin.create("talker", spec={"settings": {"log_every": 0.2}})
    server.admin.reaches(made["id"], "running")
    return str(made["id"])


def test_tail_then_live_lines(browser: MakeBrowser, server: Server, talker: str) -> None:
    one = browser("/logs", server.admin)
    one.say("join", {"instance_id": talker, "tail": 1000})
    wait_for(lambda: len(one.texts()) > 10, what="lines come")
    batch = one.all("lines")[0]
    assert (batch["instance_id"], batch["dropped"]) == (talker, 0)
    at, stream, source, level, _ = next(row for told in one.all("lines") for row in told["lines"] if "alive" in row[4])
    assert (stream, source, level) == ("stdout", "echo", "info") and at.endswith("Z")
    times = [row[0] for told in one.all("lines") for row in told["lines"]]
    assert times == sorted(times)
    kept = server.admin.get(f"instances/{talker}/logs?tail=1000").get_json()["lines"]
    assert [(line["at"], line["text"]) for line in kept][: len(times)] == list(zip(times, one.texts(), strict=True))


def test_viewers_share_one_reader_which_ends_with_the_last(browser: MakeBrowser, server: Server, talker: str) -> None:
    hub = portal_of(server.app).logs
    viewers = [browser("/logs", server.admin) for _ in range(5)]
    for one in viewers:
        one.say("join", {"instance_id": talker, "tail": 5})
        one.hears("lines")
    assert hub.readers == 1
    viewers[0].say("leave", {"instance_id": talker})
    for one in viewers[1:]:
        one.client.disconnect()
    wait_for(lambda: hub.readers == 0, what="nobody reads")
    count = len(viewers[0].all("lines"))
    late = browser("/logs", server.admin)
    late.say("join", {"instance_id": talker, "tail": 5})
    wait_for(lambda: len(late.all("lines")) >= 2, what="another hears new lines")
    assert len(viewers[0].all("lines")) == count


def test_a_restart_of_the_claw_is_followed_through(browser: MakeBrowser, server: Server, talker: str) -> None:
    one = browser("/logs", server.admin)
    one.say("join", {"instance_id": talker, "tail": 10})
    one.hears("lines")
    server.admin.post(f"instances/{talker}/restart")
    wait_for(lambda: any("stopping" in text for text in one.texts()), what="the old one stops")
    count = len(one.texts())
    wait_for(lambda: sum("alive" in text for text in one.texts()[count:]) > 2, what="the new one speaks")
    assert not one.all("problem")


def test_what_is_not_yours_is_not_there(browser: MakeBrowser, server: Server, talker: str) -> None:
    make_tenant(server.app, "acme")
    stranger = browser("/logs", make_person(server.app, "stranger", "tenant-admin", "acme"))
    stranger.say("join", {"instance_id": talker, "tail": 10})
    words = stranger.hears("problem")["detail"]
    stranger.heard.clear()
    stranger.say("join", {"instance_id": "nothing", "tail": 10})
    assert stranger.hears("problem")["detail"] == words == "There is no instance with this id, or it is not yours."
    assert not stranger.all("lines") and portal_of(server.app).logs.readers == 0


def test_who_may_see_but_not_read_the_log_is_refused(browser: MakeBrowser, server: Server) -> None:
    one = browser("/logs")
    with pytest.raises(socketio.exceptions.ConnectionError):
        one.connect(make_person(server.app, "viewer", "viewer", "default").token)
    assert "forbidden" in str(one.refused)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "instance_id"),
        ("x", "instance_id"),
        ({"instance_id": 7}, "instance_id"),
        ({"instance_id": "x" * 100}, "instance_id"),
        ({"instance_id": "x", "tail": -1}, "tail"),
        ({"instance_id": "x", "tail": "many"}, "tail"),
        ({"instance_id": "x", "since": "yesterday"}, "must be a time"),
        ({"instance_id": "x", "since": 5}, "since"),
    ],
)
def test_bad_messages_get_words(browser: MakeBrowser, server: Server, data: object, said: str) -> None:
    one = browser("/logs", server.admin)
    one.say("join", data)
    assert said in one.hears("problem")["detail"]


def test_one_connection_cannot_follow_everything(browser: MakeBrowser, server: Server) -> None:
    one = browser("/logs", server.admin)
    for number in range(21):
        one.say("join", {"instance_id": server.admin.create(f"c{number}", start=False)["id"], "tail": 1})
    assert "20 logs at most" in one.hears("problem")["detail"]
    assert portal_of(server.app).logs.readers == 20


def test_joining_again_with_since_goes_on(browser: MakeBrowser, server: Server, talker: str) -> None:
    one = browser("/logs", server.admin)
    one.say("join", {"instance_id": talker, "tail": 100})
    one.hears("lines")
    last = one.all("lines")[-1]["lines"][-1]
    again = browser("/logs", server.admin)
    again.say("join", {"instance_id": talker, "tail": 2000, "since": last[0]})
    assert again.hears("lines") and again.all("lines")[0]["lines"][0] == last


def test_a_right_that_is_taken_away_ends_the_stream(browser: MakeBrowser, server: Server, talker: str) -> None:
    developer = make_person(server.app, "developer", "developer", "default")
    one = browser("/logs", developer)
    one.say("join", {"instance_id": talker, "tail": 1})
    one.hears("lines")
    with server.app.app_context(), transaction():
        db.session.query(Membership).filter_by(user_id=developer.actor.id).one().role = "viewer"
    server.app.extensions["clawportal_recheck"].once()
    one.hears("problem")
    wait_for(lambda: portal_of(server.app).logs.readers == 0, what="the stream has ended")


def test_a_deleted_instance_ends_the_stream_with_words(browser: MakeBrowser, server: Server, talker: str) -> None:
    one = browser("/logs", server.admin)
    one.say("join", {"instance_id": talker, "tail": 1})
    one.hears("lines")
    server.admin.delete(f"instances/{talker}")
    server.admin.reaches(talker, "destroyed")
    server.app.extensions["clawportal_recheck"].once()
    assert one.hears("problem")["instance_id"] == talker
    wait_for(lambda: portal_of(server.app).logs.readers == 0, what="the stream has ended")


def test_a_flood_neither_stops_the_portal_nor_fills_it(browser: MakeBrowser, server: Server) -> None:
    made = server.admin.create("flood", spec={"settings": {"flood": 20_000}})
    server.admin.reaches(made["id"], "running")
    one = browser("/logs", server.admin)
    one.say("join", {"instance_id": made["id"], "tail": 10})
    wait_for(lambda: sum(told["dropped"] for told in one.all("lines")) > 0, 30, "it is told of dropped lines")
    assert all(len(told["lines"]) <= 501 for told in one.all("lines"))
    begin = time.monotonic()
    assert server.admin.get("instances").status_code == 200
    assert time.monotonic() - begin < 5


class SlowBrowser:
    """Reads only when it is told to, and has hardly any room for what it has not read."""

    def __init__(self, server: Server, instance_id: str) -> None:
        self.wire = WSConnection(ConnectionType.CLIENT)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(self.wire.send(Request(host="127.0.0.1", target="/socket.io/?EIO=4&transport=websocket")))
        self.until(lambda text: text.startswith("0"))
        self.say(f'40/logs,{{"token":"{server.admin.token}"}}')
        self.until(lambda text: text.startswith("40/logs"))
        self.say(f'42/logs,["join",{{"instance_id":"{instance_id}","tail":2000}}]')

    def say(self, text: str) -> None:
        self.socket.sendall(self.wire.send(TextMessage(data=text)))

    def until(self, wanted: Callable[[str], bool]) -> str:
        text = ""
        while True:
            self.wire.receive_data(self.socket.recv(65536))
            for event in self.wire.events():
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        if wanted(text):
                            return text
                        text = ""


@pytest.mark.slow
def test_a_browser_that_takes_nothing_holds_up_nobody_and_is_told(browser: MakeBrowser, server: Server) -> None:
    made = server.admin.create("flood", spec={"settings": {"flood": 10_000}})
    server.admin.reaches(made["id"], "running")
    slow = SlowBrowser(server, made["id"])
    people = server.app.extensions["clawportal_people"]
    (its,) = people.viewers()
    wait_for(lambda: people.backlog(its) >= 8, 30, "batches wait for it")
    one = browser("/logs", server.admin)
    one.say("join", {"instance_id": made["id"], "tail": 10})
    one.hears("lines")
    time.sleep(2)
    count = len(one.texts())
    wait_for(lambda: len(one.texts()) > count, what="the other browser goes on")
    assert people.backlog(its) <= 9  # a ping may have joined
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    heard = slow.until(lambda text: text.startswith("42/logs") and json.loads(text[8:])[1]["dropped"] > 0)
    assert json.loads(heard[8:])[1]["lines"]
    slow.socket.close()


# ---- the cap


def test_above_the_cap_a_websocket_is_told_to_come_back(server: Server, browser: MakeBrowser) -> None:
    counted: Viewers = server.app.extensions["clawportal_viewers"]
    counted.limit = 2
    browser("/changes", server.admin)
    browser("/changes", server.admin)
    headers = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }  # fmt: skip
    refused = httpx.get(f"{server.url}/socket.io/?EIO=4&transport=websocket", headers=headers)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "15")
    assert httpx.get(f"{server.url}/api/v1/instances", headers=server.admin.headers).status_code == 200
    made = server.admin.create("one", start=False)
    stream = server.admin.get(f"instances/{made['id']}/logs?follow=true")
    assert stream.status_code == 503 and stream.headers["Retry-After"] == "15"


def test_a_place_is_given_back(server: Server, browser: MakeBrowser) -> None:
    counted: Viewers = server.app.extensions["clawportal_viewers"]
    counted.limit = 1
    for _ in range(3):
        one = browser("/changes", server.admin)
        one.client.disconnect()
        wait_for(lambda: counted.count == 0, what="the place is free")


def test_who_never_says_who_he_is_is_shown_out(server: Server) -> None:
    counted: Viewers = server.app.extensions["clawportal_viewers"]
    silent = Line(server.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket")
    assert silent.receive(30), "it comes in first"
    with pytest.raises(simple_websocket.ConnectionClosed):
        while silent.receive(30):
            pass
    wait_for(lambda: counted.count == 0, 10, what="the place is free")


def test_other_sites_and_polling_are_refused(server: Server) -> None:
    polling = httpx.get(f"{server.url}/socket.io/?EIO=4&transport=polling")
    assert polling.status_code == 400
    with pytest.raises(simple_websocket.ConnectionError):
        simple_websocket.Client(
            server.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket", headers={"Origin": "https://evil.example"}
        )
