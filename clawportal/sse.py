"""Reads server-sent events as the HTML standard says: lines end at CR, LF or CRLF, and at nothing else.

What JSON may hold raw (U+2028, U+2029, U+0085 ...) ends no line here, unlike in `str.splitlines` and what is built on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONGEST = 16 * 1024 * 1024
"""Bytes of one line; a server that sends more without an end is no portal and no claw."""
_END = re.compile(rb"\r\n|\r|\n")


class TooLong(ValueError):
    """A line without end."""


@dataclass(frozen=True)
class Event:
    """One event; its data as text, with newlines between what came as several lines."""

    name: str
    id: str
    data: str


def lines(pieces: Iterable[bytes], longest: int = LONGEST) -> Iterator[str]:
    """Whole lines out of pieces that were cut anywhere. What comes after the last end is no line: it may be half of one."""
    rest = bytearray()
    after_cr = False
    for piece in pieces:
        if not piece:
            continue
        begin = 1 if after_cr and piece.startswith(b"\n") else 0
        after_cr = piece.endswith(b"\r")
        *whole, last = _END.split(piece[begin:])
        for line in whole:
            yield (bytes(rest) + line).decode("utf-8", "replace")
            rest.clear()
        rest += last
        if len(rest) > longest:
            raise TooLong(f"a line is longer than {longest} bytes")


def events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """Comments and unknown fields are left out; an id holds for the events after it, too."""
    name, number, data = "", "", list[str]()
    for line in lines(pieces):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name or "message", number, "\n".join(data))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            number = value
