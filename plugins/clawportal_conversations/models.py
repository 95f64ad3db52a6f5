"""Conversations of people with claws, the messages in them, and the pieces in which answers came."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, ForeignKey, Index, String, Text, UniqueConstraint, and_, or_, text
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.sdk.data import LENGTH, Base, InstanceScoped, MessageText, UTCDateTime, new_id, now
from clawportal.sdk.permissions import Actor, Permission
from clawportal_conversations.permissions import CONVERSATION, CONVERSATION_AUDIT, MESSAGE, PIECE

RUNNING, DONE, STOPPED, INTERRUPTED, FAILED = "running", "done", "stopped", "interrupted", "failed"
"""How an answer is: `interrupted` has what came until then, `failed` has nothing."""
PERSON, CLAW = "person", "claw"


class Conversation(InstanceScoped, Base):
    """Of one person; others reach it where it is shared and they may chat with the claw, auditors by a right of their own."""

    __tablename__ = "conversations_conversation"
    resource = CONVERSATION
    __table_args__ = (
        Index("ix_conversations_conversation_owner", "user_id", "spoken_at", "id"),
        Index("ix_conversations_conversation_claw", "instance_id", "spoken_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), index=True)
    instance_id: Mapped[str] = mapped_column(ForeignKey("instance.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    person: Mapped[str] = mapped_column(String(200), default="")
    """Name of the account when it began."""
    title: Mapped[str] = mapped_column(String(200), default="")
    """Its first words, until somebody names it."""
    named: Mapped[bool] = mapped_column(default=False)
    shared: Mapped[bool] = mapped_column(default=False)
    archived_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    spoken_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    """When something was last said in it."""
    position: Mapped[int] = mapped_column(default=0)
    """Of its newest message."""
    event: Mapped[int] = mapped_column(BigInteger, default=0)
    """Number of its newest event."""
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    """Characters in all messages, and in how the claw came to them."""

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        reached = super().visible_to(actor, permission)
        if permission == CONVERSATION_AUDIT:
            return reached
        return and_(reached, or_(cls.user_id == actor.id, cls.shared))

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        mine = permission == CONVERSATION_AUDIT or self.shared or self.user_id == actor.id
        return mine and super().reached_by(actor, permission)


class Message(Base):
    """What a person said, or an answer of the claw."""

    __tablename__ = "conversations_message"
    resource = MESSAGE
    __table_args__ = (
        UniqueConstraint("conversation_id", "position"),
        UniqueConstraint("conversation_id", "key"),
        # two tabs, or two portals, never ask a claw twice at once in one conversation
        Index("uq_conversations_message_running", "conversation_id", unique=True,
              sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
        Index("ix_conversations_message_beat_at", "beat_at",
              sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(LENGTH), primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations_conversation.id", name="fk_conversations_message_conversation", ondelete="CASCADE")
    )
    position: Mapped[int]
    role: Mapped[str] = mapped_column(String(10))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id", ondelete="SET NULL"))
    """Who said it, or for whom the claw answers."""
    author: Mapped[str] = mapped_column(String(200), default="")
    text: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(20), default=DONE)
    question_id: Mapped[str | None] = mapped_column(String(LENGTH))
    """Of an answer: to what."""
    key: Mapped[str | None] = mapped_column(String(64))
    """By which a message that is sent twice is known; of the sender's choice."""
    files: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Attached ones, by their paths in the claw's work folder."""
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """How the claw came to it: thinking, and tools with what they were given, what they answered and how long they took."""
    reason: Mapped[str] = mapped_column(MessageText, default="")
    remedy: Mapped[str] = mapped_column(MessageText, default="")
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    model: Mapped[str] = mapped_column(String(200), default="")
    cost_usd: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    replaced_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """When something else was said, or answered, in its place."""
    holder: Mapped[str] = mapped_column(String(80), default="")
    """The process that waits for the answer."""
    beat_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """When that process was last seen to wait."""


class Piece(Base):
    """One event of a conversation, in order: what somebody who follows it is told."""

    __tablename__ = "conversations_piece"
    resource = PIECE
    __table_args__ = (Index("ix_conversations_piece_at", "at"),)

    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations_conversation.id", name="fk_conversations_piece_conversation", ondelete="CASCADE"),
        primary_key=True,
    )
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20))
    """`message`, `delta`, `thinking`, `tool`, `usage`, `ended`, `replaced`, `changed`."""
    message_id: Mapped[str] = mapped_column(String(LENGTH), default="")
    data: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=now)
