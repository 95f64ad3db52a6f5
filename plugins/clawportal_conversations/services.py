"""Conversations: those of a person, and those shared with him; their names, their archive and their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select

from clawportal.sdk import _m
from clawportal.sdk.data import FIRST_PAGE, Order, Slice, Which, db, get_or_404, listing, now, says, transaction, visible
from clawportal.sdk.errors import Conflict, Forbidden, Invalid, Unsupported
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.permissions import INSTANCE_CHAT, Actor
from clawportal_conversations import feed
from clawportal_conversations.feed import Fresh
from clawportal_conversations.models import Conversation, Message
from clawportal_conversations.settings import ConversationSettings

LONGEST_TITLE = 200
FIRST_WORDS = 60
"""Characters of what was said first, by which a conversation is known until somebody names it."""
_MOST_CLAWS = 500
_NEWEST = Order(
    (Conversation.spoken_at.expression, Conversation.id.expression), (datetime, str), lambda row: (row.spoken_at, row.id),
    descending=True,
)  # fmt: skip


def mine(
    actor: Actor,
    *,
    instance_id: str = "",
    archived: bool = False,
    text: str = "",
    spoken: bool = False,
    which: Which = FIRST_PAGE,
) -> Slice[Conversation]:
    """Newest first: one's own and those that others share; with `text` only those where it was said or that are named so,
    with `spoken` without those in which nothing was said yet."""
    where: list[ColumnElement[bool]] = [Conversation.archived_at.is_not(None) if archived else Conversation.archived_at.is_(None)]
    if instance_id:
        get_or_404(Instance, instance_id, actor, INSTANCE_CHAT)
        where.append(Conversation.instance_id == instance_id)
    if spoken:
        where.append(or_(Conversation.position > 0, Conversation.named))
    if text.strip():
        where.append(_matches(text.strip()))
    return listing(Conversation, actor, _NEWEST, which, where=where, about=(instance_id, archived, text, spoken))


def _matches(text: str) -> ColumnElement[bool]:
    """Asked for each conversation that one reaches, so that the words of others are not even looked at."""
    said = exists().where(
        Message.conversation_id == Conversation.id, Message.replaced_at.is_(None), says(Message.text, text)
    )  # fmt: skip
    return or_(says(Conversation.title, text), said)


def get(actor: Actor, conversation_id: str, *, lock: bool = False) -> Conversation:
    return get_or_404(Conversation, conversation_id, actor, INSTANCE_CHAT, lock=lock)


def claws(actor: Actor) -> Sequence[Instance]:
    """Those that one may chat with, by name."""
    query = select(Instance).where(visible(Instance, actor, INSTANCE_CHAT), Instance.destroyed_at.is_(None))
    return db.session.scalars(query.order_by(Instance.name, Instance.id).limit(_MOST_CLAWS)).all()


def claw_of(row: Conversation) -> Instance:
    found = row.instance()
    assert isinstance(found, Instance), "a conversation goes with its claw"
    return found


def claws_of(rows: Iterable[Conversation]) -> Mapping[str, Instance]:
    """Those of several conversations by their ids, in one statement."""
    wanted = {row.instance_id for row in rows}
    return {one.id: one for one in db.session.scalars(select(Instance).where(Instance.id.in_(wanted)))} if wanted else {}


def create(portal: Portal, actor: Actor, instance_id: str, title: str = "") -> Conversation:
    """A new one with a claw; nothing is said yet."""
    title = _title(title)
    with transaction():
        instance = get_or_404(Instance, instance_id, actor, INSTANCE_CHAT)
        adapter = portal.registry.adapters.get(instance.adapter)
        if adapter is None or "chat" not in adapter.capabilities:
            raise Unsupported(_m("%(name)s cannot be talked to: its kind of claw has no chat.", name=instance.name))
        _refuse_too_many(portal, actor)
        row = Conversation(
            tenant_id=instance.tenant_id, instance_id=instance.id, user_id=actor.id, person=actor.name, title=title,
            named=bool(title),
        )  # fmt: skip
        db.session.add(row)
    return row


def _refuse_too_many(portal: Portal, actor: Actor) -> None:
    most = portal.section(ConversationSettings).most_each
    count = db.session.scalar(select(func.count()).select_from(Conversation).where(Conversation.user_id == actor.id)) or 0
    if count >= most:
        raise Conflict(_m("You have %(n)s conversations, which is as many as one person may keep. Delete some first.", n=count))


def _title(text: str) -> str:
    title = " ".join(text.split())
    if len(title) > LONGEST_TITLE:
        raise Invalid.field("title", _m("may have %(n)s characters at most", n=LONGEST_TITLE))
    return title


def first_words(text: str) -> str:
    """What a conversation is called that begins so."""
    words = " ".join(text.split())
    if len(words) <= FIRST_WORDS:
        return words
    head = words[:FIRST_WORDS].rsplit(" ", 1)[0]
    return f"{head}…"


def change(portal: Portal, actor: Actor, conversation_id: str, changes: Mapping[str, Any]) -> Conversation:
    """`title`, `archived` and `shared`; what is absent stays."""
    with transaction():
        row = _own(actor, conversation_id)
        if "title" in changes:
            _rename(row, _title(changes["title"]))
        if "archived" in changes:
            row.archived_at = (row.archived_at or now()) if changes["archived"] else None
        if "shared" in changes and changes["shared"] != row.shared:
            _share(portal, actor, row, changes["shared"])
        db.session.flush()
        feed.append(portal, row.id, [Fresh("changed")])
    return row


def _own(actor: Actor, conversation_id: str) -> Conversation:
    row = get(actor, conversation_id, lock=True)
    if row.user_id != actor.id:
        raise Forbidden(_m("This conversation is shared by %(person)s, who alone may do this with it.", person=row.person))
    return row


def _rename(row: Conversation, title: str) -> None:
    first = select(Message.text).where(Message.conversation_id == row.id).order_by(Message.position).limit(1)
    row.title = title or first_words(db.session.scalar(first) or "")
    row.named = bool(title)


def _share(portal: Portal, actor: Actor, row: Conversation, shared: bool) -> None:
    row.shared = shared
    claw = claw_of(row)
    words = (
        _m("%(name)s shared a conversation with those who may use %(claw)s.", name=actor.name, claw=claw.name)
        if shared
        else _m("%(name)s no longer shares a conversation with %(claw)s.", name=actor.name, claw=claw.name)
    )
    kind = "conversation.shared" if shared else "conversation.unshared"
    record(portal, kind, actor=actor, instance=claw, message=words, data={"conversation_id": row.id})


def remove(portal: Portal, actor: Actor, conversation_id: str) -> None:
    """For good, with all that was said; an answer that goes on ends."""
    with transaction():
        row = _own(actor, conversation_id)
        claw = claw_of(row)
        words = _m("%(name)s deleted a conversation with %(claw)s.", name=actor.name, claw=claw.name)
        record(portal, "conversation.deleted", actor=actor, instance=claw, message=words, data={"conversation_id": row.id})
        db.session.delete(row)
