"""A conversation as a file to keep: Markdown to read, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clawportal_conversations import documents
from clawportal_conversations.models import PERSON, Conversation
from clawportal_conversations.talking import Shown, page

_AT_ONCE = 200


def _all(row: Conversation) -> Iterator[Shown]:
    """Oldest first, some at a time: the positions are known, and each page is asked for by them."""
    begin = 0
    while begin <= row.position:
        begin += _AT_ONCE
        yield from (one for one in page(row, before=begin, limit=_AT_ONCE).items if one.row.position >= begin - _AT_ONCE)


def as_json(row: Conversation) -> Iterator[str]:
    """One document, written piece by piece."""
    yield json.dumps({"conversation": documents.conversation(row)}, default=_plain, ensure_ascii=False)[:-1] + ', "messages": ['
    for number, shown in enumerate(_all(row)):
        yield (",\n" if number else "\n") + json.dumps(documents.message(shown), default=_plain, ensure_ascii=False)
    yield "\n]}\n"


def _plain(value: Any) -> str:
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def as_markdown(row: Conversation) -> Iterator[str]:
    yield f"# {row.title or row.id}\n"
    for shown in _all(row):
        told = documents.message(shown)
        yield f"\n## {told['author']}, {told['created_at']:%Y-%m-%d %H:%M} UTC\n\n{told['text']}\n"
        if told["files"]:
            yield "\n" + "".join(f"- {path}\n" for path in told["files"])
        if told["role"] != PERSON and told["reason"]:
            yield f"\n> {told['reason']}\n"
