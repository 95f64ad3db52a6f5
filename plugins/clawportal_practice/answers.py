"""What the practice model answers: an echo, or what somebody asks for by a word, such as a long answer, a tool call or an error.

Pure: a request's body in, a reply out. The same request always has the same reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clawportal.sdk import _m

_ECHO_LIMIT = 400
_RESULT_LIMIT = 400
_PIECES = re.compile(r"\s*\S+\s*")
_ADDED = (
    re.compile(r"<<<BEGIN_(\w{1,80})>>>.*?(?:<<<END_\1>>>|\Z)", re.DOTALL),
    re.compile(r"\A\s*\[[^\]\n]{1,200}\]\s*"),
    re.compile(r"\n\s*Runtime: \w+=[^\n]*\Z"),
)
"""What OpenClaw puts around a person's words: context blocks, a time stamp, facts about itself. Never to be repeated: it
takes an answer that contains its own markers for broken."""
_HARMLESS = re.compile(r"list|read|get|search|status|time|memory|glob", re.IGNORECASE)
_SAMPLES = {"path": ".", "command": "echo practice", "url": "https://example.com/", "query": "practice", "pattern": "*"}
"""Values of parameters by their names, with which a tool does no harm."""
ERRORS = {
    400: "This request was refused because it was asked for.", 401: "This key is not valid.", 402: "There is no credit left.",
    403: "This key may not use this model.", 404: "There is no such model.", 413: "The request is too large.",
    429: "Too many requests. Try again in a moment.", 500: "Something broke on the server.",
    502: "The server behind does not answer.", 503: "The server is busy.", 529: "The server is overloaded.",
}  # fmt: skip
LONGEST = 400
"""Paragraphs of a long answer, at most."""
WORDS = (
    ("help", _m("This list.")),
    ("long", _m("A long answer. With a number behind it, so many paragraphs: long 50.")),
    ("markdown", _m("A heading, a table, a list and some code.")),
    ("json", _m("An answer that is JSON.")),
    (
        "tool",
        _m("Calls a tool that the claw offers, and tells what it answered. With a name behind it, that tool: tool read_file."),
    ),
    ("slow", _m("Begins to answer after five seconds.")),
    ("cut", _m("Breaks off in the middle of a stream.")),
    ("error 429", _m("Fails like that. Also with 400, 401, 402, 403, 404, 413, 500, 502, 503 and 529.")),
)
"""What can be written alone, and what follows."""
_MARKDOWN = """# Practice model

| what | how |
|---|---|
| bold | **like this** |
| code | `like this` |

1. first
2. second

```python
print("practice")
```
"""


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: Mapping[str, Any]

    @property
    def json(self) -> str:
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Reply:
    text: str = ""
    tool: ToolCall | None = None
    status: int = 200
    """Other than 200: the request fails so, with `text` as its message."""
    wait: float = 0.0
    """Seconds before it begins."""
    cut: bool = False
    """The connection ends in the middle of it."""
    pieces: int = 8
    """Into so many it is cut where it is streamed."""
    headers: Mapping[str, str] = field(default_factory=dict)


# ---- what was said


def text_of(content: object) -> str:
    """The words in a message's content, which may be a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, (text_of(part) for part in content)))
    if isinstance(content, dict):
        return text_of(content.get("text"))
    return ""


def last_user_text(messages: object) -> str:
    """What the person said last, without what the claw added to it; empty where there is nothing."""
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            said = text_of(message.get("content"))
            for added in _ADDED:
                said = added.sub("", said)
            if said.strip():
                return said.strip()
    return ""


def tool_result(messages: object) -> str | None:
    """What a tool answered, if that is what comes last; None otherwise. In both dialects."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict):
        return None
    if last.get("role") == "tool":
        return text_of(last.get("content"))
    content = last.get("content")
    parts = content if isinstance(content, list) else []
    results = [part for part in parts if isinstance(part, dict) and part.get("type") == "tool_result"]
    return text_of(results[-1].get("content")) if results else None


# ---- what is answered


def answer_to(messages: object) -> str:
    """The usual reply: friendly, short, and plainly not a real model."""
    said = last_user_text(messages)
    if not said:
        return "Practice model: I am here and listening. Write something and I will repeat it."
    if len(said) > _ECHO_LIMIT:
        said = said[:_ECHO_LIMIT].rstrip() + " ..."
    return f"Practice model: hello, I got your message. You said: {said}"


def reply_to(body: Mapping[str, Any]) -> Reply:
    messages = body.get("messages")
    if (result := tool_result(messages)) is not None:
        shown = result[:_RESULT_LIMIT] + (" ..." if len(result) > _RESULT_LIMIT else "")
        return Reply(f"Practice model: the tool answered: {shown or '(nothing)'}")
    word, _, rest = last_user_text(messages).partition(" ")
    asked = _ASKED.get(word.lower())
    found = asked(rest.strip(), body) if asked else None
    return found or Reply(answer_to(messages))


def _help(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    lines = "\n".join(f"- **{word}**: {what}" for word, what in WORDS)
    return (
        None
        if rest
        else Reply(f"Practice model: I make up my answers. Write one of these alone:\n\n{lines}\n\nAnything else I repeat.")
    )


def _long(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    if rest and not rest.isdecimal():
        return None
    count = min(max(int(rest[:6] or 40), 1), LONGEST)
    lines = (
        f"{number}. This is paragraph {number} of {count} of a long answer that was made up." for number in range(1, count + 1)
    )
    return Reply("Practice model:\n\n" + "\n\n".join(lines), pieces=count * 2)


def _markdown(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    return None if rest else Reply(_MARKDOWN)


def _json(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    return None if rest else Reply(json.dumps({"model": "practice", "made_up": True, "numbers": [1, 2, 3]}))


def _slow(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    return None if rest else Reply("Practice model: that took five seconds, as you asked.", wait=5.0)


def _cut(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    return None if rest else Reply("Practice model: this answer breaks off before it comes to its end, as you asked.", cut=True)


def _error(rest: str, _body: Mapping[str, Any]) -> Reply | None:
    status = int(rest) if re.fullmatch(r"[0-9]{3}", rest) else 0
    if status not in ERRORS:
        return None
    return Reply(
        f"Practice model: {ERRORS[status]}", status=status, headers={"Retry-After": "1"} if status in (429, 503, 529) else {}
    )


def _tool(rest: str, body: Mapping[str, Any]) -> Reply | None:
    if " " in rest:
        return None
    tools = dict(_tools(body))
    if not tools:
        return Reply("Practice model: you ask for a tool, but the claw offers none.")
    if rest and rest not in tools:
        return Reply(f"Practice model: the claw offers no tool {rest}. It offers: {', '.join(sorted(tools)[:40])}.")
    name = rest or next((one for one in tools if _HARMLESS.search(one)), next(iter(tools)))
    return Reply(tool=ToolCall(name, sample(tools[name])))


_ASKED: dict[str, Callable[[str, Mapping[str, Any]], Reply | None]] = {
    "help": _help, "long": _long, "markdown": _markdown, "json": _json, "slow": _slow, "cut": _cut, "error": _error,
    "tool": _tool,
}  # fmt: skip


# ---- tools


def _tools(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and JSON Schemas of what may be called, in both dialects."""
    offered = body.get("tools")
    for tool in offered if isinstance(offered, list) else []:
        described = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(described, dict) and isinstance(described.get("name"), str):
            schema = described.get("parameters", described.get("input_schema"))
            yield described["name"], schema if isinstance(schema, dict) else {}


def sample(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values for what a schema requires."""
    properties, required = schema.get("properties"), schema.get("required")
    known = properties if isinstance(properties, dict) else {}
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    return {name: _value(name, known.get(name)) for name in names}


def _first(values: object) -> list[Any]:
    return values[:1] if isinstance(values, list) else []


def _value(name: str, schema: object) -> Any:
    about = schema if isinstance(schema, dict) else {}
    for fixed in (about.get("const"), about.get("default"), *_first(about.get("enum"))):
        if fixed is not None:
            return fixed
    kind = about.get("type", "string")
    kind = next((one for one in kind if one != "null"), "string") if isinstance(kind, list) else kind
    if kind in ("integer", "number"):
        return about.get("minimum", 1)
    plain: dict[str, Any] = {"boolean": False, "array": [], "null": None}
    if kind == "object":
        return sample(about)
    return plain[kind] if kind in plain else next((value for word, value in _SAMPLES.items() if word in name.lower()), "practice")


# ---- on the wire


def pieces_of(text: str, count: int = 8) -> list[str]:
    """The answer cut into at most `count` pieces at word ends; joined they are the answer again."""
    words = _PIECES.findall(text) or [text]
    size = -(-len(words) // max(count, 1))
    return ["".join(words[i : i + size]) for i in range(0, len(words), size)]


def usage_of(body: Mapping[str, Any], answer: str) -> dict[str, int]:
    """Tokens, reckoned at four characters each: no tokenizer agrees with every model anyway."""
    prompt = -(-len(json.dumps(body.get("messages", []), ensure_ascii=False)) // 4)
    completion = -(-len(answer) // 4)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
