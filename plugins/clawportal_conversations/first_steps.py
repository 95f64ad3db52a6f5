"""First steps of somebody new: a word with a claw."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db
from clawportal.sdk.features import FirstStep
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import INSTANCE_CHAT, Actor
from clawportal_conversations.models import Conversation


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    """Only for people who may talk to some claw."""
    if not actor.has(INSTANCE_CHAT):
        return
    own = select(Conversation.id).where(Conversation.user_id == actor.id).limit(1)
    yield FirstStep(
        "conversations.first",
        _m("Talk to it"),
        _m("Ask it something. What you said to each other is kept for next time."),
        db.session.scalar(own) is not None,
        "web.talk",
        audience="team",
        order=80,
    )
