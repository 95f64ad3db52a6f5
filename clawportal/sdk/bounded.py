"""Limits for whatever is read from outside, in time and in size."""

from __future__ import annotations

from clawportal.bounded import (
    ANSWER,
    KIB,
    LINE,
    MIB,
    STREAM,
    TURN,
    BoundedSocket,
    Budget,
    HTTPConnection,
    SizedQueue,
    TooMuch,
    TooSlow,
    connect,
    last,
    lines,
    parse_json,
    size_in_words,
)

__all__ = [
    "ANSWER",
    "KIB",
    "LINE",
    "MIB",
    "STREAM",
    "TURN",
    "BoundedSocket",
    "Budget",
    "HTTPConnection",
    "SizedQueue",
    "TooMuch",
    "TooSlow",
    "connect",
    "last",
    "lines",
    "parse_json",
    "size_in_words",
]
