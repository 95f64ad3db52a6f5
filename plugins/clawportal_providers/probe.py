"""Tests a model: is its address reached, the key accepted, the model there, does it answer, call tools and count tokens.

Each step says in words how it ended. All is bounded in time and size, and a redirect is told, never followed: a key goes to
the host that it was entered for and to no other.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clawportal.sdk import _m
from clawportal.sdk.addresses import endpoint
from clawportal.sdk.bounded import KIB, MIB
from clawportal.sdk.providers import ModelList
from clawportal_providers.calling import (
    FAILED,
    LATER,
    OK,
    UNSURE,
    WRONG_ADDRESS,
    WRONG_DIALECT,
    Refused,
    Step,
    Target,
    address,
    asked,
    clean,
    document_of,
    events,
    judge,
)

MOST_LIST, MOST_ANSWER = 4 * MIB, 512 * KIB
_COMPARED = 5000
"""Models of a list that are looked through for similar names, which takes long."""
_TOKENS = 256
"""Enough for a model that thinks first."""
_PROMPT = "Answer with the single word: ready"
_TOOL_PROMPT = "Call the tool named note with the text hello. Do not answer in words."
_TOOL = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@dataclass
class Report:
    steps: list[Step] = field(default_factory=list)
    answer: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    first_seconds: float | None = None
    """Until the first words came."""
    seconds: float | None = None
    called: bool = False
    """Whether it called a tool, asked to or not."""

    @property
    def ok(self) -> bool:
        return bool(self.steps) and all(step.state != FAILED for step in self.steps)

    @property
    def sentence(self) -> str:
        """The first thing that failed, or that all is well."""
        wrong = next((step for step in self.steps if step.state == FAILED), None)
        return wrong.message if wrong else _m("The model answers.")


@dataclass(frozen=True)
class Model:
    id: str
    title: str = ""


# ---- the list


def models(target: Target) -> list[Model]:
    """What the provider says it has, sorted; empty where it gives no list. Refused with the reason where it does not tell."""
    about = target.provider.models
    if about is None:
        return []
    with asked(target, "GET", address(target, about.url), MOST_LIST) as answer:
        document = document_of(target, answer, "key")
    return _listed(target, about, document)


def _listed(target: Target, about: ModelList, document: Any) -> list[Model]:
    items = document.get(about.items) if about.items and isinstance(document, dict) else document
    if not isinstance(items, list):
        words = _m("The list of models has another shape than %(title)s has.", title=target.provider.title)
        raise Refused(Step("key", FAILED, words, remedy=WRONG_ADDRESS))
    found = {}
    for item in items:  # as many as MOST_LIST has room for
        name = item.get(about.id) if isinstance(item, dict) else None
        if isinstance(name, str) and name:
            title = item.get(about.title) if about.title else ""
            found[name.removeprefix(about.prefix)] = title if isinstance(title, str) else ""
    return [Model(name[:200], found[name][:200]) for name in sorted(found)]


# ---- the test


def run(target: Target) -> Report:
    """All steps, as far as they can be taken."""
    report = Report()
    for part in (_listing, _answering, _calling):
        try:
            report.steps += part(target, report)
        except Refused as refusal:
            report.steps.append(refusal.step)
            if part is not _calling:
                break
    return report


def _listing(target: Target, report: Report) -> list[Step]:
    """Address, key and model, by the list of models. Some providers have none, or do not give it to every key."""
    reached = Step("address", OK, _m("%(address)s answers.", address=endpoint(target.base_url)))
    try:
        known = models(target)
    except Refused as refusal:
        if refusal.status not in (403, 404, 405, 501):
            if refusal.status and refusal.step.name != "address":
                report.steps.append(reached)
            raise
        known = []
    if not known:
        return [reached, Step("model", UNSURE, _m("It gives no list of models; the answer will tell."))]
    names = {model.id for model in known}
    if target.model in names:
        there = Step("model", OK, _m("It has the model %(model)s.", model=target.model))
    else:
        near = _near(target.model, names)
        words = _m("%(model)s is not in its list of %(count)s models.", model=target.model, count=len(names))
        there = Step("model", UNSURE, words, remedy=_m("Similar: %(near)s.", near=", ".join(near)) if near else "")
    return [reached, Step("key", OK, _m("The key is accepted.") if target.key else _m("It asks for no key.")), there]


def _near(name: str, names: set[str]) -> list[str]:
    last = {one.rpartition("/")[2]: one for one in sorted(names)[:_COMPARED]}
    close = difflib.get_close_matches(name.rpartition("/")[2], list(last), n=4, cutoff=0.5)
    return [last[one] for one in close]


def _answering(target: Target, report: Report) -> list[Step]:
    """A short question whose answer is streamed."""
    began, words = time.monotonic(), []
    for piece in _streamed(target, report, _body(target, _PROMPT)):
        if report.first_seconds is None:
            report.first_seconds = time.monotonic() - began
        words.append(piece)
    report.seconds = time.monotonic() - began
    report.answer = clean("".join(words), target.key)
    if not report.answer and not report.output_tokens:
        raise Refused(Step("answer", FAILED, _m("Its answer had no words."), remedy=WRONG_DIALECT))
    steps = [] if any(step.name == "key" for step in report.steps) else [Step("key", OK, _m("The key is accepted."))]
    steps.append(Step("answer", OK, _m("It answered in %(seconds)s seconds.", seconds=f"{report.seconds:.1f}"), report.answer))
    if report.input_tokens or report.output_tokens:
        words_ = _m("It counted %(input)s tokens in and %(output)s out.", input=report.input_tokens, output=report.output_tokens)
        return [*steps, Step("usage", OK, words_)]
    return [*steps, Step("usage", UNSURE, _m("It told no number of tokens, so usage cannot be counted."))]


def _calling(target: Target, report: Report) -> list[Step]:
    """Whether it can call tools, which claws live by."""
    calls = Report()
    body = _body(target, _TOOL_PROMPT, tool=True)
    try:
        list(_streamed(target, calls, body))
    except Refused as refusal:
        no = _m("It refuses tools, which most claws need.")
        raise Refused(
            Step("tools", FAILED, no, refusal.step.said or refusal.step.message, _m("Choose a model that calls tools."))
        ) from refusal
    if calls.called:
        return [Step("tools", OK, _m("It calls tools."))]
    return [
        Step(
            "tools",
            UNSURE,
            _m("It answered in words where a tool was asked for."),
            remedy=_m("Some models do so now and then; test it again."),
        )
    ]


# ---- the dialects


def _body(target: Target, prompt: str, *, tool: bool = False) -> dict[str, Any]:
    """No sampling parameters: some models refuse each but their own."""
    messages = [{"role": "user", "content": prompt}]
    body: dict[str, Any] = {"model": target.model, "messages": messages, "stream": True}
    if target.provider.dialect == "anthropic":
        body["max_tokens"] = _TOKENS
        return {**body, "tools": [{"name": "note", "description": "Notes a text.", "input_schema": _TOOL}]} if tool else body
    body["stream_options"] = {"include_usage": True}
    function = {"name": "note", "description": "Notes a text.", "parameters": _TOOL}
    return {**body, "tools": [{"type": "function", "function": function}]} if tool else body


def _streamed(target: Target, report: Report, body: Mapping[str, Any]) -> Iterator[str]:
    """The words of a streamed answer; tokens and calls of tools are noted in the report."""
    anthropic = target.provider.dialect == "anthropic"
    path, read = ("messages", _read_anthropic) if anthropic else ("chat/completions", _read_openai)
    with asked(target, "POST", address(target, path), MOST_ANSWER, body) as answer:
        judge(target, answer, "answer")
        ended = False
        for event in events(target, answer):
            if event is None:
                ended = True
                continue
            yield from read(target, event, report)
            ended = ended or _is_end(event)
    if not ended:
        raise Refused(Step("answer", FAILED, _m("Its answer broke off before it came to its end."), remedy=LATER))


def _is_end(event: Mapping[str, Any]) -> bool:
    choices = event.get("choices")
    finished = isinstance(choices, list) and any(isinstance(one, dict) and one.get("finish_reason") for one in choices)
    return bool(finished or event.get("type") == "message_stop")


def _read_openai(target: Target, event: Mapping[str, Any], report: Report) -> Iterator[str]:
    _count(report, event.get("usage"), "prompt_tokens", "completion_tokens")
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            if delta.get("tool_calls"):
                report.called = True
            if isinstance(delta.get("content"), str) and delta["content"]:
                yield delta["content"]


def _read_anthropic(target: Target, event: Mapping[str, Any], report: Report) -> Iterator[str]:
    message, delta, block = (_dict(event.get(name)) for name in ("message", "delta", "content_block"))
    for usage in (message.get("usage"), event.get("usage")):
        _count(report, usage, "input_tokens", "output_tokens")
    if block.get("type") == "tool_use":
        report.called = True
    if isinstance(delta.get("text"), str) and delta["text"]:
        yield delta["text"]


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(report: Report, usage: object, given: str, made: str) -> None:
    if isinstance(usage, dict):
        for name, field_ in ((given, "input_tokens"), (made, "output_tokens")):
            if isinstance(usage.get(name), int):
                setattr(report, field_, max(getattr(report, field_), min(usage[name], 10**9)))
