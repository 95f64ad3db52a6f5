"""A server with bad manners: it drips, never ends a line, sends headers without end, or a gigabyte in a kilobyte.

It speaks to everybody alike and reads only what it has to, so that it can stand for a claw, a provider or an engine.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

PIECE = b"x" * 65536
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_WS_SECRET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class HostileServer:
    """`manners` is the name of one of the functions below. `sent` counts what went out."""

    def __init__(self, manners: str, *, pause: float = 0.05, most: int = 400 * 1024**2, port: int = 0) -> None:
        self.manners, self.pause, self.most = manners, pause, most
        self.sent = 0
        self.asked = 0
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._callers: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name=f"hostile-{manners}", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for caller in list(self._callers):
            with contextlib.suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self._callers.add(caller)
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            with caller:
                request = _head_of(caller)
                self.asked += 1
                for piece in _MANNERS[self.manners](request):
                    if self._over.is_set() or self.sent > self.most:
                        return
                    caller.sendall(piece)
                    self.sent += len(piece)
                    if len(piece) == 1:
                        self._over.wait(self.pause)
                self._over.wait(30)  # and then it says nothing
        except OSError:
            pass  # the caller has had enough
        finally:
            self._callers.discard(caller)


def _head_of(caller: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found and len(found) < 65536:
        piece = caller.recv(4096)
        if not piece:
            break
        found += piece
    return found


def _forever(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def drip(request: bytes) -> Iterator[bytes]:
    """A body, a byte at a time."""
    yield _HEAD + b"Content-Length: 1000000\r\n\r\n"
    yield from _forever(b" ")


def drip_headers(request: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Slow: "
    yield from _forever(b"a")


def endless_headers(request: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    yield from _forever(PIECE)


def endless_continue(request: bytes) -> Iterator[bytes]:
    yield from _forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def giant_line(request: bytes) -> Iterator[bytes]:
    """An answer that is one line, without length or end."""
    yield _HEAD + b'Connection: close\r\n\r\n{"delta": "'
    yield from _forever(PIECE)


def giant_chunk(request: bytes) -> Iterator[bytes]:
    yield _HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n"
    yield from _forever(PIECE)


def many_lines(request: bytes) -> Iterator[bytes]:
    """Lines of a proper size, without end."""
    yield _HEAD + b"Connection: close\r\n\r\n"
    text = "x" * 60_000
    yield from _forever(f'data: {{"delta": "{text}", "choices": [{{"delta": {{"content": "{text}"}}}}]}}\n'.encode())


def deep_json(request: bytes) -> Iterator[bytes]:
    body = b"[" * 500_000
    yield _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def gzip_bomb(request: bytes) -> Iterator[bytes]:
    """900 KB that become 900 MB."""
    body = gzip.compress(b"\0" * 1024**2) * 900
    yield _HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    yield body


def giant_frame(request: bytes) -> Iterator[bytes]:
    """A WebSocket message of two gigabytes."""
    yield _handshake(request) + b"\x81\x7f" + struct.pack(">Q", 2 * 1024**3)
    yield from _forever(PIECE)


def endless_message(request: bytes) -> Iterator[bytes]:
    """A WebSocket message in small frames, none of which is the last."""
    yield _handshake(request) + b"\x01\x7e" + struct.pack(">H", 1000) + b"y" * 1000
    yield from _forever((b"\x00\x7e" + struct.pack(">H", 1000) + b"y" * 1000) * 60)


def babble(request: bytes) -> Iterator[bytes]:
    """WebSocket messages that have nothing to do with the question."""
    said = b'{"event": "delta", "chat_id": "another", "text": "%s"}' % (b"x" * 60_000)
    yield _handshake(request)
    yield from _forever(b"\x81\x7e" + struct.pack(">H", len(said)) + said)


def _handshake(request: bytes) -> bytes:
    found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    accept = base64.b64encode(hashlib.sha1((found[1] if found else b"") + _WS_SECRET).digest())  # noqa: S324  # RFC 6455 says so
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"


def silent(request: bytes) -> Iterator[bytes]:
    return iter(())


_MANNERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    one.__name__: one
    for one in (
        drip, drip_headers, endless_headers, endless_continue, giant_line, giant_chunk, many_lines, deep_json, gzip_bomb,
        giant_frame, endless_message, babble, silent,
    )
}  # fmt: skip
MANNERS = tuple(_MANNERS)
