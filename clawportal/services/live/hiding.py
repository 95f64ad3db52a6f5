"""Secrets in what is handed out: the same number of asterisks in their place, so that sizes stay true."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from clawportal.engine.log_hub import SECRET_LENGTH
from clawportal.runtime_helpers import secret_forms


class Hider:
    """Puts asterisks over the values of secrets in a stream of bytes, as many as there were letters: sizes stay true."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = sorted((text.encode() for text in secret_forms(values) if len(text) >= SECRET_LENGTH), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, forms))) if forms else None
        self._longest = max(map(len, forms), default=0)

    def __call__(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        pattern, held = self._pattern, b""
        if pattern is None:
            yield from pieces
            return
        for piece in pieces:
            held += piece
            safe = len(held) - self._longest + 1  # a secret that begins before here is there as a whole
            if safe <= 0:
                continue
            done, parts = 0, []
            for found in pattern.finditer(held):
                if found.start() >= safe:
                    break
                parts += [held[done : found.start()], b"*" * len(found[0])]
                done = found.end()
            upto = max(safe, done)
            parts.append(held[done:upto])
            yield b"".join(parts)
            held = held[upto:]
        yield pattern.sub(lambda found: b"*" * len(found[0]), held)
