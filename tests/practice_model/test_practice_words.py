"""What can be asked of the practice model by a word: tools, long answers, errors, and ends in the middle, in both dialects."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawportal_practice.answers import ERRORS, LONGEST, WORDS, pieces_of, reply_to, sample
from clawportal_practice.server import PracticeModel

OPENAI_TOOL = {
    "type": "function",
    "function": {
        "name": "read_file",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "lines": {"type": "integer", "minimum": 3}, "why": {"type": "string"}},
            "required": ["path", "lines"],
        },
    },
}
ANTHROPIC_TOOL = {"name": "read_file", "input_schema": OPENAI_TOOL["function"]["parameters"]}  # type: ignore[index]
GIVEN = {"path": ".", "lines": 3}


@pytest.fixture
def model() -> Iterator[PracticeModel]:
    with PracticeModel(delay=0) as server:
        yield server


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def post(model: PracticeModel, body: dict[str, Any], path: str = "/v1/chat/completions") -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection(model.host, model.port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body).encode())
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def events(raw: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in raw.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


# ---- tools


def test_a_tool_is_called_and_its_answer_told_as_openai_does(model: PracticeModel) -> None:
    body = said("tool", tools=[OPENAI_TOOL])
    choice = json.loads(post(model, body)[1])["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and json.loads(call["function"]["arguments"]) == GIVEN
    streamed = events(post(model, {**body, "stream": True})[1])
    [piece] = [one["choices"][0]["delta"]["tool_calls"] for one in streamed if "tool_calls" in one["choices"][0]["delta"]]
    assert piece[0]["function"] == call["function"] and streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"
    body["messages"] += [choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "three lines"}]
    after = json.loads(post(model, body)[1])["choices"][0]
    assert "three lines" in after["message"]["content"] and after["finish_reason"] == "stop", "and not called for ever"


def test_a_tool_is_called_and_its_answer_told_as_anthropic_does(model: PracticeModel) -> None:
    body = said("tool read_file", tools=[ANTHROPIC_TOOL])
    answer = json.loads(post(model, body, "/v1/messages")[1])
    [block] = answer["content"]
    assert (block["type"], block["name"], block["input"], answer["stop_reason"]) == ("tool_use", "read_file", GIVEN, "tool_use")
    streamed = events(post(model, {**body, "stream": True}, "/v1/messages")[1])
    pieces = [one["delta"]["partial_json"] for one in streamed if one.get("delta", {}).get("type") == "input_json_delta"]
    assert json.loads("".join(pieces)) == GIVEN
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": "three lines"}]}
    body["messages"] += [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
    after = json.loads(post(model, body, "/v1/messages")[1])
    assert "three lines" in after["content"][0]["text"] and after["stop_reason"] == "end_turn"


def test_a_tool_that_is_not_offered_is_told() -> None:
    assert "offers none" in reply_to(said("tool")).text
    told = reply_to(said("tool other", tools=[OPENAI_TOOL]))
    assert told.tool is None and "no tool other" in told.text and "read_file" in told.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["type", "properties", "required", "enum", "const", "default", "minimum", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_schema_has_a_sample(schema: object) -> None:
    json.dumps(sample(schema if isinstance(schema, dict) else {}))


# ---- long answers, errors, ends


def test_a_long_answer_is_as_long_as_asked_for(model: PracticeModel) -> None:
    assert "50 of 50" in reply_to(said("long 50")).text and f"of {LONGEST} of" in reply_to(said("long 999999999")).text
    streamed = events(post(model, said("long", stream=True))[1])
    text = "".join(one["choices"][0]["delta"].get("content") or "" for one in streamed)
    assert text.count("made up") == 40 and len(streamed) > 60


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("status", sorted(ERRORS))
def test_errors_come_when_asked_for(model: PracticeModel, path: str, status: int) -> None:
    found, raw, headers = post(model, said(f"error {status}"), path)
    assert found == status and ERRORS[status] in json.loads(raw)["error"]["message"]
    assert (headers["Retry-After"] == "1") == (status in (429, 503, 529))


def test_an_answer_that_is_cut_has_no_end(model: PracticeModel) -> None:
    raw = post(model, said("cut", stream=True))[1]
    assert b"[DONE]" not in raw and len(events(raw)) == 4
    assert b"message_stop" not in post(model, said("cut", stream=True), "/v1/messages")[1]


@pytest.mark.parametrize(
    "text", ["help me", "error", "error 418", "error 4290", "long way home", "jsonish", "slow down", "a tool"]
)
def test_ordinary_sentences_are_repeated(text: str) -> None:
    assert reply_to(said(text, tools=[OPENAI_TOOL])).text.endswith(f"You said: {text}")


def test_every_word_is_told_and_answers(model: PracticeModel) -> None:
    told = reply_to(said("HELP")).text
    for word, _what in WORDS:
        assert word in told
        reply = reply_to(said(word, tools=[OPENAI_TOOL]))
        assert (reply.text or reply.tool) and "You said" not in reply.text
    assert json.loads(reply_to(said("json")).text)["made_up"] is True
    assert reply_to(said("slow")).wait == 5.0 and "| what | how |" in reply_to(said("markdown")).text


def test_usage_counts_tools_too(model: PracticeModel) -> None:
    usage = json.loads(post(model, said("tool", tools=[OPENAI_TOOL]))[1])["usage"]
    assert usage["completion_tokens"] > 0


def test_the_list_of_models_has_both_shapes(model: PracticeModel) -> None:
    connection = http.client.HTTPConnection(model.host, model.port, timeout=10)
    connection.request("GET", "/v1/models")
    [entry] = json.loads(connection.getresponse().read())["data"]
    connection.close()
    assert (entry["id"], entry["object"], entry["display_name"]) == ("practice", "model", "Practice model")


@given(text=st.text(min_size=1), count=st.integers(1, 50))
def test_pieces_of_any_number_make_the_whole(text: str, count: int) -> None:
    pieces = pieces_of(text, count)
    assert "".join(pieces) == text and len(pieces) <= count
