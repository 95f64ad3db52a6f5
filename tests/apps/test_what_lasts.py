"""Streams of claws' pages: without a thread, with an end where rights end, and over restarts of the claw."""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any

import pytest

from clawportal_apps.pump import Pump, Stream
from tests.apps.conftest import Scene
from tests.conftest import wait_for


def host_of(scene: Scene) -> object:
    return scene.server.app.extensions["clawportal_apps"]


def test_an_answer_without_a_length_comes_as_it_is_made(scene: Scene) -> None:
    visitor = scene.open()
    said = json.dumps({"session": "s", "text": "good morning"}).encode()
    told = visitor.ask("/chat", "POST", said, Content_Type="application/json", Origin=f"http://{visitor.host}:{visitor.port}")
    assert told.status == 200 and told.get("Connection") == "close"
    assert json.loads(told.body.splitlines()[-1]) == {"final": "You said: good morning (message 1)"}


def test_a_page_of_another_origin_gets_nothing(scene: Scene) -> None:
    visitor = scene.open()
    said = json.dumps({"session": "s", "text": "x"}).encode()
    for origin in (f"http://localhost:{visitor.port}", "https://evil.example", "null"):
        assert visitor.ask("/chat", "POST", said, Origin=origin).status == 403
        assert visitor.socket(Origin=origin).told.status == 403
    assert visitor.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image").status == 403


def test_the_claw_is_restarted(scene: Scene) -> None:
    visitor = scene.open()
    open_one = visitor.socket()
    assert open_one.say("hello")
    assert scene.developer.post(f"instances/{scene.claw['id']}/restart", {}).status_code == 202
    wait_for(open_one.ended, what="the stream ends with the claw")
    wait_for(lambda: visitor.ask().status == 200, 30, "the page is there again")
    assert visitor.socket().say("again").startswith("You said: again")


def test_a_claw_that_stops_is_told_as_such(scene: Scene) -> None:
    visitor = scene.open()
    assert scene.developer.post(f"instances/{scene.claw['id']}/stop", {}).status_code == 202
    scene.developer.reaches(scene.claw["id"], "stopped")
    wait_for(lambda: visitor.ask().status == 409, what="it is told as stopped")
    people = visitor.ask(Accept="text/html")
    assert "is not running" in people.text and f"/instances/{scene.claw['id']}/apps/http" in people.text


def test_who_signs_out_is_out(scene: Scene) -> None:
    visitor = scene.open()
    stream = visitor.socket()
    assert stream.say("hello")
    scene.sign_out()
    scene.server.app.extensions["clawportal_apps"].watch.look()
    wait_for(stream.ended, what="the stream ends")
    wait_for(lambda: visitor.ask().status == 401, what="the page is closed")


# ---- the pump alone


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def test_it_holds_up_whoever_sends_faster_than_the_other_takes() -> None:
    pump = Pump(8, 8, 60)
    browser, near = pair()
    far, claw = pair()
    pump.add(Stream(near, far, "kim", "k"), b"first ")
    sent, piece = 0, b"x" * 65536
    claw.setblocking(False)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            sent += claw.send(piece)
        except BlockingIOError:
            time.sleep(0.05)
            try:
                sent += claw.send(piece)
            except BlockingIOError:
                break
    assert 0 < sent < 16_000_000, "what nobody takes is not collected"
    claw.close()
    received = b""
    while data := browser.recv(1 << 20):
        received += data
    assert received == b"first " + b"x" * sent
    wait_for(lambda: pump.count == 0, what="it is forgotten")
    pump.close()


def test_what_is_idle_ends_and_nobody_has_all() -> None:
    pump = Pump(3, 2, 0.1)
    ends = [pair() + pair() for _ in range(2)]
    for browser, near, far, claw in ends:
        pump.add(Stream(near, far, "kim", "k"))
        assert browser and claw
    assert not pump.room("kim") and pump.room("robin")
    wait_for(lambda: pump.count == 0, what="nothing passed for too long")
    assert pump.room("kim") and ends[0][0].recv(10) == b""
    pump.close()


def test_it_ends_with_the_portal() -> None:
    pump = Pump(8, 8, 60)
    browser, near = pair()
    far, claw = pair()
    pump.add(Stream(near, far, "kim", "k"))
    browser.sendall(b"hello")
    assert claw.recv(10) == b"hello"
    pump.close()
    assert claw.recv(10) == b"" and browser.recv(10) == b""


class Ill(Stream):
    """Has something done whenever it is looked at for what it belongs to, as another thread could do just then."""

    def __init__(self, browser: socket.socket, claw: socket.socket, meanwhile: Any) -> None:
        super().__init__(browser, claw, "kim", "ill")
        self.meanwhile = meanwhile

    def __getattribute__(self, name: str) -> Any:
        if name in ("key", "moved") and "meanwhile" in self.__dict__:
            self.__dict__["meanwhile"]()
        return super().__getattribute__(name)


def goes_on(pump: Pump, others: list[Any]) -> None:
    """One more stream is passed on, both ways."""
    browser, near = pair()
    far, claw = pair()
    others += [browser, claw]
    pump.add(Stream(near, far, "robin", "well"))
    for one, other in ((browser, claw), (claw, browser)):
        one.settimeout(10)
        one.sendall(b"hello")
        other.settimeout(10)
        assert other.recv(10) == b"hello"


@pytest.mark.parametrize("looks", ["for-those-that-end", "for-idle-ones"])
def test_streams_are_added_while_it_looks_through_them(looks: str, caplog: pytest.LogCaptureFixture) -> None:
    pump, held = Pump(1000, 1000, 60), list[Any]()

    def add_another() -> None:
        near, far = pair(), pair()
        held.extend((near[0], far[1]))
        pump.add(Stream(near[1], far[0], "kim", "more"))

    browser, near = pair()
    far, claw = pair()
    pump.add(Ill(near, far, add_another))
    goes_on(pump, held)
    if looks == "for-those-that-end":
        pump.end(["none"])
    wait_for(lambda: pump.count >= 3, what="it has looked")
    goes_on(pump, held)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR] and browser and claw
    pump.close()


def test_a_fault_is_told_and_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    pump, held, faults = Pump(8, 8, 60), list[Any](), [ZeroDivisionError("once"), ZeroDivisionError("twice")]

    def fail() -> None:
        if faults:
            raise faults.pop()

    browser, near = pair()
    far, claw = pair()
    pump.add(Ill(near, far, fail))
    goes_on(pump, held)
    wait_for(lambda: not faults, what="it has looked twice")
    goes_on(pump, held)
    assert "held up" in caplog.text and "twice" in caplog.text and browser and claw
    pump.close()


def test_a_stream_that_was_closed_before_it_began_ends_alone() -> None:
    pump, held = Pump(8, 8, 60), list[Any]()
    browser, near = pair()
    far, claw = pair()
    far.close()
    pump.add(Stream(near, far, "kim", "k"))
    wait_for(lambda: pump.count == 0, what="it is dropped")
    assert browser.recv(10) == b"" and claw.recv(10) == b""
    goes_on(pump, held)
    pump.close()
