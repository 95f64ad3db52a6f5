"""The webhook asks within limits of time and size, and takes no address that cannot be asked."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from clawportal.contracts.events import Event
from clawportal.contracts.notifiers import Notice
from clawportal.errors import GiveUp, Retry
from clawportal_notifiers import webhook

_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
NOTICE = Notice(Event(1, "odd.one", _WHEN, None, None, "info", "", "It happened.", "kim"), "Odd", "Odd")
Answers = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def answering() -> Iterator[Answers]:
    """A server that answers one connection as it is told, for five seconds at most."""
    with contextlib.ExitStack() as ends:

        def make(answer: Callable[[socket.socket], None]) -> str:
            server = ends.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                with server.accept()[0] as connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    answer(connection)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            ends.callback(thread.join, 10)
            return f"http://127.0.0.1:{server.getsockname()[1]}/hooks/sesame"

        yield make


def drip(connection: socket.socket) -> None:
    end = time.monotonic() + 5
    connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
    while time.monotonic() < end:
        connection.sendall(b"z")
        time.sleep(0.05)
    connection.sendall(b"\r\n\r\n")


def test_an_answer_that_drips_is_cut_off(answering: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.5)
    with pytest.raises(Retry, match="does not answer"):
        webhook.Webhook().send(NOTICE, answering(drip))


def test_the_body_of_an_answer_is_not_read(answering: Answers) -> None:
    sent = []

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 268435456\r\n\r\n")
        for _ in range(256):
            connection.sendall(b"z" * 1048576)
            sent.append(1)

    webhook.Webhook().send(NOTICE, answering(flood))
    assert len(sent) < 64


def test_an_answer_whose_head_is_too_large_is_cut_off(answering: Answers) -> None:
    def swell(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 204 No Content\r\n")
        for n in range(800):
            connection.sendall(b"X-%d: %s\r\n" % (n, b"z" * 80))
        connection.sendall(b"\r\n")

    with pytest.raises(Retry, match="does not answer"):
        webhook.Webhook().send(NOTICE, answering(swell))


@pytest.mark.parametrize(
    "to",
    ["http://[x/sesame", "http://h:99999/sesame", "http://h:0/", "http:///sesame", "http://h/\x00", f"http://h/{'z' * 70000}"],
)
def test_an_address_that_cannot_be_asked_is_refused_by_the_check(to: str) -> None:
    assert "address with http or https" in webhook.Webhook().check(to)


@pytest.mark.parametrize("to", ["http://h:99999/sesame", "http://[x/sesame"])
def test_an_address_that_cannot_be_asked_is_given_up_without_its_rest(to: str) -> None:
    with pytest.raises(GiveUp) as refused:
        webhook.Webhook().send(NOTICE, to)
    assert "sesame" not in str(refused.value) and "begins no address" in str(refused.value)


def test_a_name_that_nobody_has_is_tried_later() -> None:
    with pytest.raises(Retry, match="does not answer"):
        webhook.Webhook().send(NOTICE, "http://nobody.invalid/sesame")
