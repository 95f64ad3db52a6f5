"""Running echo claws, and browsers that reach their pages by raw sockets, so that every line of a head can be seen."""

from __future__ import annotations

import base64
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from flask import Flask

from clawportal.contracts.runtimes import Ref
from clawportal.db import db, transaction
from clawportal.lifecycle import Phase
from clawportal.models import Instance
from clawportal.testing.places import MemoryDriver, MemoryRuntime
from clawportal_apps.host import AppHost
from clawportal_apps.names import App
from tests.conftest import Person, Server, make_cluster, make_person, portal_of, serving, wait_for
from tests.core.conftest import both, database_url, make_world, postgres, still

__all__ = ["both", "database_url", "make_world", "postgres", "still"]


@dataclass
class Told:
    """An answer as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str:
        return ", ".join(value for given, value in self.headers if given == name.lower())

    @property
    def text(self) -> str:
        return self.body.decode()


def parsed(received: bytes) -> Told:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Told(int(first.split(" ")[1]), headers, body)


@dataclass
class Visitor:
    """A browser with cookies of its own at the host of one page."""

    port: int
    host: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, target: str = "/", method: str = "GET", body: bytes = b"", **headers: str) -> Told:
        with closing(self.begin(target, method, body, **headers)) as line:
            received = b""
            while piece := line.recv(65536):
                received += piece
        told = parsed(received)
        for name, value in told.headers:
            if name == "set-cookie":
                given, _, rest = value.partition("=")
                self.cookies[given] = rest.partition(";")[0]
        return told

    def begin(self, target: str, method: str = "GET", body: bytes = b"", **headers: str) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), 20)
        given = {"Host": f"{self.host}:{self.port}", "Connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body:
            given["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        line.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return line

    def follow(self, url: str) -> Told:
        """Go where an address with a ticket leads."""
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        return self.ask(f"{parts.path}?{parts.query}")

    def socket(self, target: str = "/socket", **headers: str) -> Socket:
        given = {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Origin": f"http://{self.host}:{self.port}",
        }  # fmt: skip
        return Socket(self.begin(target, **{name.replace("-", "_"): value for name, value in (given | headers).items()}))


class Socket:
    """A WebSocket, as far as the echo claw speaks it."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        received = b""
        while b"\r\n\r\n" not in received:
            piece = line.recv(1)
            if not piece:
                break
            received += piece
        self.told = parsed(received)

    def say(self, text: str) -> str:
        data, mask = text.encode(), os.urandom(4)
        self.line.sendall(bytes([0x81, 0x80 | len(data)]) + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(data)))
        return self.hear()

    def hear(self) -> str:
        head = self._exactly(2)
        length = int.from_bytes(self._exactly(2), "big") if head[1] == 126 else head[1]
        return self._exactly(length).decode()

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self.line.recv(size - len(found))
            if not piece:
                raise EOFError
            found += piece
        return found

    def ended(self) -> bool:
        """Whether the other side has closed."""
        self.line.settimeout(0.05)
        try:
            return self.line.recv(100) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


@dataclass
class Scene:
    """A portal that listens, with a running echo claw in the tenant `default`."""

    server: Server
    claw: dict[str, Any]
    developer: Person

    def open(self, person: Person | None = None, port: str = "http") -> Visitor:
        """A browser that came in with a ticket."""
        visitor = Visitor(self.server.port)
        entered = visitor.follow(self.ticket(person, port))
        assert (entered.status, entered.get("Location")) == (303, "/"), entered
        return visitor

    def ticket(self, person: Person | None = None, port: str = "http") -> str:
        answer = (person or self.developer).post(f"instances/{self.claw['id']}/apps/{port}/ticket", headers=self.host)
        assert answer.status_code == 201, answer.get_data(as_text=True)
        return str(answer.get_json()["url"])

    def sign_out(self) -> None:
        """The token by which the developer opened pages is taken back."""
        token = next(row["id"] for row in self.developer.get("tokens").get_json()["items"])
        assert self.developer.delete(f"tokens/{token}").status_code in (200, 204)

    @property
    def host(self) -> dict[str, str]:
        return {"Host": f"127.0.0.1:{self.server.port}"}


class OddPlace(MemoryRuntime):
    """A place whose claw listens wherever a test says, and that a test can have do something whenever it is asked for the way."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.when_asked: Callable[[], None] = lambda: None

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        self.calls["open_port"] += 1
        self.when_asked()
        return "127.0.0.1", self.port


@dataclass
class OddScene(Scene):
    """The same without background work: the claw is taken to run, and is what a test puts in its place."""

    place: OddPlace

    @property
    def apps(self) -> AppHost:
        return cast(AppHost, self.server.app.extensions["clawportal_apps"])

    def enter(self) -> Visitor:
        """A browser with a cookie, wherever it is led with it."""
        visitor = Visitor(self.server.port)
        assert visitor.follow(self.ticket()).status == 303
        return visitor

    def forget_claw(self) -> None:
        """Its row is gone, as after it was deleted."""
        with self.server.app.app_context(), transaction():
            db.session.delete(db.session.get_one(Instance, self.claw["id"]))

    def stands_at(self, port: int) -> None:
        """From the next request on."""
        self.place.port = port
        self.apps.gate.forget(App(self.claw["id"], "http"))


@contextmanager
def patient_server(said: bytes) -> Iterator[int]:
    """A claw that begins each answer with `said`, and then says again whatever it hears, until the other side ends."""

    class Patient(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(65536)
                self.request.sendall(said)
                while heard := self.request.recv(65536):
                    self.request.sendall(heard)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Patient) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


@pytest.fixture
def odd_scene(portal_app: Flask) -> Iterator[OddScene]:
    place: Any = OddPlace()
    portal_of(portal_app).registry.runtimes["odd"] = MemoryDriver(place, kind="odd", title="Odd")
    make_cluster(portal_app, "odd", None, "odd")
    admin, developer = make_person(portal_app, "admin", "portal-admin"), make_person(portal_app, "dora", "developer", "default")
    claw = developer.create("parrot", cluster="odd")
    with portal_app.app_context(), transaction():
        row = db.session.get_one(Instance, claw["id"])
        row.phase, row.workload = Phase.RUNNING, {"ports": {"http": 8700}}
    with serving(portal_app) as (url, port):
        yield OddScene(Server(portal_app, url, port, admin), claw, developer, place)


@pytest.fixture
def scene(server: Server) -> Iterator[Scene]:
    developer = make_person(server.app, "dora", "developer", "default")
    made = developer.create("parrot")
    yield Scene(server, developer.reaches(made["id"], "running"), developer)


__all__ += ["wait_for"]
