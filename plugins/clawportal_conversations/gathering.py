"""An answer out of its pieces, those that come and stored ones alike: the text, how the claw came to it, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clawportal.sdk.chat import ChatEvent, ToolUse

MOST_STEPS = 300
MOST_THINKING = 200_000
"""Characters of one answer's thinking that are kept."""

Told = tuple[str, dict[str, Any]]
"""Kind of a piece and its data."""


def pieces(batch: Iterable[ChatEvent]) -> Iterator[Told]:
    """What is stored of events: words that follow each other as one piece. How it ends is not among them."""
    kind, text = "", ""
    for event in batch:
        if event.kind != kind and text:
            yield kind, {"text": text}
            text = ""
        kind = event.kind
        if kind in ("delta", "thinking"):
            text += event.text
        elif event.tool is not None:
            yield "tool", tool(event.tool)
        elif event.usage is not None:
            used = event.usage
            yield "usage", {
                "input_tokens": used.input_tokens, "output_tokens": used.output_tokens, "model": used.model[:200],
                "cost_usd": used.cost_usd,
            }  # fmt: skip
    if text:
        yield kind, {"text": text}


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


def _since(step: Mapping[str, Any], at: datetime) -> float:
    return round(max(0.0, (at - datetime.fromisoformat(step["at"])).total_seconds()), 1)
