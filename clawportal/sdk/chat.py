"""Talking with a running claw: one turn of a conversation whose people the caller looks after.

    for batch in turn(portal, actor, instance_id, session, text):
        ...  # what came since the last time; empty every few seconds while there is nothing new

It checks the right to chat, that the claw runs, and what is wrong with the request, before it returns. Everything after that ends
with one `final` or one `error`, whatever happens to the claw; closing the iterator ends the turn.

Whoever stores something in the same transaction makes the same in three steps:

    ready = prepare(portal, actor, instance_id, session, text)
    with transaction():
        ready.record()
        ...
    for batch in ready.begin():
        ...
"""

from __future__ import annotations

from clawportal.contracts.adapters import ChatEvent, ToolUse, Usage
from clawportal.services.live.chat import MAX_TEXT, TURN_SECONDS, Ready, prepare
from clawportal.services.live.chat import gathered as turn

__all__ = [
    "MAX_TEXT",
    "TURN_SECONDS",
    "ChatEvent",
    "Ready",
    "ToolUse",
    "Usage",
    "prepare",
    "turn",
]
