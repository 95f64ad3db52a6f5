"""Identifiers: sortable by time of creation, unguessable enough to be no list of neighbours, short enough to read aloud."""

from __future__ import annotations

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
_SHAPE = re.compile(f"[0-7][{_ALPHABET}]{{{LENGTH - 1}}}", re.IGNORECASE)


def new_id() -> str:
    """48 bits of milliseconds and 80 random bits (a ULID) in Crockford's base 32, lower case."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def looks_like_id(text: str) -> bool:
    return _SHAPE.fullmatch(text) is not None
