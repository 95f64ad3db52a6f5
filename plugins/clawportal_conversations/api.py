"""Conversations over the API: kept, said in, followed by the number of an event, and read by auditors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from flask import Response, request, stream_with_context
from pydantic import Field

from clawportal.sdk import _m
from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import SSE, Answer, Page, Paged, Portal, Query, ServerEvent, UnsupportedMediaType, lasting, op, paged, sse
from clawportal.sdk.chat import MAX_TEXT
from clawportal.sdk.errors import Invalid
from clawportal.sdk.files import INSTANCE_FILES_WRITE, PIECE, counted
from clawportal.sdk.permissions import INSTANCE_CHAT, Actor
from clawportal_conversations import attachments, documents, exports, feed, oversight, services, talking
from clawportal_conversations.models import Conversation
from clawportal_conversations.permissions import CONVERSATION_AUDIT
from clawportal_conversations.talking import Said

TAGS = ("Conversations",)
MARKDOWN = "text/markdown"
BYTES = "application/octet-stream"
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_BIGGEST = 2**53
_EXAMPLE = "01h2xcejqtf2nbrexx3vqjhp41"


# ---- what is answered


class ConversationDocument(Answer):
    id: str
    instance_id: str
    instance: str = Field(description="Name of the claw.")
    title: str = Field(description="Its first words, until somebody names it.")
    shared: bool = Field(description="Whether all who may chat with the claw can read it and write in it.")
    archived: bool
    person: str = Field(description="Whose it is.")
    mine: bool
    messages: int = Field(description="How many there are, those included that others took the place of.")
    created_at: datetime
    spoken_at: datetime = Field(description="When something was last said.")
    event: int = Field(description="Number of its newest event.")


class Spent(Answer):
    input_tokens: int
    output_tokens: int
    model: str
    cost_usd: float | None = Field(description="Null where the claw does not tell.")


class ConversationMessageDocument(Answer):
    id: str
    position: int = Field(description="Grows within the conversation.")
    role: Literal["person", "claw"]
    author: str
    user_id: str | None = Field(description="Who said it, or for whom the claw answers.")
    state: Literal["running", "done", "stopped", "interrupted", "failed"]
    text: str = Field(description="Markdown. Of an answer that is under way: what has come so far.")
    steps: list[dict[str, Any]] = Field(
        description="How the claw came to it: `thinking` with its text, and `tool` with what it was given and what it answered; "
        "both with when it began and how many seconds it took."
    )
    files: list[str] = Field(description="Attached ones, by their paths in the work folder of the claw.")
    reason: str = Field(description="Why an answer is not whole.")
    remedy: str
    question_id: str | None = Field(description="Of an answer: the message that it answers.")
    usage: Spent | None
    created_at: datetime
    finished_at: datetime | None


class MessagesAnswer(Answer):
    items: list[ConversationMessageDocument] = Field(description="Oldest first.")
    older: int | None = Field(description="Send it as `before` to get what was said earlier. Null: this is the beginning.")
    event: int = Field(description="Follow `/events` from here: nothing is missed, and nothing told twice.")


class SaidAnswer(Answer):
    question: ConversationMessageDocument
    answer: ConversationMessageDocument
    event: int = Field(description="Follow `/events` from here to hear all of the answer.")


class StoppedAnswer(Answer):
    stopped: bool = Field(description="False: no answer was under way.")


class AuditedDocument(Answer):
    id: str
    tenant_id: str
    instance_id: str
    instance: str
    person: str
    shared: bool
    messages: int
    created_at: datetime
    spoken_at: datetime


# ---- what is asked


class ConversationQuery(Paged):
    instance: str = Field("", max_length=100, description="Only with the claw of this id.")
    archived: bool = Field(False, description="Those that were put away instead.")
    q: str = Field("", max_length=200, description="Only those that are named so, or in which this was said.")


class NewConversation(Strict):
    instance: str = Field(max_length=100, description="Id of the claw.")
    title: str = Field("", max_length=1000, description="Empty: the first words that are said.")


class ConversationPatch(Strict):
    """What is absent stays."""

    title: str | None = Field(None, max_length=1000, description="Empty: its first words again.")
    archived: bool | None = None
    shared: bool | None = None


class MessagesQuery(Query):
    before: int | None = Field(None, ge=0, le=2**31 - 1, description="Only what stands before this position.")
    limit: int = Field(50, ge=1, le=200, description="Messages in one answer.")


class Words(Strict):
    text: str = Field(description=f"What to say; {MAX_TEXT:,} characters at most.")


class NewMessage(Words):
    key: str = Field("", max_length=200, description="Of your choice: a message that is sent again with it is not said twice.")
    files: list[str] = Field(
        default_factory=list, max_length=100,
        description="Paths in the work folder of the claw, such as `attachments/plan.pdf`; upload them there first.",
    )  # fmt: skip


class AttachQuery(Query):
    name: str = Field("", max_length=500, description="Name of the file, such as `plan.pdf`.")


class AttachedAnswer(Answer):
    path: str = Field(description="In the work folder of the claw; name it in `files` of the message.")
    size: int


class PictureQuery(Query):
    path: str = Field("", max_length=500, description="As `files` of the message has it.")


class EventsQuery(Query):
    after: int | None = Field(None, ge=0, le=_BIGGEST, description="Number of the last event that is known; 0 for all.")


class ConversationExportQuery(Query):
    format: Literal["markdown", "json"] = Field("markdown", description="For people, or for programs.")


class ConversationAuditQuery(Paged):
    instance: str = Field("", max_length=100, description="Only with the claw of this id.")


# ---- conversations


@op("GET", "/conversations", permission=INSTANCE_CHAT, tags=TAGS, summary="Conversations", returns=Page[ConversationDocument],
    problems=(404,))  # fmt: skip
def list_conversations(actor: Actor, query: ConversationQuery) -> Any:
    """Your own, and those that others share with you; in which something was said last comes first."""
    found = services.mine(actor, instance_id=query.instance, archived=query.archived, text=query.q, which=query.which)
    return paged(found, query, documents.conversations(found.items, actor))


@op("POST", "/conversations", permission=INSTANCE_CHAT, tags=TAGS, summary="Begin a conversation", status=201,
    returns=ConversationDocument, problems=(404, 409), example={"instance": _EXAMPLE})  # fmt: skip
def create_conversation(actor: Actor, portal: Portal, body: NewConversation) -> Any:
    """Nothing is said yet. One in which nothing was ever said is gone after a day."""
    made = services.create(portal, actor, body.instance, body.title)
    return documents.conversation(made, actor), 201, {"Location": f"/api/v1/conversations/{made.id}"}


@op("GET", "/conversations/{conversation_id}", permission=INSTANCE_CHAT, tags=TAGS, summary="One conversation",
    returns=ConversationDocument, problems=(404,))  # fmt: skip
def get_conversation(actor: Actor, conversation_id: str) -> dict[str, Any]:
    return documents.conversation(services.get(actor, conversation_id), actor)


@op("PATCH", "/conversations/{conversation_id}", permission=INSTANCE_CHAT, tags=TAGS, summary="Rename, archive or share",
    returns=ConversationDocument, problems=(403, 404), example={"title": "Plans for May"})  # fmt: skip
def change_conversation(actor: Actor, portal: Portal, conversation_id: str, body: ConversationPatch) -> dict[str, Any]:
    """Only whose it is may do this."""
    changes = {name: value for name in body.model_fields_set if (value := getattr(body, name)) is not None}
    return documents.conversation(services.change(portal, actor, conversation_id, changes), actor)


@op("DELETE", "/conversations/{conversation_id}", permission=INSTANCE_CHAT, tags=TAGS, summary="Delete a conversation",
    status=204, problems=(403, 404))  # fmt: skip
def delete_conversation(actor: Actor, portal: Portal, conversation_id: str) -> None:
    """For good. The claw's own memory is not touched."""
    services.remove(portal, actor, conversation_id)


@op("GET", "/conversations/{conversation_id}/export", permission=INSTANCE_CHAT, tags=TAGS, summary="Export a conversation",
    returns=dict[str, Any], produces=(MARKDOWN, "application/json"), problems=(404, 429, 503))  # fmt: skip
def export_conversation(actor: Actor, portal: Portal, conversation_id: str, query: ConversationExportQuery) -> Response:
    row = services.get(actor, conversation_id)

    def begin() -> tuple[Response, Callable[[], None]]:
        return _file(row, query.format), lambda: None

    return lasting(begin)


def _file(row: Conversation, form: str) -> Response:
    whole, kind, end = (exports.as_json, "application/json", "json") if form == "json" else (exports.as_markdown, MARKDOWN, "md")
    answer = Response(stream_with_context(whole(row)), mimetype=kind)
    name = f"{row.title or 'conversation'}.{end}"
    answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"  # never a page of ours
    return answer


# ---- messages


@op("GET", "/conversations/{conversation_id}/messages", permission=INSTANCE_CHAT, tags=TAGS, summary="What was said",
    returns=MessagesAnswer, problems=(404,))  # fmt: skip
def list_messages(actor: Actor, conversation_id: str, query: MessagesQuery) -> dict[str, Any]:
    """The newest messages, or those before a position; without what others took the place of."""
    return _messages(services.get(actor, conversation_id), query)


def _messages(row: Conversation, query: MessagesQuery) -> dict[str, Any]:
    found = talking.page(row, before=query.before, limit=query.limit)
    return {"items": [documents.message(one) for one in found.items], "older": found.older, "event": found.event}


@op("POST", "/conversations/{conversation_id}/messages", permission=INSTANCE_CHAT, tags=TAGS, summary="Say something",
    status=202, returns=SaidAnswer, problems=(404, 409, 429, 503), example={"text": "Who are you?"})  # fmt: skip
def create_message(actor: Actor, portal: Portal, conversation_id: str, body: NewMessage) -> Any:
    """The answer goes on whether somebody listens or not. 409 while the claw still answers here: nothing was sent."""
    return _said(talking.say(portal, actor, conversation_id, body.text, key=body.key, files=body.files)), 202


@op("POST", "/conversations/{conversation_id}/messages/{message_id}/edit", permission=INSTANCE_CHAT, tags=TAGS,
    summary="Say it in other words", status=202, returns=SaidAnswer, problems=(403, 404, 409, 429, 503),
    example={"text": "Who are you, in one sentence?"})  # fmt: skip
def edit_message(actor: Actor, portal: Portal, conversation_id: str, message_id: str, body: Words) -> Any:
    """In the place of your own message and of all that came after it. The claw itself still remembers that."""
    return _said(talking.edit(portal, actor, conversation_id, message_id, body.text)), 202


@op("POST", "/conversations/{conversation_id}/messages/{message_id}/retry", permission=INSTANCE_CHAT, tags=TAGS,
    summary="Have it answered anew", status=202, returns=SaidAnswer, problems=(404, 409, 429, 503))  # fmt: skip
def retry_message(actor: Actor, portal: Portal, conversation_id: str, message_id: str) -> Any:
    """`message_id` is the answer; another one takes its place, and that of all that came after it."""
    return _said(talking.retry(portal, actor, conversation_id, message_id)), 202


@op("POST", "/conversations/{conversation_id}/files", permission=INSTANCE_FILES_WRITE, tags=TAGS, summary="Attach a file",
    status=201, returns=AttachedAnswer, accepts=(BYTES,), streamed=True,
    problems=(404, 409, 411, 413, 415, 503, 507))  # fmt: skip
def attach_file(actor: Actor, portal: Portal, conversation_id: str, query: AttachQuery) -> Any:
    """The body is the file. It goes into the work folder of the claw, where its kind of claw reads files; say its path with the
    next message. What is too large is refused before it is read."""
    if request.mimetype not in ("", BYTES):
        raise UnsupportedMediaType(_m("Send the file itself as %(kind)s.", kind=BYTES))
    leave, size, body = counted(), request.content_length, request.stream
    try:
        path = attachments.take(portal, actor, conversation_id, query.name, size, iter(lambda: body.read(PIECE), b""))
    finally:
        leave()
    return {"path": path, "size": size or 0}, 201


@op("GET", "/conversations/{conversation_id}/messages/{message_id}/picture", permission=INSTANCE_CHAT, tags=TAGS,
    summary="Show an attached picture", produces=PICTURES, problems=(404, 409, 503))  # fmt: skip
def show_picture(actor: Actor, portal: Portal, conversation_id: str, message_id: str, query: PictureQuery) -> Response:
    """PNG, JPEG, GIF or WebP, as its first bytes say; anything else is 404 here, and is had as a file of the claw."""
    found, kind = attachments.picture(portal, actor, conversation_id, message_id, query.path)
    answer = Response(found, mimetype=kind)
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"  # never a page of ours
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


def _said(said: Said) -> dict[str, Any]:
    question, answer = (documents.message(talking.Shown(one)) for one in (said.question, said.answer))
    return {"question": question, "answer": answer, "event": said.event}


@op("POST", "/conversations/{conversation_id}/stop", permission=INSTANCE_CHAT, tags=TAGS, summary="Stop the answer",
    returns=StoppedAnswer, problems=(404,))  # fmt: skip
def stop_answer(actor: Actor, portal: Portal, conversation_id: str) -> dict[str, Any]:
    """What came of it stays."""
    return {"stopped": talking.stop(portal, actor, conversation_id)}


@op("GET", "/conversations/{conversation_id}/events", permission=INSTANCE_CHAT, tags=TAGS, summary="Follow a conversation",
    produces=(SSE,), problems=(404, 429, 503))  # fmt: skip
def follow_conversation(actor: Actor, portal: Portal, conversation_id: str, query: EventsQuery) -> Response:
    """A stream of events, each with a number: send the last one that you have in the header `Last-Event-ID`, or as `after`, and
    you miss nothing and hear nothing twice; the header counts where both are there. Without both it begins with what comes next.
    It ends after a minute; ask again.

    `message` is a message, or an answer that begins; `delta` (`message_id`, `text`) more of its words; `thinking` and `tool` how
    it comes about; `usage` what it took; `ended` the whole answer as it stays; `replaced` (`from`) that messages from this
    position on are no more part of it; `changed` that its name, archive or sharing changed; `reset` that you were away for too
    long: read the messages anew.
    """
    row = services.get(actor, conversation_id)
    after = _after(query, row.event)

    def begin() -> tuple[Response, Callable[[], None]]:
        found = feed.follow(portal, conversation_id, after)
        return sse(_events(found, actor, conversation_id)), lambda: None

    return lasting(begin)


def _after(query: EventsQuery, newest: int) -> int:
    """The header is newer: whoever follows by himself again asks the same address, and says in it what he has heard since."""
    given = request.headers.get("Last-Event-ID", "").strip()
    if not given:
        return newest if query.after is None else query.after
    if not given.isascii() or not given.isdigit() or int(given) > _BIGGEST:
        raise Invalid.field("Last-Event-ID", _m("must be the number of an event of this conversation"))
    return int(given)


def _events(found: Iterator[feed.News | None], actor: Actor, conversation_id: str) -> Iterator[ServerEvent | None]:
    with closing(found):  # type: ignore[type-var]  # a generator
        yield None  # the reader knows at once that it is there
        for one in found:
            yield None if one is None else ServerEvent(documents.news(one), one.kind, str(one.number))


# ---- audit


@op("GET", "/conversation-audit", permission=CONVERSATION_AUDIT, tags=TAGS, summary="Conversations that can be audited",
    returns=Page[AuditedDocument])  # fmt: skip
def list_audited_conversations(actor: Actor, query: ConversationAuditQuery) -> Any:
    """Of everybody where you may audit them; without a word of what was said."""
    found = oversight.conversations(actor, instance_id=query.instance, which=query.which)
    documented = zip(found.items, documents.conversations(found.items), strict=True)
    return paged(found, query, [_audited(told | {"tenant_id": row.tenant_id}) for row, told in documented])


def _audited(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in AuditedDocument.model_fields}


@op("GET", "/conversation-audit/{conversation_id}/messages", permission=CONVERSATION_AUDIT, tags=TAGS,
    summary="Read a conversation as an auditor", returns=MessagesAnswer, problems=(404,))  # fmt: skip
def read_audited_conversation(actor: Actor, portal: Portal, conversation_id: str, query: MessagesQuery) -> dict[str, Any]:
    """Each time stands in the audit, with your name and whose conversation it is."""
    return _messages(oversight.visit(portal, actor, conversation_id), query)
