"""A conversation as a file to keep: Markdown to read, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clawportal.sdk.data import db
from clawportal_conversations import documents
from clawportal_conversations.models import PERSON, Conversation
from clawportal_conversations.talking import page

_AT_ONCE = 200


def _all(conversation_id: str, last: int) -> Iterator[dict[str, Any]]:
    """Oldest first, some at a time: the positions are known, and each page is asked for by them. While a slow reader takes one,
    nothing of the database is held."""
    begin = 0
    while begin <= last:
        begin += _AT_ONCE
        found = _before(conversation_id, begin)
        db.session.rollback()
        yield from found


def _before(conversation_id: str, end: int) -> list[dict[str, Any]]:
    """The documents of one page; none where the conversation was deleted meanwhile."""
    row = db.session.get(Conversation, conversation_id)
    shown = page(row, before=end, limit=_AT_ONCE).items if row is not None else []
    return [documents.message(one) for one in shown if one.row.position >= end - _AT_ONCE]


def as_json(row: Conversation) -> Iterator[str]:
    """One document, written piece by piece."""
    head, told = documents.conversation(row), _all(row.id, row.position)
    db.session.rollback()
    yield json.dumps({"conversation": head}, default=_plain, ensure_ascii=False)[:-1] + ', "messages": ['
    for number, one in enumerate(told):
        yield (",\n" if number else "\n") + json.dumps(one, default=_plain, ensure_ascii=False)
    yield "\n]}\n"


def _plain(value: Any) -> str:
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def as_markdown(row: Conversation) -> Iterator[str]:
    title, all_of_it = row.title or row.id, _all(row.id, row.position)
    db.session.rollback()
    yield f"# {title}\n"
    for told in all_of_it:
        yield f"\n## {told['author']}, {told['created_at']:%Y-%m-%d %H:%M} UTC\n\n{told['text']}\n"
        if told["files"]:
            yield "\n" + "".join(f"- {path}\n" for path in told["files"])
        if told["role"] != PERSON and told["reason"]:
            yield f"\n> {told['reason']}\n"
