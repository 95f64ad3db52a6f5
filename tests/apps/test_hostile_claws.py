"""Claws that mean ill: what they say reaches no browser as anything but the answer of their page."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from clawportal.testing.fakes import rude_server
from clawportal_apps import upstream
from clawportal_apps.upstream import Unanswered
from tests.apps.conftest import OddScene, Visitor, patient_server

EVIL = b"Set-Cookie: clawportal=evil"
KINDS = {
    "length": b"Content-Length: 2\r\n\r\nhi",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "no-length": b"Content-Type: text/plain\r\n\r\nhi",
    "upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
}


def first_line(kind: str, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (101 if kind == "upgrade" else 200, reason)


def everything(scene: OddScene, said: bytes, kind: str) -> bytes:
    """All bytes that a browser gets."""
    visitor, received = scene.open(), b""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"} if kind == "upgrade" else {}
    with rude_server(said) as port:
        scene.stands_at(port)
        with visitor.begin("/", **upgrade) as line:
            while piece := line.recv(65536):
                received += piece
    return received


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_slipped_in_by_the_first_line(odd_scene: OddScene, kind: str) -> None:
    for end in (b"\n", b"\r", b"\0", b"\x0b", b"\x7f"):
        told = everything(odd_scene, first_line(kind, b"Fine" + end + EVIL) + KINDS[kind], kind)
        assert told.startswith(b"HTTP/1.1 502 ") and b"evil" not in told


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_line_is_in_words_of_the_portal(odd_scene: OddScene, kind: str) -> None:
    told = everything(odd_scene, first_line(kind, b"Sign in again at evil.example") + KINDS[kind], kind)
    status, _, rest = told.partition(b"\r\n")
    assert status.upper() in (b"HTTP/1.1 200 OK", b"HTTP/1.1 101 SWITCHING PROTOCOLS")
    assert b"evil" not in told and b"hi" in rest.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("code", [b"099", b"20", b"2\xb20", b"2000", b"-20"])
def test_a_status_is_three_digits(code: bytes) -> None:
    with pytest.raises(Unanswered):
        upstream._parsed(b"HTTP/1.1 " + code + b" Fine")


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b""])
def test_a_protocol_that_nobody_asked_for_is_not_changed_to(odd_scene: OddScene, protocol: bytes) -> None:
    """A proxy in front would go on with a connection on which it does not know any more what an answer is."""
    said = b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\nHTTP/1.1 200 OK\r\n" % protocol + EVIL
    told = everything(odd_scene, said, "length")
    assert told.startswith(b"HTTP/1.1 502 ") and b"evil" not in told
    if protocol != b"websocket":
        told = everything(odd_scene, said, "upgrade")
        assert told.startswith(b"HTTP/1.1 502 ") and b"evil" not in told


def test_an_answer_has_one_length(odd_scene: OddScene) -> None:
    """Otherwise a proxy in front could take the end of one answer for the beginning of somebody else's."""
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    head, _, body = everything(odd_scene, both, "chunked").partition(b"\r\n\r\n")
    assert body == b"2\r\nhi\r\n0\r\n\r\n" and b"chunked" in head and b"content-length" not in head.lower()


def test_what_comes_behind_a_request_reaches_no_claw(odd_scene: OddScene) -> None:
    """It would come as it is, with the cookie of the page in it, and without what the portal puts in."""
    visitor = odd_scene.open()
    with patient_server(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nbegun") as port:
        odd_scene.stands_at(port)
        with visitor.begin("/") as line:
            line.settimeout(10)
            received = b""
            while not received.endswith(b"begun"):
                piece = line.recv(65536)
                assert piece, received
                received += piece
            line.sendall(b"GET /admin HTTP/1.1\r\nHost: evil\r\n\r\n")
            line.shutdown(socket.SHUT_WR)
            behind = b""
            while piece := line.recv(65536):  # this claw says again what it hears
                behind += piece
    assert not behind


# ---- time


@contextlib.contextmanager
def talker(pieces: Iterable[bytes]) -> Iterator[socket.socket]:
    """A connection to somebody who says one piece after another, for as long as anybody listens."""
    mine, claws = socket.socketpair()

    def speak() -> None:
        with contextlib.suppress(OSError):  # who asks may have had enough
            for piece in pieces:
                claws.sendall(piece)

    thread = threading.Thread(target=speak, daemon=True)
    with claws:
        with mine:
            thread.start()
            yield mine
        thread.join(5)


class Endless(socket.socket):
    """A connection on which there always is something, in time for its own limit."""

    begin, piece = b"", b""

    def recv(self, size: int, flags: int = 0) -> bytes:
        time.sleep(0.05)
        told, self.begin = self.begin or self.piece, b""
        return told


HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def test_answers_in_between_have_an_end() -> None:
    with talker(itertools.repeat(HINT)) as line, pytest.raises(Unanswered, match="does not come to its answer") as told:
        upstream.ask(line, "GET / HTTP/1.1", [], (), 60)
    assert told.value.status == 502


def test_some_answers_in_between_are_heard_out() -> None:
    with talker([*[HINT] * upstream.MAX_BETWEEN, b"HTTP/1.1 204 No Content\r\n\r\n"]) as line:
        assert upstream.ask(line, "GET / HTTP/1.1", [], (), 60).status == 204


@pytest.mark.parametrize(
    ("begin", "piece"),
    [(b"", HINT), (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 2000 + b"\r\n")],
    ids=["in-between", "without-end"],
)
def test_the_time_for_a_head_is_over_also_while_something_comes(begin: bytes, piece: bytes) -> None:
    near, far = socket.socketpair()
    with far, Endless(fileno=near.detach()) as line, pytest.raises(Unanswered, match="within") as told:
        line.begin, line.piece = begin, piece
        upstream.ask(line, "GET / HTTP/1.1", [], (), 0.3)
    assert told.value.status == 504


# ---- browsers and programs that mean ill

BAD_HOSTS = ["[", "[::1", "localhost:99999", "localhost:x", "localhost:", "]", "[::1]:99999", "http-x.localhost:[", "a b"]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_host_that_is_none_is_no_fault_of_the_portal(odd_scene: OddScene, host: str) -> None:
    odd_scene.place.port = 1
    for path in ("ticket", "shared-links"):
        told = odd_scene.developer.post(f"instances/{odd_scene.claw['id']}/apps/http/{path}", {}, headers={"Host": host})
        assert told.status_code < 500, (path, told.get_data(as_text=True))


def test_nothing_is_let_in_where_nothing_is_handed_over(odd_scene: OddScene) -> None:
    told = odd_scene.open().ask("/.clawportal/let-in?to=/deep")
    assert (told.status, told.get("Location")) == (303, "/deep")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "TRACK"])
def test_what_shows_the_request_as_the_claw_got_it_is_refused(odd_scene: OddScene, method: str) -> None:
    """With it the proof that the portal puts in."""
    told = odd_scene.open().ask("/", method)
    assert told.status in (400, 403, 405), told


@pytest.mark.parametrize(
    "place", ["/%09/evil.example", "/%0A/evil.example", "/%0D%0A/x", "//evil.example", "/%5Cevil.example", "%09//evil.example",
              "https://evil.example", "/%00", "/.clawportal/let-in", "/%20/evil.example"],
)  # fmt: skip
def test_nobody_is_led_elsewhere_on_the_way_in(odd_scene: OddScene, place: str) -> None:
    visitor = Visitor(odd_scene.server.port)
    told = visitor.follow(f"{odd_scene.ticket()}&to={place}")
    assert (told.status, told.get("Location")) == (303, "/")


def test_whoever_comes_in_is_led_to_words_of_any_language(odd_scene: OddScene) -> None:
    told = Visitor(odd_scene.server.port).follow(f"{odd_scene.ticket()}&to=/%E4%B8%AD?q=%C3%BC%26x")
    assert told.get("Location") == "/%E4%B8%AD?q=%C3%BC&x"
