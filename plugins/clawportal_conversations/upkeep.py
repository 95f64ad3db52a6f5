"""What of conversations is dropped after a while: events of answers that are done, and conversations as the settings say."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Select, delete, select

from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.fleet import Portal
from clawportal_conversations.models import RUNNING, Conversation, Message, Piece
from clawportal_conversations.settings import ConversationSettings

EVENTS_KEPT = timedelta(days=1)
"""Whoever was away for longer reads the conversation anew."""
EMPTY_KEPT = timedelta(days=1)


def forget_old(portal: Portal) -> None:
    """Events in a transaction of their own: conversations are held before what is in them, never after."""
    with transaction():
        _forget_empty()
        _forget_silent(portal.section(ConversationSettings).keep_days)
    with transaction():
        _forget_events()


def _forget_silent(days: int) -> None:
    if days:
        old = Conversation.spoken_at < now() - timedelta(days=days)
        db.session.execute(delete(Conversation).where(old, Conversation.id.not_in(_busy())))


def _busy() -> Select[str]:
    return select(Message.conversation_id).where(Message.state == RUNNING)


def _forget_events() -> None:
    """The pieces of an answer that is under way are all that there is of it."""
    running = select(Message.id).where(Message.state == RUNNING)
    old = Piece.at < now() - EVENTS_KEPT
    db.session.execute(delete(Piece).where(old, Piece.message_id.not_in(running)))


def _forget_empty() -> None:
    """Begun, and nothing was ever said."""
    old = Conversation.created_at < now() - EMPTY_KEPT
    db.session.execute(delete(Conversation).where(Conversation.position == 0, ~Conversation.named, old))
