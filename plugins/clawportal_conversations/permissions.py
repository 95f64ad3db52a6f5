"""The right that comes with conversations, and what their tables hold to those who read refusals and the audit.

Talking and reading one's own need the right to chat, which the core has. Reading those of others is a right that no built-in role
inside an organisation holds: somebody has to give it on purpose.
"""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import INSTANCE_CHAT, permission

CONVERSATION_AUDIT = permission(
    "conversation.audit", _m("Read the conversations of others with claws; each look is recorded in the audit")
)
_PRIVATE = "What people say to a claw belongs into no audit; facts such as sharing are told as events."
CONVERSATION = Resource(
    "conversations_conversation", _m("conversation"), key="conversation", read=INSTANCE_CHAT, unaudited=_PRIVATE
)
MESSAGE = Resource("conversations_message", _m("message"), unaudited=_PRIVATE)
PIECE = Resource("conversations_piece", unaudited=_PRIVATE)
