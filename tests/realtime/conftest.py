"""Browsers as the sockets see them: a real Socket.IO client over a real websocket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import socketio

from tests.conftest import Person, Server, wait_for


class Browser:
    """One connection to one namespace, and all that it heard."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.heard: list[tuple[str, Any]] = []
        self.refused: list[Any] = []
        self.client = socketio.Client(reconnection=False)
        for name in ("changed", "lines", "problem", "sample", "opened", "output", "ended"):
            self.client.on(name, self._note(name), namespace=namespace)
        self.client.on("connect_error", self.refused.append, namespace=namespace)
        self.client.on("disconnect", lambda *_: self.heard.append(("disconnect", None)), namespace=namespace)

    def _note(self, name: str) -> Callable[[Any], None]:
        return lambda data: self.heard.append((name, data))

    def connect(self, token: str | None = None, cookie: str = "") -> Browser:
        auth = None if token is None else {"token": token}
        self.client.connect(
            self.url, headers={"Cookie": cookie} if cookie else {}, auth=auth, transports=["websocket"],
            namespaces=[self.namespace], wait_timeout=10,
        )  # fmt: skip
        return self

    def say(self, event: str, data: Any = None) -> None:
        self.client.emit(event, data, namespace=self.namespace)

    def all(self, name: str) -> list[Any]:
        return [data for heard, data in list(self.heard) if heard == name]

    def texts(self) -> list[str]:
        return [row[4] for batch in self.all("lines") for row in batch["lines"]]

    def hears(self, name: str, seconds: float = 10) -> Any:
        return wait_for(lambda: self.all(name), seconds, f"{name}; heard {self.heard[-3:]}")[-1]


@pytest.fixture
def browser(server: Server) -> Iterator[Callable[..., Browser]]:
    """`browser("/logs", person)` is connected with the person's token; without a person it is not connected yet."""
    made: list[Browser] = []

    def make(namespace: str, person: Person | None = None) -> Browser:
        one = Browser(server.url, namespace)
        made.append(one)
        return one.connect(person.token) if person else one

    yield make
    for one in made:
        one.client.disconnect()
