"""An answer out of its pieces, those that come and stored ones alike: the text, how the claw came to it, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clawportal.sdk.chat import ChatEvent, ToolUse, Usage

MOST_STEPS = 300
MOST_THINKING = 200_000
"""Characters of one answer's thinking that are kept."""
MOST_PIECES = 20_000
"""Of one answer. Words are stored at most 20 times a second, so that a whole turn of an honest claw stays below."""

Told = tuple[str, dict[str, Any]]
"""Kind of a piece and its data."""


def pieces(batch: Iterable[ChatEvent]) -> Iterator[Told]:
    """What is stored of events: words that follow each other as one piece, and the last that it took. How it ends is not among
    them."""
    kind, text, used = "", "", None
    for event in batch:
        if event.usage is not None:
            used = event.usage
            continue
        if event.kind != kind and text:
            yield kind, {"text": text}
            text = ""
        kind = event.kind
        if kind in ("delta", "thinking"):
            text += event.text
        elif event.tool is not None:
            yield "tool", tool(event.tool)
    if text:
        yield kind, {"text": text}
    if used is not None:
        yield "usage", usage(used)


def usage(used: Usage) -> dict[str, Any]:
    return {
        "input_tokens": used.input_tokens, "output_tokens": used.output_tokens, "model": used.model[:200],
        "cost_usd": used.cost_usd,
    }  # fmt: skip


def tool(use: ToolUse) -> dict[str, Any]:
    return {"id": use.id, "name": use.name, "state": use.state, "input": use.input, "output": use.output}


@dataclass
class Gathered:
    """What has come of an answer so far."""

    words: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    _thought: int = 0

    @property
    def text(self) -> str:
        return "".join(self.words)

    def add(self, kind: str, data: Mapping[str, Any], at: datetime) -> None:
        if kind == "delta":
            self.words.append(str(data["text"]))
            self._settle(at)
        elif kind == "thinking":
            self._think(str(data["text"]), at)
        elif kind == "tool":
            self._use(data, at)
        elif kind == "usage":
            self.usage = dict(data)

    def settled(self, at: datetime) -> list[dict[str, Any]]:
        """The steps, none of which goes on any more."""
        self._settle(at)
        for step in self.steps:
            if step["kind"] == "tool" and step["state"] == "begun":
                step["state"] = "unknown"
        return self.steps

    def _settle(self, at: datetime) -> None:
        """Thinking is over when something else is said."""
        if self.steps and self.steps[-1]["kind"] == "thinking" and self.steps[-1]["seconds"] is None:
            self.steps[-1]["seconds"] = _since(self.steps[-1], at)

    def _think(self, text: str, at: datetime) -> None:
        text = text[: max(0, MOST_THINKING - self._thought)]
        self._thought += len(text)
        if self.steps and self.steps[-1]["kind"] == "thinking" and self.steps[-1]["seconds"] is None:
            self.steps[-1]["text"] += text
        elif text and len(self.steps) < MOST_STEPS:
            self.steps.append({"kind": "thinking", "text": text, "at": at.isoformat(), "seconds": None})

    def _use(self, data: Mapping[str, Any], at: datetime) -> None:
        self._settle(at)
        begun = next((one for one in reversed(self.steps) if one.get("id") == data["id"] and one["kind"] == "tool"), None)
        if begun is not None and data["state"] != "begun":
            begun |= {key: data[key] for key in ("state", "output")} | {"seconds": _since(begun, at)}
        elif len(self.steps) < MOST_STEPS:
            self.steps.append({"kind": "tool", **data, "at": at.isoformat(), "seconds": None})


def size_of(steps: Sequence[Mapping[str, Any]]) -> int:
    """Characters that steps take."""
    return len(json.dumps(steps, ensure_ascii=False)) if steps else 0


def _since(step: Mapping[str, Any], at: datetime) -> float:
    return round(max(0.0, (at - datetime.fromisoformat(step["at"])).total_seconds()), 1)
