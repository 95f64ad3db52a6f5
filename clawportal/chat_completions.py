"""The chat completions of OpenAI's dialect, as claws and servers stream them: the events of an answer, and words of a refusal."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

from clawportal import bounded
from clawportal.contracts.adapters import ChatEvent, Usage
from clawportal.messages import _m


def events(answer: http.client.HTTPResponse, model: str, failed: Callable[[str], str]) -> Iterator[ChatEvent]:
    """The events of one streamed answer, up to its `[DONE]`.

    `model` stands with its usage; `failed` makes a sentence of what a server says of its own error in the middle of a stream.
    """
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
            yield ChatEvent("error", failed(words_of(event)))
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


def words_of(answer: dict[str, Any]) -> str:
    """What a server says of its error, without the full stop."""
    error = answer.get("error")
    words = error.get("message") if isinstance(error, dict) else error
    return str(words or "it gave no reason").rstrip(".")


def json_object(text: str) -> dict[str, Any] | None:
    """The object that a text is; None for anything else."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
