"""Conversations, messages and events as the API tells them; exports are made of the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawportal.sdk.fleet import Instance
from clawportal.sdk.permissions import Actor
from clawportal_conversations.feed import News
from clawportal_conversations.models import CLAW, RUNNING, Conversation, Message
from clawportal_conversations.services import claw_of, claws_of
from clawportal_conversations.talking import Shown


def conversations(rows: Sequence[Conversation], actor: Actor | None = None) -> list[dict[str, Any]]:
    """Of a list; their claws are asked for at once."""
    claws = claws_of(rows)
    return [_conversation(row, claws.get(row.instance_id), actor) for row in rows]


def conversation(row: Conversation, actor: Actor | None = None) -> dict[str, Any]:
    return _conversation(row, claw_of(row), actor)


def _conversation(row: Conversation, claw: Instance | None, actor: Actor | None) -> dict[str, Any]:
    return {
        "id": row.id, "instance_id": row.instance_id, "instance": claw.name if claw else "", "title": row.title,
        "shared": row.shared, "archived": row.archived_at is not None, "person": row.person,
        "mine": actor is not None and row.user_id == actor.id,
        "messages": row.position, "created_at": row.created_at, "spoken_at": row.spoken_at, "event": row.event,
    }  # fmt: skip


def message(shown: Shown) -> dict[str, Any]:
    row, so_far = shown.row, shown.so_far
    return {
        "id": row.id, "position": row.position, "role": row.role, "author": row.author, "user_id": row.user_id,
        "state": row.state, "text": so_far.text if so_far else row.text, "steps": so_far.steps if so_far else row.steps,
        "files": row.files, "reason": row.reason, "remedy": row.remedy, "question_id": row.question_id,
        "usage": _usage(row), "created_at": row.created_at, "finished_at": row.finished_at,
    }  # fmt: skip


def _usage(row: Message) -> dict[str, Any] | None:
    if row.input_tokens is None and row.output_tokens is None:
        return None
    return {
        "input_tokens": row.input_tokens or 0, "output_tokens": row.output_tokens or 0, "model": row.model,
        "cost_usd": row.cost_usd,
    }  # fmt: skip


def news(one: News) -> dict[str, Any]:
    """What an event tells. A message that begins is told empty: its words are events of their own."""
    if one.message is None:
        return {"message_id": one.message_id, **one.data} if one.message_id else dict(one.data)
    told = message(Shown(one.message))
    if one.kind == "message" and one.message.role == CLAW:
        told |= {"text": "", "steps": [], "state": RUNNING, "reason": "", "remedy": "", "usage": None, "finished_at": None}
    return told
