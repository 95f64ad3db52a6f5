"""One turn of a chat, as OpenClaw streams it: the events of its answer, and what its refusals mean."""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Iterator

from clawportal.sdk import _m, chat_completions
from clawportal.sdk.adapters import ChatEvent
from clawportal.sdk.chat_completions import json_object, words_of

_SESSION = re.compile(r"^[a-z0-9_-]{1,64}$")


def session_key(session: str) -> str:
    """Session keys do not tell capitals apart and some beginnings are reserved, so anything unusual is hashed."""
    return f"agent:main:portal-{session if _SESSION.match(session) else hashlib.sha256(session.encode()).hexdigest()[:32]}"


def events(answer: http.client.HTTPResponse, model: str) -> Iterator[ChatEvent]:
    """The events of one streamed answer."""
    return chat_completions.events(answer, model, _failure)


def _failure(words: str) -> str:
    if "upstream provider" in words or "LLM request failed" in words:
        return _m("The model did not answer (%(words)s). Check its address, its name and its key.", words=words)
    return _m("The claw could not finish its answer: %(words)s.", words=words)


def refusal(status: int, body: bytes) -> str:
    words = words_of(json_object(body.decode("utf-8", "replace")) or {})
    if status == 503:
        return _m("The claw takes no messages right now: %(words)s.", words=words)
    return _m("The claw refused the message with status %(status)s: %(words)s.", status=status, words=words)
