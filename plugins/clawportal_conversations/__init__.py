"""Conversations with claws that are kept: listed, named, searched and shared, with answers that go on while nobody looks."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import FIRST_STEPS, ApiTag, EventKind, Feature, Job, NavLink, Tab
from clawportal.sdk.permissions import INSTANCE_CHAT
from clawportal_conversations.permissions import CONVERSATION, CONVERSATION_AUDIT, MESSAGE, PIECE

FEATURE = Feature(
    name="conversations",
    title=_m("Conversations"),
    package="clawportal_conversations",
    requires=("live",),
    permissions=(CONVERSATION_AUDIT,),
    resources=(CONVERSATION, MESSAGE, PIECE),
    models=("clawportal_conversations.models",),
    migrations="migrations",
    settings="clawportal_conversations.settings:ConversationSettings",
    events=(
        EventKind("conversation.shared", _m("A conversation was shared with those who may use the claw.")),
        EventKind("conversation.unshared", _m("A conversation is its owner's alone again."), action=_m("Stop sharing {thing}")),
        EventKind("conversation.deleted", _m("A conversation was deleted.")),
        EventKind("conversation.audited", _m("Somebody read a conversation of somebody else."), action=_m("Read {thing}")),
    ),
    api_tags=(ApiTag(_m("Conversations"), _m("What people and claws said to each other, and answers as they come."), 15),),
    api=("clawportal_conversations.api",),
    pages=("clawportal_conversations.pages",),
    nav=(NavLink(_m("Conversations"), "web.talk", icon="message-circle", permission=INSTANCE_CHAT, order=25, key="t"),),
    instance_tabs=(
        Tab("chat", _m("Chat"), "web.instance_chat", "message-circle", INSTANCE_CHAT, order=40, can="chat", in_menu=True),
    ),
    jobs=(Job("lost_answers", "clawportal_conversations.answers:notice_lost_once", every=10, at_start=True),),
    forget=("clawportal_conversations.upkeep:forget_old",),
    on_stop=("clawportal_conversations.answers:end",),
    client_commands=("clawportal_conversations.cli:register",),
    extra={FIRST_STEPS: ("clawportal_conversations.first_steps:steps",)},
)  # fmt: skip


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)
