"""One turn of a chat, as OpenClaw streams it: the events of its answer, and what its refusals mean."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

from clawportal.sdk import _m, bounded
from clawportal.sdk.adapters import ChatEvent, Usage

_SESSION = re.compile(r"^[a-z0-9_-]{1,64}$")


def session_key(session: str) -> str:
    """Session keys do not tell capitals apart and some beginnings are reserved, so anything unusual is hashed."""
    return f"agent:main:portal-{session if _SESSION.match(session) else hashlib.sha256(session.encode()).hexdigest()[:32]}"


def events(answer: http.client.HTTPResponse, model: str) -> Iterator[ChatEvent]:
    """The events of one streamed answer, up to its `[DONE]`."""
    said: list[str] = []
    for line in bounded.lines(answer):
        data = line.decode("utf-8", "replace").strip().removeprefix("data:").strip()
        if data == "[DONE]":
            yield ChatEvent("final", "".join(said))
            return
        event = json_object(data)
        if event is None:
            continue  # an empty line or a comment that keeps the connection open
        if event.get("error"):
            yield ChatEvent("error", _failure(_words_of(event)))
            return
        yield from _pieces(event, said, model)
    yield ChatEvent("error", _m("The claw ended its answer half way."))


def _pieces(event: dict[str, Any], said: list[str], model: str) -> Iterator[ChatEvent]:
    for choice in event.get("choices") or []:
        part = (choice.get("delta") or {}).get("content")
        if isinstance(part, str) and part:
            said.append(part)
            yield ChatEvent("delta", part)
    used = event.get("usage")
    if isinstance(used, dict):
        yield ChatEvent("usage", usage=Usage(int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0), model))


def _failure(words: str) -> str:
    if "upstream provider" in words or "LLM request failed" in words:
        return _m("The model did not answer (%(words)s). Check its address, its name and its key.", words=words)
    return _m("The claw could not finish its answer: %(words)s.", words=words)


def refusal(status: int, body: bytes) -> str:
    words = _words_of(json_object(body.decode("utf-8", "replace")) or {})
    if status == 503:
        return _m("The claw takes no messages right now: %(words)s.", words=words)
    return _m("The claw refused the message with status %(status)s: %(words)s.", status=status, words=words)


def _words_of(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    words = error.get("message") if isinstance(error, dict) else error
    return str(words or "it gave no reason").rstrip(".")


def json_object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
