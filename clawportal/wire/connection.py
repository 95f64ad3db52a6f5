"""A connection whose other side cannot hold a thread for long: reading and writing have deadlines for the whole of a request."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 30.0
"""So many seconds a request may wait for its caller, all waits added up; what is really transferred earns more time."""
LEAST_RATE = 4096
"""Bytes per second that count as a caller who reads or sends."""
SLOW_AFTER = 0.25
"""A wait that is longer makes a caller a slow one, who needs one of the few places for such."""


class Stalled(ConnectionAbortedError):
    """The other side takes or sends too little for its thread to go on."""


class Connection(socket.socket):
    """In a thread this socket blocks, but not for ever. For a websocket `lasts(forever=True)` makes it an ordinary one."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self.on_slow: Callable[[], bool] = lambda: True
        """Asks for a place among the slow; without one the connection ends."""
        self.on_lasting: Callable[[], None] = lambda: None
        self._limited = False
        self._lasting = self._slow = False
        self._waited = 0.0
        self._moved = 0

    def begin(self) -> None:
        """A request begins; its thread may wait for so long, and no longer."""
        self._limited, self._lasting, self._slow = True, False, False
        self._waited, self._moved = 0.0, 0
        self.settimeout(SLOW_AFTER)

    def lasts(self, *, forever: bool = False) -> None:
        """The answer is one that lasts, which others count. `forever`: whoever took the socket over keeps its own time."""
        self._lasting = True
        if forever:
            self._limited = False
            self.settimeout(None)
        self.on_lasting()

    def answered(self) -> None:
        """The answer is out. What is read now, whoever reads it gives a timeout to."""
        self._limited = False

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if not self._limited:
            return super().recv(size, flags)
        while True:
            began = time.monotonic()
            try:
                data = super().recv(size, flags)
            except TimeoutError:
                if self.gettimeout() != SLOW_AFTER:  # whoever reads here has a time of its own
                    raise
                self._wait(began)
                continue
            self._count(began, len(data))
            return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        if not self._limited:
            return super().sendall(data, flags)
        left = memoryview(data)
        while left:
            began = time.monotonic()
            try:
                sent = super().send(left, flags)
            except TimeoutError:
                self._wait(began)
                continue
            self._count(began, sent)
            left = left[sent:]

    def _count(self, began: float, moved: int) -> None:
        self._waited += time.monotonic() - began
        self._moved += moved

    def _wait(self, began: float) -> None:
        self._waited += time.monotonic() - began
        if self._waited > PATIENCE + self._moved / LEAST_RATE:
            raise Stalled("the other side takes or sends nothing")
        if not (self._slow or self._lasting):
            self._slow = True
            if not self.on_slow():
                raise Stalled("too many slow connections are open")
