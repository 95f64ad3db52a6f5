"""A WebSocket client for one chat turn: one thread, every wait bounded, closed for certain.

Written on wsproto because the clients at hand either wait for ever on a server that accepts and then says nothing, or
need a thread of their own for each connection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage
from wsproto.utilities import ProtocolError

from clawportal.sdk import _m
from clawportal.sdk.bounded import LINE, Budget, TooMuch, TooSlow, connect, size_in_words


class Refused(OSError):
    """The server answered the handshake with an HTTP status other than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the connection was refused with status {status}")
        self.status = status


class TextSocket:
    """Sends and receives whole text messages. OSError when the other side is gone, TimeoutError when it is silent."""

    def __init__(self, host: str, port: int, target: str, *, budget: Budget, timeout: float = 10.0) -> None:
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._parts: list[str] = []
        self._size = 0
        self._socket = connect(host, port, budget)
        try:
            self._deadline = time.monotonic() + timeout
            self._send(Request(host=f"{host}:{port}", target=target))
            self._events = self._read()
            event = next(self._events)
            if isinstance(event, RejectConnection):
                raise Refused(event.status_code)
            if not isinstance(event, AcceptConnection):
                raise OSError("the server does not speak WebSocket")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send(self, text: str) -> None:
        self._deadline = time.monotonic() + 10.0
        self._send(TextMessage(data=text))

    def receive(self, timeout: float) -> str:
        """The next whole text message; TimeoutError after `timeout` seconds without one."""
        self._deadline = time.monotonic() + timeout
        for event in self._events:
            if isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, CloseConnection):
                raise ConnectionError(
                    f"the claw closed the connection ({int(event.code)} {event.reason or ''})".replace(" )", ")")
                )
            elif isinstance(event, TextMessage):
                self._keep(event.data)
                if event.message_finished:
                    message, self._parts, self._size = "".join(self._parts), [], 0
                    return message
        raise ConnectionError("the claw closed the connection")

    def _keep(self, part: str) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > LINE:
            raise TooMuch(_m("one message of the claw is longer than %(size_in_words)s", size_in_words=size_in_words(LINE)))

    def _send(self, event: Event) -> None:
        self._socket.silence = max(0.001, self._deadline - time.monotonic())
        self._socket.sendall(self._protocol.send(event))

    def close(self) -> None:
        with contextlib.suppress(OSError, ProtocolError):
            self._deadline = time.monotonic() + 1.0
            self._send(CloseConnection(code=1000))
        self._socket.close()

    def _read(self) -> Iterator[Event]:
        while True:
            try:
                yield from self._protocol.events()
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.silence = left
                data = self._socket.recv(65536)
                self._protocol.receive_data(data or None)
            except TooSlow:
                raise
            except TimeoutError:
                raise TimeoutError("the claw was silent for too long") from None
            except ProtocolError as error:
                raise ConnectionError(f"the claw does not follow the protocol: {error}") from error
