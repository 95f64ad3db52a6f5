"""A feature answers at a host name of its own, and goes on with a connection that no thread works for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from clawportal import hookimpl, origin
from clawportal.contracts.extensions import OTHER_HOSTS
from clawportal.contracts.features import Feature
from clawportal.http import hosts, streams
from tests.conftest import serving

HOST = "bell.localhost"


class Bell:
    """Says who asks; at `/ring` a thread of its own goes on with the connection, a line for a line."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def takes(self, environ: dict[str, Any]) -> bool:
        return environ.get("HTTP_HOST", "").partition(":")[0] == HOST

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/ring":
            taken = streams.take_over(environ)
            assert taken is not None
            threading.Thread(target=self._ring, args=(taken,), daemon=True).start()
            raise streams.over(environ)
        leave = hosts.place_for(self.app, environ, None)
        with hosts.asked_from(self.app, environ):
            told = origin.current()
        leave()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{told.via} {told.address} {told.agent}".encode() if told else b""]

    def _ring(self, line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: bell\r\nConnection: Upgrade\r\n\r\n")
        while heard := line.recv(100):
            line.sendall(heard.upper())
        line.close()


def bell(app: Flask) -> Bell:
    return Bell(app)


@pytest.fixture
def ringing(make_app: Callable[..., Flask]) -> Flask:
    app = make_app()
    registry = app.extensions["clawportal"].registry
    feature = Feature("bell", "Bell", extra={OTHER_HOSTS: (f"{__name__}:bell",)})
    registry.add("bell", SimpleNamespace(register_features=hookimpl(lambda: (feature,))))
    registry.settle()
    hosts.init_app(app)
    return app


def test_only_its_host_is_its_own(ringing: Flask) -> None:
    client = ringing.test_client()
    there = client.get("/", headers={"Host": HOST, "User-Agent": "tests"}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert there.get_data(as_text=True) == "web 192.0.2.7 tests"
    assert "Content-Security-Policy" not in there.headers and "Set-Cookie" not in there.headers, "nothing of the portal is there"
    for host in ("localhost", "other.localhost", f"{HOST}.example.com"):
        assert client.get("/login", headers={"Host": host}).headers["Content-Security-Policy"]


def test_a_connection_goes_on_without_a_thread(ringing: Flask) -> None:
    with serving(ringing) as (_, port), socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(f"GET /ring HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 101 ")
        for word in (b"one", b"two"):
            line.sendall(word)
            assert line.recv(100) == word.upper()


def test_a_server_that_gives_no_connections_away(ringing: Flask) -> None:
    assert streams.take_over({}) is None
    assert isinstance(streams.over({"gunicorn.socket": None}), StopIteration)
