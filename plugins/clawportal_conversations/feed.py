"""The events of a conversation: appended in the transaction of what they tell of, followed from any number on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update

from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.fleet import Portal
from clawportal_conversations.bell import Bell
from clawportal_conversations.models import Conversation, Message, Piece

FOLLOW_SECONDS = 60.0
"""So long one stream lasts: whoever follows asks again from where it ended, and his rights are looked at anew."""
LOOK_SECONDS = 0.5
"""How often a follower looks by himself, since the answer may be given by another process."""
PULSE_SECONDS = 10.0
_AT_ONCE = 200
_WHOLE = ("message", "ended")
"""Events that tell a message as it stands."""


@dataclass(frozen=True)
class Fresh:
    """An event to append."""

    kind: str
    message_id: str = ""
    data: dict[str, Any] | None = None


def hold(conversation_id: str) -> bool:
    """Nobody else changes this conversation, nor anything in it, until the commit; False where it is gone.

    Whoever changes a message or its pieces holds their conversation first: so does whoever deletes it, and neither waits for the
    other for ever.
    """
    query = select(Conversation.id).where(Conversation.id == conversation_id).with_for_update()
    return db.session.scalar(query) is not None


def append(portal: Portal, conversation_id: str, events: Sequence[Fresh]) -> int | None:
    """Inside the running transaction; the number of the last one, None where the conversation is gone."""
    moved = update(Conversation).where(Conversation.id == conversation_id).values(event=Conversation.event + len(events))
    last = db.session.execute(moved.returning(Conversation.event), execution_options={"synchronize_session": False}).scalar()
    if last is None:
        return None
    at, first = now(), last - len(events) + 1
    rows = [
        {"conversation_id": conversation_id, "number": number, "kind": one.kind, "message_id": one.message_id,
         "data": one.data or {}, "at": at}
        for number, one in enumerate(events, first)
    ]  # fmt: skip
    db.session.execute(insert(Piece), rows)
    with transaction() as after_commit:
        after_commit(portal.part(Bell).ring, conversation_id)
    return int(last)


def of_message(message_id: str, conversation_id: str, until: int | None = None) -> Iterable[Piece]:
    """The pieces of one answer, in order."""
    query = select(Piece).where(Piece.conversation_id == conversation_id, Piece.message_id == message_id)
    if until is not None:
        query = query.where(Piece.number <= until)
    return db.session.scalars(query.order_by(Piece.number))


@dataclass(frozen=True)
class News:
    """One event as it is told; `reset` means that what came before is not known any more, so that all has to be read anew."""

    number: int
    kind: str
    message_id: str
    data: dict[str, Any]
    message: Message | None = None


def follow(portal: Portal, conversation_id: str, after: int, *, seconds: float = FOLLOW_SECONDS) -> Iterator[News | None]:
    """What comes after an event, as it comes; None is a sign of life. Ends after some time, and when the conversation is gone."""
    end = time.monotonic() + seconds
    if _lost(conversation_id, after):
        after = _newest(conversation_id) or 0
        yield News(after, "reset", "", {})
    pulse = time.monotonic()
    with portal.part(Bell).heard(conversation_id) as ear:
        while time.monotonic() < end and not portal.stopping.is_set():
            ear.clear()
            for one in _after(conversation_id, after):
                after, pulse = one.number, time.monotonic()
                yield one
            gone = _newest(conversation_id) is None
            db.session.rollback()  # nothing of the database is held while it waits
            if gone:
                return
            if not ear.wait(LOOK_SECONDS) and time.monotonic() - pulse > PULSE_SECONDS:
                pulse = time.monotonic()
                yield None


def _after(conversation_id: str, after: int) -> list[News]:
    query = select(Piece).where(Piece.conversation_id == conversation_id, Piece.number > after)
    rows = db.session.scalars(query.order_by(Piece.number).limit(_AT_ONCE)).all()
    wanted = {row.message_id for row in rows if row.kind in _WHOLE}
    found = {row.id: row for row in db.session.scalars(select(Message).where(Message.id.in_(wanted)))} if wanted else {}
    return [
        News(row.number, row.kind, row.message_id, row.data, found.get(row.message_id) if row.kind in _WHOLE else None)
        for row in rows
    ]


def _newest(conversation_id: str) -> int | None:
    return db.session.scalar(select(Conversation.event).where(Conversation.id == conversation_id))


def _lost(conversation_id: str, after: int) -> bool:
    """Whether events after this one are not kept any more, or it was never given out."""
    newest = _newest(conversation_id) or 0
    query = select(func.min(Piece.number)).where(Piece.conversation_id == conversation_id, Piece.number > after)
    return after > newest or (after < newest and db.session.scalar(query) != after + 1)
