"""A portal in a process of its own, and sockets that do not behave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from clawportal.wire.caller import PATIENCE, Waits
from tests.browser.portal import PortalProcess

FIRST_DEADLINE = PATIENCE[Waits.HEAD]
"""Seconds after which the first of those who keep the portal waiting is given up."""
FILES = 2048
"""So many files may be open in tests: hundreds of sockets, both ends."""

KEEP = b"GET /healthz HTTP/1.1\r\nHost: portal\r\n\r\n"
CLOSE = b"GET /healthz HTTP/1.1\r\nHost: portal\r\nConnection: close\r\n\r\n"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: portal\r\n"


def half_body(length: int) -> bytes:
    return b"POST /login HTTP/1.1\r\nHost: portal\r\nContent-Length: %d\r\n\r\nhalf" % length


class Sockets:
    """Opens many, and closes what is left."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open: list[socket.socket] = []

    def __call__(self, count: int, says: bytes) -> list[socket.socket]:
        made = []
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", self.port), 10)
            self.open.append(one)
            made.append(one)
            one.sendall(says)
        return made

    def close(self) -> None:
        for one in self.open:
            one.close()
        self.open.clear()


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalProcess]:
    made = PortalProcess(tmp_path_factory.mktemp("portal") / "data", RATE_LIMIT="")
    made.start()
    made.set_up(practice=False)
    yield made
    made.end()


@pytest.fixture
def sockets(portal: PortalProcess) -> Iterator[Sockets]:
    made = Sockets(portal.port)
    yield made
    made.close()


@pytest.fixture
def answered(portal: PortalProcess) -> Callable[[], None]:
    """Somebody else, with a connection of their own, gets an answer before a single one of the others is given up.

    How many milliseconds that takes belongs to `bench serving`; here it is enough that nobody waited for a deadline of others.
    """

    def check() -> None:
        begin = time.monotonic()
        with closing(HTTPConnection("127.0.0.1", portal.port, timeout=20)) as connection:
            connection.request("GET", "/login")
            assert connection.getresponse().status == 200
        assert time.monotonic() - begin < FIRST_DEADLINE

    return check


def all_of(one: socket.socket, seconds: float = 20) -> bytes:
    """What it says until it closes."""
    one.settimeout(seconds)
    said = b""
    while piece := one.recv(65536):
        said += piece
    return said
