"""Places for what lasts: a few for strangers, a share for a person, and a word for whoever gets none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
import simple_websocket

from tests.browser.portal import PASSWORD, ROOT, PortalProcess, wait_for
from tests.serving.conftest import Sockets, all_of

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture
def strangers(sockets: Sockets) -> Callable[[int], list[bytes]]:
    """Opens so many websockets without a word of who comes; the first line of each answer."""

    def come(count: int) -> list[bytes]:
        made = sockets(count, UPGRADE % sockets.port)
        return [one.recv(2000) for one in made]

    return come


def test_strangers_have_few_places_and_others_go_on(
    portal: PortalProcess, strangers: Callable[[int], list[bytes]], answered: Callable[[], None]
) -> None:
    told = strangers(600)
    taken = [text for text in told if text.startswith(b"HTTP/1.1 101")]
    refused = [text for text in told if text not in taken]
    assert len(taken) < 40
    assert all(text.startswith(b"HTTP/1.1 429 ") and b"Retry-After: 15" in text for text in refused)
    answered()
    friend = known(portal)
    assert friend is not None
    friend.close()


def known(portal: PortalProcess) -> simple_websocket.Client | None:
    """A live page of somebody who says at once who they are."""
    headers = {"Authorization": f"Bearer {portal._token}"}
    address = portal.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    try:
        return simple_websocket.Client(address, headers=headers)
    except simple_websocket.ConnectionError:
        return None


def test_a_stranger_is_shown_out(sockets: Sockets) -> None:
    (one,) = sockets(1, UPGRADE % sockets.port)
    assert all_of(one, 15).startswith(b"HTTP/1.1 101")  # and then it is closed


def test_one_person_cannot_take_every_place(portal: PortalProcess, claw: str, answered: Callable[[], None]) -> None:
    other = second_person(portal)
    address = f"{portal.url}/api/v1/instances/{claw}/logs?follow=true"
    with ExitStack() as streams, httpx.Client(timeout=20, limits=httpx.Limits(max_connections=None)) as client:

        def follow(token: str) -> httpx.Response:
            return streams.enter_context(client.stream("GET", address, headers={"Authorization": f"Bearer {token}"}))

        told = [follow(portal._token) for _ in range(70)]
        assert 50 < [one.status_code for one in told].count(200) <= 60
        assert {(one.status_code, one.headers["Retry-After"]) for one in told if one.status_code != 200} == {(429, "15")}
        answered()
        assert follow(other).status_code == 200
    wait_for(lambda: known(portal), 20, "places are free again")


def second_person(portal: PortalProcess) -> str:
    command = [sys.executable, "-m", "clawportal.cli.server", "--data-dir", str(portal.folder), "user", "create", "other"]
    subprocess.run([*command, "--password-stdin"], input=PASSWORD, text=True, check=True, cwd=ROOT, capture_output=True)
    answer = httpx.post(f"{portal.url}/api/v1/auth/token", json={"name": "other", "password": PASSWORD}, timeout=20)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


@pytest.fixture
def claw(portal: PortalProcess) -> Iterator[str]:
    made = portal.create("followed", start=False)
    yield made["id"]
    portal.api("DELETE", f"instances/{made['id']}?force=true")
