"""One request to a claw and the head of its answer, within limits of time and size."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from clawportal_apps.heads import Header

CONNECT_SECONDS = 10.0
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
MAX_BETWEEN = 20
"""Answers in between, such as 100 or 103, before the one that counts."""
PIECE = 256 * 1024
_END = b"\r\n\r\n"


class Unanswered(Exception):
    """The claw's side failed; `status` is what the browser is told."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class Answer:
    """The head of an answer, what of its body has come with it, and the connection for the rest."""

    status: int
    headers: list[Header]
    begun: bytes
    line: socket.socket

    def get(self, name: str) -> str:
        return next((value for given, value in self.headers if given == name), "")

    def length(self, method: str) -> int | None:
        """Bytes of the body; None where only its end tells."""
        if method == "HEAD" or self.status in (204, 304):
            return 0
        told = self.get("content-length")
        return int(told) if told.isascii() and told.isdigit() and not self.get("transfer-encoding") else None

    def body(self, length: int, idle: float) -> Iterator[bytes]:
        """So many bytes; ends early when the claw does, which the browser sees by the length."""
        left = length
        self.line.settimeout(idle)
        if first := self.begun[:left]:
            left -= len(first)
            yield first
        while left > 0:
            piece = _received(self.line, min(left, PIECE))
            if not piece:
                raise Unanswered(502, "the claw ended in the middle of its answer")
            left -= len(piece)
            yield piece


def connect(address: tuple[str, int]) -> socket.socket:
    try:
        line = socket.create_connection(address, CONNECT_SECONDS)
    except OSError as error:
        raise Unanswered(502, f"the claw does not answer: {error}") from error
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def ask(line: socket.socket, first: str, headers: Iterable[Header], body: Iterable[bytes], patience: float) -> Answer:
    """Send a request and read the head of its answer; the body is passed on as it comes."""
    try:
        line.settimeout(patience)
        line.sendall(_head(first, headers))
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered already, as with 413
            for piece in body:
                line.sendall(piece)
        return _answer(line, patience)
    except TimeoutError as error:
        raise Unanswered(504, f"the claw did not begin to answer within {patience:g} seconds") from error
    except OSError as error:
        raise Unanswered(502, f"the claw broke off: {error}") from error


def _head(first: str, headers: Iterable[Header]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    text = "\r\n".join(lines)
    if any(mark in line for line in lines for mark in "\r\n\0"):
        raise Unanswered(400, "a header has a line end inside")
    return text.encode("latin-1")


def _answer(line: socket.socket, patience: float) -> Answer:
    """The first that is not in between."""
    end, received = time.monotonic() + patience, b""
    for _ in range(MAX_BETWEEN + 1):
        head, received = _read_head(line, received, end)
        status, headers = _parsed(head)
        if status == 101 or status >= 200:
            return Answer(status, headers, received, line)
    raise Unanswered(502, "the claw does not come to its answer")


def _read_head(line: socket.socket, received: bytes, end: float) -> tuple[bytes, bytes]:
    while _END not in received:
        if len(received) > MAX_HEAD:
            raise Unanswered(502, "the head of the claw's answer is too large")
        piece = _before(end, line)
        if not piece:
            raise Unanswered(502, "the claw ended before it answered")
        received += piece
    head, _, rest = received.partition(_END)
    return head, rest


def _before(end: float, line: socket.socket) -> bytes:
    """A connection that always has something never runs into its own limit of time."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    line.settimeout(left)
    return line.recv(16 * 1024)


def _parsed(head: bytes) -> tuple[int, list[Header]]:
    """The claw's words for its status are for nobody: what stands for the code is said in the portal's own."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest.partition(" ")[0]
    told = version.startswith("HTTP/1.") and len(code) == 3 and code.isascii() and code.isdigit() and code >= "100"
    if not told or not _plain(first) or len(lines) > MAX_HEADERS:
        raise Unanswered(502, "the claw's answer is not HTTP")
    headers = [_header(line) for line in lines]
    codings = {value.lower() for name, value in headers if name == "transfer-encoding"}
    lengths = {value for name, value in headers if name == "content-length"}
    if codings - {"chunked"} or len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise Unanswered(502, "the claw's answer has no end that all agree on")
    return int(code), headers


def _header(line: str) -> Header:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip() or not _plain(line):
        raise Unanswered(502, "the head of the claw's answer has a line that is no header")
    return name.lower(), value.strip()


def _plain(line: str) -> bool:
    """Without anything that some reader takes for the end of a line or of a text."""
    return not any((ord(letter) < 32 and letter != "\t") or ord(letter) == 127 for letter in line)


def _received(line: socket.socket, size: int) -> bytes:
    try:
        return line.recv(size)
    except TimeoutError as error:
        raise Unanswered(504, "the claw stopped in the middle of its answer") from error
    except OSError as error:
        raise Unanswered(502, f"the claw broke off: {error}") from error


def body_of(environ: dict[str, Any]) -> Iterator[bytes]:
    """What the browser sends, as it comes; in pieces of the wire where nobody knows how many."""
    source, told = environ["wsgi.input"], environ.get("CONTENT_LENGTH", "")
    if environ.get("HTTP_TRANSFER_ENCODING"):
        while piece := source.read(64 * 1024):
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"
        return
    left = int(told) if told.isascii() and told.isdigit() else 0
    while left > 0 and (piece := source.read(min(left, 64 * 1024))):
        left -= len(piece)
        yield piece
