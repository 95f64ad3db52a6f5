"""What can be told of a request while it arrives: whether its head is whole, and how much is still to come.

Only for deciding when a thread may begin with it; what a request means is decided by gunicorn's parser.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_HEAD = 64 * 1024
"""Bytes of a head; the parser allows less for each line."""
_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Head:
    """The facts of a head that was read whole."""

    size: int
    body: int | None
    """Bytes that follow it; None where they come in pieces and nobody knows how many."""
    expects: bool
    """The caller sends the body only when told to go on."""
    forwarded: str
    """What proxies say about where this comes from."""


def head_of(received: bytes | bytearray, begin: int = 0) -> Head | None:
    """None while it is not whole. What lies before `begin` was searched already."""
    end = received.find(_END, max(begin - len(_END), 0))
    if end < 0:
        return None
    named = _fields(bytes(received[:end]))
    length = named.get(b"content-length", b"0")
    pieces = b"transfer-encoding" in named
    return Head(
        size=end + len(_END),
        body=None if pieces or not length.isdigit() or len(length) > 18 else int(length),
        expects=b"expect" in named,
        forwarded=named.get(b"x-forwarded-for", b"").decode("latin-1"),
    )


def _fields(head: bytes) -> dict[bytes, bytes]:
    """By name in small letters; a field that comes twice is one with a comma, as HTTP says."""
    named: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        named[name] = named[name] + b"," + value if name in named else value
    return named


def whole(received: bytes | bytearray, head: Head) -> bool:
    """Whether nothing more needs to come."""
    if head.body is None:
        return received.endswith(_LAST_CHUNK)
    return len(received) - head.size >= head.body
