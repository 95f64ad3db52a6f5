"""What nanobot tells beside its answer, in the shapes of its WebSocket; other shapes tell nothing."""

from __future__ import annotations

from typing import Any

import pytest

from clawportal.contracts.adapters import ChatEvent, ToolUse
from clawportal_nanobot.activity import how

USE = {"call_id": "c1", "name": "read_file", "arguments": {"path": "notes.md"}}


def test_tools_and_thinking_are_told() -> None:
    begun = {"event": "message", "kind": "tool_hint", "text": "", "tool_events": [USE | {"phase": "start"}]}
    ended = {"event": "message", "kind": "progress", "tool_events": [
        USE | {"phase": "end", "result": {"content": "hello"}}, USE | {"phase": "error", "error": "not found"},
    ]}  # fmt: skip
    assert list(how(begun)) == [ChatEvent("tool", tool=ToolUse("c1", "read_file", "begun", '{"path": "notes.md"}'))]
    assert [event.tool and (event.tool.state, event.tool.output) for event in how(ended)] == [
        ("done", '{"content": "hello"}'), ("failed", "not found"),
    ]  # fmt: skip
    assert list(how({"event": "reasoning_delta", "text": "hm"})) == [ChatEvent("thinking", "hm")]


@pytest.mark.parametrize("event", [
    {"event": "delta", "text": "a"}, {"event": "reasoning_delta"}, {"event": "reasoning_delta", "text": 3},
    {"tool_events": "x"}, {"tool_events": [1, {}, {"phase": "unknown"}, {"phase": ["start"]}]},
])  # fmt: skip
def test_what_has_another_shape_tells_nothing(event: dict[str, Any]) -> None:
    assert list(how(event)) == []
