"""The engine's client, held to what an honest answer has: docker-py reads a body of any size, for as long as it drips."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import docker
import requests

from clawportal import bounded

LARGEST = 64 * bounded.MIB
"""Of one answer; the list of a thousand containers takes 3 MB."""
_SLACK = 10.0
"""Seconds above the client's own timeout that the body may take."""


class Client(docker.APIClient):  # type: ignore[misc]  # untyped client
    """As docker-py's, but that an answer which is not asked for as a stream is read here."""

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        if more.get("stream"):
            return super().send(request, **more)  # type: ignore[no-any-return]  # as above
        answer: requests.Response = super().send(request, **{**more, "stream": True})
        seconds = more.get("timeout") or self.timeout
        _read(answer, bounded.Budget(float(seconds) + _SLACK, LARGEST))
        return answer


def _read(answer: requests.Response, budget: bounded.Budget) -> None:
    """By `read1`, which waits for one byte: `iter_content` waits for a whole piece, and that may drip."""
    try:
        body = _joined(iter(lambda: answer.raw.read1(65536, decode_content=True), b""), budget)
    except BaseException:
        answer.close()
        raise
    answer._content, answer._content_consumed = body, True  # type: ignore[attr-defined]  # what `content` answers


def whole(pieces: Iterable[bytes], seconds: float) -> bytes:
    """All that a command says, which is the word of whoever made its image."""
    return _joined(pieces, bounded.Budget(seconds, LARGEST))


def _joined(pieces: Iterable[bytes], budget: bounded.Budget) -> bytes:
    kept = []
    for piece in pieces:
        budget.wait()
        budget.took(len(piece))
        kept.append(piece)
    return b"".join(kept)
