"""Chat with a running claw: one request for each message, answered whole or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, request
from pydantic import Field

from clawportal.api._layer import JSON, SSE, Answer, ServerEvent, as_json, op, sse
from clawportal.contracts.adapters import ChatEvent
from clawportal.contracts.core_permissions import INSTANCE_CHAT
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.errors import Unavailable
from clawportal.http import streams
from clawportal.messages import joined
from clawportal.services.live import chat

TAGS = ("Instances",)
_HOW = ("thinking", "tool")
"""What is no part of an answer."""


class Message(Strict):
    """What is said to a claw."""

    text: str = Field(description=f"What to say; {chat.MAX_TEXT:,} characters at most.")
    session: str = Field(
        chat.DEFAULT_SESSION, description="Names the conversation: 1 to 64 letters, digits, dashes or underscores. Yours alone."
    )


class Tokens(Answer):
    """What the turn cost, as the claw reported it."""

    input_tokens: int
    output_tokens: int
    model: str


class Reply(Answer):
    """The claw's whole answer."""

    text: str
    usage: Tokens | None
    session: str


@op("POST", "/instances/{instance_id}/chat", permission=INSTANCE_CHAT, tags=TAGS, summary="Chat with an instance",
    returns=Reply, produces=(JSON, SSE), problems=(404, 409, 422, 503), example={"text": "Who are you?"})  # fmt: skip
def chat_with_instance(actor: Actor, portal: Portal, instance_id: str, body: Message) -> dict[str, Any] | Response:
    """JSON with the whole answer, or with `Accept: text/event-stream` a stream of events.

    `delta` has `{"text"}`, a piece of the answer; `usage` has `{"input_tokens", "output_tokens", "model"}`; the turn ends with
    `final`, which has the whole `{"text"}`, or with `error`, which has `{"message", "remedy"}`.
    """

    def begin() -> tuple[Response, Callable[[], None]]:
        events = chat.pulsing(portal, actor, instance_id, body.session, body.text)
        return (sse(_pieces(events)), events.close) if _wants_stream() else (_whole(events, body.session), events.close)

    return streams.lasting(begin)


def _wants_stream() -> bool:
    return request.accept_mimetypes.best_match([JSON, SSE], JSON) == SSE


def _pieces(events: Iterator[ChatEvent | None]) -> Iterator[ServerEvent | None]:
    for event in events:
        yield None if event is None or event.kind in _HOW else ServerEvent(_data(event), event.kind)


def _data(event: ChatEvent) -> dict[str, Any]:
    if event.kind == "error":
        return {"message": event.text, "remedy": event.remedy}
    if event.kind == "usage":
        return _usage(event) or {}
    return {"text": event.text}


def _usage(event: ChatEvent) -> dict[str, Any] | None:
    usage = event.usage
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "model": usage.model} if usage else None


def _whole(events: Iterator[ChatEvent | None], session: str) -> Response:
    usage: dict[str, Any] | None = None
    for event in events:
        if event is None or event.kind == "delta" or event.kind in _HOW:
            continue
        if event.kind == "error":
            raise Unavailable(joined(filter(None, (event.text, event.remedy))))
        if event.kind == "usage":
            usage = _usage(event)
        else:
            return Response(as_json({"text": event.text, "usage": usage, "session": session}), mimetype=JSON)
    raise AssertionError("a turn ends with final or error")
