"""Reading conversations of others: for whoever has the right to audit them, and never unseen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import FIRST_PAGE, Order, Slice, Which, db, listing, visible
from clawportal.sdk.errors import NotFound
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import Actor
from clawportal_conversations.models import Conversation
from clawportal_conversations.permissions import CONVERSATION_AUDIT
from clawportal_conversations.services import claw_of

_NEWEST = Order(
    (Conversation.spoken_at.expression, Conversation.id.expression), (datetime, str), lambda row: (row.spoken_at, row.id),
    descending=True,
)  # fmt: skip


def conversations(actor: Actor, *, instance_id: str = "", which: Which = FIRST_PAGE) -> Slice[Conversation]:
    """All that there are where one may audit them. To be told without their titles, which are words of people."""
    where = [Conversation.instance_id == instance_id] if instance_id else []
    return listing(Conversation, actor, _NEWEST, which, where=where, about=("audit", instance_id), permission=CONVERSATION_AUDIT)


def visit(portal: Portal, actor: Actor, conversation_id: str) -> Conversation:
    """A conversation to be read by an auditor; that he does stands in the audit before he sees a word."""
    query = select(Conversation).where(Conversation.id == conversation_id, visible(Conversation, actor, CONVERSATION_AUDIT))
    row = db.session.scalar(query)
    if row is None:
        raise NotFound(_m("There is no conversation with this id, or you may not audit it."))
    claw = claw_of(row)
    words = _m("%(name)s read the conversation of %(person)s with %(claw)s.", name=actor.name, person=row.person, claw=claw.name)
    data = {"conversation_id": row.id, "person": row.person}
    record(portal, "conversation.audited", actor=actor, instance=claw, message=words, data=data)
    return row
