"""Places of claws that hang or fail: what they hold up, and what not."""

from __future__ import annotations

import socket
import threading
from typing import cast

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from clawportal.db import db, transaction
from clawportal.errors import Retry, Unavailable
from clawportal.models import Cluster
from clawportal.models.clusters import UNREACHABLE
from clawportal.testing.fakes import rude_server
from clawportal_apps.names import App
from clawportal_apps.pump import Pump, Stream
from clawportal_apps.watch import Shown, Watch
from tests.apps.conftest import OddScene, Visitor, patient_server
from tests.conftest import wait_for

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nbegun"
OPEN = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_no_connection_of_the_database_is_held_while_a_place_is_asked(odd_scene: OddScene) -> None:
    held: list[int] = []
    odd_scene.place.when_asked = lambda: held.append(cast(QueuePool, db.engine.pool).checkedout())
    visitor = odd_scene.open()
    with rude_server(FINE) as port:
        odd_scene.stands_at(port)
        assert visitor.ask().text == "fine"
    assert held == [0], "asked once for a page, with no connection held"


@pytest.mark.parametrize("error", [OSError("away"), Retry("ClusterUnreachable"), Unavailable("away")])
def test_a_place_that_fails_is_told_as_such(odd_scene: OddScene, error: Exception) -> None:
    def fail() -> None:
        raise error

    visitor = odd_scene.open()
    odd_scene.place.when_asked = fail
    odd_scene.stands_at(1)
    told = visitor.ask()
    assert told.status == 503 and "The port http of parrot cannot be reached just now." in told.text


def test_who_comes_in_while_a_place_is_away_is_in(odd_scene: OddScene) -> None:
    """Their ticket is used up: once the place is there again, the page is, without another."""

    def fail() -> None:
        raise Unavailable("away")

    odd_scene.place.when_asked = fail
    visitor = odd_scene.open()
    assert visitor.ask().status == 503
    odd_scene.place.when_asked = lambda: None
    with rude_server(FINE) as port:
        odd_scene.stands_at(port)
        assert visitor.ask().text == "fine"


def test_a_place_that_is_known_to_be_away_is_told_as_such(odd_scene: OddScene) -> None:
    visitor = odd_scene.open()
    with odd_scene.server.app.app_context(), transaction():
        row = db.session.scalars(select(Cluster).where(Cluster.name == "odd")).one()
        row.health, row.health_message = UNREACHABLE, "Nobody answers."
    odd_scene.stands_at(1)
    assert visitor.ask().status == 503


# ---- what is open


def goes_both_ways(line: socket.socket) -> bool:
    line.settimeout(10)
    line.sendall(b"hello")
    return line.recv(5) == b"hello"


def begun(visitor: Visitor) -> socket.socket:
    """An answer that has a length, and does not end: a thread of the portal passes it on."""
    line, received = visitor.begin("/"), b""
    line.settimeout(10)
    while not received.endswith(b"begun"):
        piece = line.recv(65536)
        assert piece, received
        received += piece
    return line


def ended(line: socket.socket) -> bool:
    line.settimeout(0.05)
    try:
        return line.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_place_that_fails_ends_nothing_that_works(odd_scene: OddScene) -> None:
    def fail() -> None:
        raise Unavailable("away")

    visitor = odd_scene.open()
    with patient_server(OPEN) as port:
        odd_scene.stands_at(port)
        line = visitor.socket("/").line
        assert goes_both_ways(line)
        odd_scene.place.when_asked = fail
        odd_scene.apps.watch.look()
        assert goes_both_ways(line) and odd_scene.apps.pump.count == 1


def test_nobody_waits_for_a_place_to_be_thrown_out(odd_scene: OddScene) -> None:
    """What is looked through asks no place: one that hangs would put off the end of what is open at all others."""
    asked: list[str] = []
    visitor = odd_scene.open()
    with patient_server(OPEN) as port:
        odd_scene.stands_at(port)
        line = visitor.socket("/").line
        assert goes_both_ways(line)
        odd_scene.place.when_asked = lambda: asked.append("place")
        odd_scene.apps.watch.look()
        assert goes_both_ways(line)
        odd_scene.sign_out()
        odd_scene.apps.watch.look()
        wait_for(lambda: ended(line), what="the stream ends")
    assert not asked


def test_who_signs_out_gets_no_more_of_a_long_answer(odd_scene: OddScene) -> None:
    visitor = odd_scene.open()
    with patient_server(LONG) as port:
        odd_scene.stands_at(port)
        line = begun(visitor)
        odd_scene.apps.watch.look()
        assert not ended(line)
        odd_scene.sign_out()
        odd_scene.apps.watch.look()
        wait_for(lambda: ended(line), what="the answer breaks off")


def test_a_database_that_is_away_for_a_moment_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def away(_: Shown) -> bool:
        raise OperationalError("SELECT", {}, OSError("away"))

    pump = Pump(8, 8, 60)
    watch = Watch(pump, away, threading.Event())
    browser, near = socket.socketpair()
    far, claw = socket.socketpair()
    request = watch.begin(Shown(App("i", "http"), "c", "192.0.2.1", "x"))
    pump.add(Stream(near, far, "kim", request.shown))
    watch.look()
    browser.sendall(b"hello")
    assert claw.recv(5) == b"hello" and "could not be asked" in caplog.text
    pump.close()


def test_a_stream_is_known_from_the_moment_it_is_asked_for() -> None:
    """It is looked for at every moment between: as a request, as both, and as a stream."""
    pump, good = Pump(8, 8, 60), {"now": True}
    watch = Watch(pump, lambda _: good["now"], threading.Event())
    browser, near = socket.socketpair()
    far, claw = socket.socketpair()
    request = watch.begin(Shown(App("i", "http"), "c", "192.0.2.1", "x"))
    watch.look()
    pump.add(Stream(near, far, "kim", request.shown))
    watch.look()
    watch.over(request)
    watch.look()
    browser.sendall(b"hello")
    assert claw.recv(5) == b"hello"
    good["now"] = False
    watch.look()
    wait_for(lambda: ended(browser) and ended(claw), what="it ends")
    pump.close()
