"""Others are answered while hundreds of connections linger, idle, send half of a request, or read nothing."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from clawportal.wire.connection import SLOW_AFTER
from tests.browser.portal import PortalProcess, wait_for
from tests.serving.conftest import CLOSE, HALF_HEAD, KEEP, Sockets, all_of, half_body

Answered = Callable[[], None]


def test_finished_requests_whose_sockets_stay_open(sockets: Sockets, answered: Answered) -> None:
    for one in sockets(500, CLOSE):
        one.recv(64)
    answered()


def test_idle_connections_above_what_gunicorn_keeps(sockets: Sockets, answered: Answered) -> None:
    for one in sockets(450, KEEP) + sockets(450, b""):
        assert one.fileno() >= 0
    answered()
    sockets.open[0].sendall(KEEP)
    assert sockets.open[0].recv(16).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("says", [HALF_HEAD, b"GET", half_body(1000), half_body(3_000_000)],
                         ids=["head", "word", "body", "large body"])  # fmt: skip
def test_half_sent_requests(sockets: Sockets, answered: Answered, says: bytes) -> None:
    sockets(700, says)
    answered()


def test_half_sent_second_requests(sockets: Sockets, answered: Answered) -> None:
    for one in sockets(700, KEEP + HALF_HEAD):
        assert one.recv(64).startswith(b"HTTP/1.1 200")  # work that was asked for; what is tried comes after it
    answered()


def test_a_half_sent_head_ends_with_a_reason(sockets: Sockets) -> None:
    (one,) = sockets(1, HALF_HEAD)
    assert all_of(one).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_ends(sockets: Sockets) -> None:
    (one,) = sockets(1, HALF_HEAD)
    one.settimeout(0.2)

    def drip() -> bytes:
        one.sendall(b"X-Drop: 1\r\n")
        try:
            return one.recv(1000)
        except TimeoutError:
            return b""

    assert wait_for(drip, 20, "an answer").startswith(b"HTTP/1.1 408 ")


def test_large_bodies_of_one_address_have_few_threads(sockets: Sockets) -> None:
    told = [one.recv(400) for one in sockets(40, half_body(3_000_000))[32:]]
    assert all(text.startswith(b"HTTP/1.1 429 ") and b"Retry-After: " in text for text in told)


def test_who_reads_nothing_holds_no_place_of_others(sockets: Sockets, answered: Answered) -> None:
    large = b"GET /static/vendor/swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: portal\r\n\r\n"
    for _ in range(64):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", sockets.port))
        one.sendall(large)
        sockets.open.append(one)
    wait_for(lambda: _ends_well(answered), 10, "others are answered")


def test_who_pauses_while_reading_gets_all_of_it(sockets: Sockets) -> None:
    """A browser on a busy machine takes nothing for a while, in the middle of a large file."""
    one = socket.socket()
    sockets.open.append(one)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", sockets.port))
    one.sendall(b"GET /static/vendor/swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: portal\r\nConnection: close\r\n\r\n")
    first = one.recv(1000)
    time.sleep(3 * SLOW_AFTER)  # the pause itself is what is tried
    head, _, body = (first + all_of(one, 30)).partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length and len(body) == int(length[1])


def _ends_well(answered: Answered) -> bool:
    try:
        answered()
    except AssertionError:
        return False
    return True


def test_too_large_heads_are_refused(sockets: Sockets) -> None:
    (one,) = sockets(1, b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"x" * 70_000))
    assert all_of(one).startswith(b"HTTP/1.1 431 ")


def test_several_requests_in_one_piece_are_all_answered(sockets: Sockets) -> None:
    (one,) = sockets(1, KEEP * 3 + CLOSE)
    assert all_of(one).count(b"HTTP/1.1 200 OK") == 4


def test_a_request_in_many_pieces(sockets: Sockets) -> None:
    (one,) = sockets(1, b"")
    for byte in b"POST /api/v1/auth/token HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}":
        one.sendall(bytes([byte]))
    assert all_of(one).startswith(b"HTTP/1.1 4")


def test_pieces_of_unknown_length(sockets: Sockets) -> None:
    head = b"POST /api/v1/auth/token HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Type: application/json\r\n"
    (one,) = sockets(1, head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    one.sendall(b"1\r\n}\r\n0\r\n\r\n")
    assert all_of(one).startswith(b"HTTP/1.1 422 ")


def test_who_waits_to_be_told_to_go_on_is_told(sockets: Sockets) -> None:
    head = b"POST /api/v1/auth/token HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Type: application/json\r\n"
    (one,) = sockets(1, head + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    one.settimeout(5)
    assert one.recv(100).startswith(b"HTTP/1.1 100 ")
    one.sendall(b"{}")
    assert all_of(one).startswith(b"HTTP/1.1 422 ")


@pytest.mark.parametrize("says", [b"", HALF_HEAD, KEEP, half_body(1000)], ids=["nothing", "head", "idle", "body"])
def test_more_connections_than_files(small: PortalProcess, says: bytes) -> None:
    """Those that are needed least are closed; somebody new always comes in."""
    sockets = Sockets(small.port)
    try:
        with contextlib.suppress(ConnectionError):
            sockets(700, says)
        for _ in range(3):
            assert httpx.get(f"{small.url}/login", timeout=20).status_code == 200
        assert "Traceback" not in small.output
    finally:
        sockets.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalProcess]:
    """A portal that may open few files."""
    made = PortalProcess(tmp_path_factory.mktemp("small") / "data", RATE_LIMIT="")
    made.before = ("prlimit", "--nofile=400:400")
    made.start()
    yield made
    made.end()


def test_many_at_once_are_all_answered(portal: PortalProcess) -> None:
    def ask(_number: int) -> int:
        with socket.create_connection(("127.0.0.1", portal.port), 30) as one:
            one.sendall(CLOSE)
            return all_of(one, 30).count(b"HTTP/1.1 200 OK")

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(ask, range(400))) == 400
