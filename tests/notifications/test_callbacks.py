"""Addresses of people that are called: signed, once, within limits, and never in a network that is not public."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from clawportal import keyring, near_addresses, paths
from clawportal.db import db
from clawportal.errors import GiveUp, Retry
from clawportal_notifications import callbacks, ways
from clawportal_notifications.models import Ways
from tests.conftest import portal_of
from tests.notifications.conftest import Stage, signed_in

HERE = ("127.0.0.0/8",)


@dataclass
class Hook:
    """A web server that keeps what it is sent, and answers as told."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = made.answers.pop(0) if made.answers else 204
            if status < 300:
                made.calls.append((dict(self.headers), body))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the terminal."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        made.url = f"http://localhost:{server.server_port}/hooks/sesame?key=1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def happens(stage: Stage) -> None:
    stage.happens()
    stage.follow()
    stage.send()


def test_a_call_is_signed_and_says_what_happened(make_stage: Callable[..., Stage], database_url: str, hook: Hook) -> None:
    stage = make_stage(database_url, webhook_networks=json.dumps(HERE))
    viewer = signed_in(stage.people.viewer)
    secret = viewer.put("notifications/webhook", {"url": hook.url}).get_json()["secret"]
    shown = viewer.get("notifications/preferences").get_json()["webhook"]
    assert shown == hook.url.partition("/hooks")[0]
    happens(stage)
    [(headers, body)] = hook.calls
    signed = hmac.new(secret.encode(), headers["X-Clawportal-Timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Clawportal-Signature"] == f"sha256={signed}" and headers["Host"].startswith("localhost:")
    [told] = json.loads(body)["notifications"]
    assert (told["interest"], told["count"], told["instance_id"]) == ("instance.failed", 1, stage.claw)
    assert told["link"] == f"https://claws.example.com/instances/{stage.claw}"
    with stage.app.app_context():
        row = db.session.get_one(Ways, viewer.actor.id)
        assert row.sealed and b"sesame" not in row.sealed and secret.encode() not in row.sealed


def test_calls_have_a_pause_and_are_tried_again(
    make_stage: Callable[..., Stage], hook: Hook, travel: Callable[[timedelta], None]
) -> None:
    stage = make_stage(webhook_networks=json.dumps(HERE))
    viewer = signed_in(stage.people.viewer)
    viewer.put("notifications/webhook", {"url": hook.url})
    hook.answers[:] = [503]
    happens(stage)
    happens(stage)
    assert hook.calls == []
    travel(timedelta(minutes=2))
    stage.send()
    stage.send()
    assert [json.loads(body)["notifications"][0]["count"] for _head, body in hook.calls] == [2, 2]
    assert len({head["X-Clawportal-Delivery"] for head, _body in hook.calls}) == 2
    happens(stage)
    assert len(hook.calls) == 2, "one call in half a minute"
    travel(timedelta(minutes=1))
    stage.send()
    assert json.loads(hook.calls[2][1])["notifications"][0]["count"] == 3


def test_the_address_is_tried_by_a_button(
    make_stage: Callable[..., Stage], hook: Hook, travel: Callable[[timedelta], None]
) -> None:
    stage = make_stage(webhook_networks=json.dumps(HERE))
    owner = signed_in(stage.people.owner)
    assert owner.post("notifications/webhook/test").status_code == 409
    owner.put("notifications/webhook", {"url": hook.url})
    assert owner.post("notifications/webhook/test").status_code == 204
    assert json.loads(hook.calls[0][1]) == {"test": True, "notifications": []}
    hook.answers[:] = [302]
    assert owner.post("notifications/webhook/test").status_code == 429
    assert len(hook.calls) == 1 and hook.answers == [302]
    travel(timedelta(seconds=11))
    refused = owner.post("notifications/webhook/test")
    assert refused.status_code == 409 and "answers 302" in refused.get_json()["detail"]
    assert "sesame" not in refused.get_data(as_text=True)


def test_without_leave_nothing_in_this_network_is_called(stage: Stage, hook: Hook) -> None:
    owner = signed_in(stage.people.owner)
    owner.put("notifications/webhook", {"url": hook.url})
    refused = owner.post("notifications/webhook/test")
    assert refused.status_code == 409 and "not public" in refused.get_json()["detail"]
    assert hook.calls == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1",
     "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
     "2002:7f00:1::", "::", "fec0::1", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"],
)  # fmt: skip
def test_networks_that_are_not_public(address: str) -> None:
    assert not callbacks.allowed(address, ())


def test_networks_that_are_public_or_allowed() -> None:
    assert callbacks.allowed("1.1.1.1", ()) and callbacks.allowed("2606:4700::1111", ())
    assert callbacks.allowed("10.1.2.3", ("10.1.0.0/16",)) and not callbacks.allowed("10.2.2.3", ("10.1.0.0/16",))


def test_addresses_of_this_machine_are_not_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that the world knows: what listens on all of its addresses is reached by it."""
    assert callbacks.allowed("8.8.8.8", ())
    monkeypatch.setattr(near_addresses, "_is_own", lambda address: str(address) == "8.8.8.8")
    assert not callbacks.allowed("8.8.8.8", ()) and not callbacks.allowed("::ffff:8.8.8.8", ())
    assert callbacks.allowed("8.8.8.8", ("8.8.8.0/24",)) and callbacks.allowed("1.1.1.1", ())


def test_looking_up_a_name_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def slow(_host: str, port: int, **_more: Any) -> Any:
        done.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(callbacks, "SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(Retry) as refused:
        callbacks.post("http://slow.example/", "s", {}, "1", ())
    done.set()
    assert refused.value.reason == "WebhookUnknown"


def test_names_beyond_ascii_are_called_as_the_wire_spells_them(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, asked = socket.getaddrinfo, []

    def here(host: Any, *given: Any, **more: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1", *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    callbacks.post(hook.url.replace("localhost", "b\u00fccher.example"), "s", {}, "1", HERE)
    [(headers, _body)] = hook.calls
    assert asked[0] == "xn--bcher-kva.example" and headers["Host"].startswith("xn--bcher-kva.example:")


@pytest.mark.parametrize(
    "url", ["http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://[::ffff:7f00:1]/", "http://localhost/"]
)
def test_other_spellings_of_this_machine_lead_nowhere(url: str) -> None:
    with pytest.raises((GiveUp, Retry)) as refused:
        callbacks.post(url, "s", {}, "1", ())
    assert refused.value.reason in ("WebhookNotPublic", "WebhookUnknown")


def test_a_name_that_changes_its_mind_leads_nowhere_else(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up first is what is connected to."""
    asked = []
    look_up = socket.getaddrinfo

    def once(host: Any, *given: Any, **more: Any) -> Any:
        asked.append(host)
        return look_up(host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", once)
    callbacks.post(hook.url, "s", {}, "1", HERE)
    names = [host for host in asked if host not in ("127.0.0.1", b"127.0.0.1")]
    assert names == ["localhost"]


@pytest.mark.parametrize(
    ("url", "said"),
    [*((url, "http or https") for url in ("ftp://x.example/", "https://", "https://h:99999/", "nonsense", "https://[x/",
                                          "https://x.example/\x07x")), ("https://kim:pw@x.example/", "user or password")],
)  # fmt: skip
def test_what_cannot_be_called_is_refused_at_its_field(stage: Stage, url: str, said: str) -> None:
    refused = signed_in(stage.people.owner).put("notifications/webhook", {"url": url})
    assert refused.status_code == 422 and refused.get_json()["errors"][0]["path"] == "url"
    assert said in refused.get_json()["errors"][0]["message"]


def test_a_call_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with server.accept()[0] as connection, suppress(OSError):
                end = time.monotonic() + 5
                connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
                while time.monotonic() < end:
                    connection.sendall(b"z")
                    time.sleep(0.05)
                connection.sendall(b"\r\n\r\n")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(Retry, match="does not answer"):
            callbacks.post(f"http://127.0.0.1:{server.getsockname()[1]}/", "s", {}, "1", HERE)
        thread.join(10)


def test_addresses_are_moved_to_a_new_key(make_stage: Callable[..., Stage], hook: Hook) -> None:
    stage = make_stage(webhook_networks=json.dumps(HERE))
    owner = signed_in(stage.people.owner)
    owner.put("notifications/webhook", {"url": hook.url})
    with stage.app.app_context():
        portal = portal_of(stage.app)
        keyring.rotate(portal.settings.data_dir / paths.KEYRING_FILE)
        assert ways.reseal(portal) == 1 and ways.reseal(portal) == 0
    assert owner.post("notifications/webhook/test").status_code == 204
