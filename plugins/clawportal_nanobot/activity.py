"""How nanobot comes to an answer: its thinking, and the tools that it uses, as its WebSocket tells them beside the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from clawportal.sdk.adapters import ChatEvent, ToolUse

_STATES: dict[str, Literal["begun", "done", "failed"]] = {"start": "begun", "end": "done", "error": "failed"}


def how(event: dict[str, Any]) -> Iterator[ChatEvent]:
    """What one event tells of that; nothing for one that is part of the answer."""
    if event.get("event") == "reasoning_delta" and isinstance(event.get("text"), str):
        yield ChatEvent("thinking", event["text"])
    uses = event.get("tool_events")
    for use in uses if isinstance(uses, list) else ():
        if isinstance(use, dict) and str(use.get("phase")) in _STATES:
            yield ChatEvent("tool", tool=_tool(use))


def _tool(use: dict[str, Any]) -> ToolUse:
    state = _STATES[use["phase"]]
    output = use.get("error") if state == "failed" else use.get("result")
    return ToolUse(str(use.get("call_id") or ""), str(use.get("name") or ""), state, _text(use.get("arguments")), _text(output))


def _text(value: Any) -> str:
    if value in (None, {}, ""):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
