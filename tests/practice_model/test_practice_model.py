"""The practice model speaks the protocol, streams, counts, and takes whatever a claw or a stranger sends."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawportal_practice.answers import answer_to, last_user_text, pieces_of
from clawportal_practice.server import PracticeModel

HELLO = {"model": "m", "messages": [{"role": "system", "content": "You are Kim."}, {"role": "user", "content": "good morning"}]}
ANSWER = "Practice model: hello, I got your message. You said: good morning"


@pytest.fixture
def model() -> Iterator[PracticeModel]:
    with PracticeModel(delay=0) as server:
        yield server


def post(model: PracticeModel, body: object, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, bytes]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(model.host, model.port, timeout=10)
    try:
        connection.request("POST", path, raw, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def events(raw: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_answers_with_the_last_message_and_usage(model: PracticeModel) -> None:
    status, raw = post(model, HELLO)
    answer = json.loads(raw)
    assert status == 200 and answer["choices"][0]["message"]["content"] == ANSWER
    assert answer["model"] == "m" and answer["usage"]["total_tokens"] == sum(
        answer["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )
    assert json.loads(post(model, HELLO)[1])["choices"] == answer["choices"], "the same question has the same answer"


def test_streams_in_pieces_with_usage_when_asked(model: PracticeModel) -> None:
    found = events(post(model, {**HELLO, "stream": True, "stream_options": {"include_usage": True}})[1])
    parts = [event["choices"][0]["delta"].get("content") or "" for event in found if event["choices"]]
    assert "".join(parts) == ANSWER and len([part for part in parts if part]) > 2
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1]["choices"] == [] and found[-1]["usage"]["completion_tokens"] > 0
    assert "usage" not in events(post(model, {**HELLO, "stream": True})[1])[-1]


def test_speaks_anthropic_too(model: PracticeModel) -> None:
    body = {"model": "claude", "max_tokens": 9, "system": "You are Kim.", "messages": HELLO["messages"][1:]}
    whole = json.loads(post(model, body, "/v1/messages")[1])
    assert whole["content"] == [{"type": "text", "text": ANSWER}] and whole["usage"]["output_tokens"] > 0
    raw = post(model, {**body, "stream": True}, "/v1/messages")[1].decode()
    found = [json.loads(line.removeprefix("data: ")) for line in raw.splitlines() if line.startswith("data: ")]
    assert "".join(event["delta"]["text"] for event in found if event["type"] == "content_block_delta") == ANSWER
    assert found[0]["type"] == "message_start" and found[-1]["type"] == "message_stop"
    assert "You are Kim." in model.requests[-1].prompt


def test_pieces_arrive_one_by_one() -> None:
    with PracticeModel(delay=0.1) as model, socket.create_connection((model.host, model.port), timeout=10) as caller:
        body = json.dumps({**HELLO, "stream": True}).encode()
        caller.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        first = b""
        while b"Practice" not in first:
            first += caller.recv(4096)
        assert b"[DONE]" not in first


def test_records_what_the_model_was_told(model: PracticeModel) -> None:
    post(model, HELLO, Authorization="Bearer abc")
    (request,) = model.requests
    assert (
        "You are Kim." in request.prompt and "good morning" in request.prompt and request.headers["authorization"] == "Bearer abc"
    )


def test_typed_parts_and_what_a_claw_adds_are_understood() -> None:
    block = "<<<BEGIN_CLAW_CONTEXT>>>\nsecret stuff\n<<<END_CLAW_CONTEXT>>>"
    messages = [
        {"role": "user", "content": "[Mon 2026-11-23 03:56 UTC] hello one\n\nRuntime: agent=main | host=vm"},
        {"role": "user", "content": [{"type": "text", "text": block}, {"type": "image_url", "image_url": {"url": "data:"}}]},
    ]
    assert last_user_text(messages) == "hello one"
    assert "<<<" not in answer_to(messages)


def test_the_key_is_asked_for_where_one_is_set() -> None:
    with PracticeModel(api_key="right", delay=0) as model:
        assert post(model, HELLO)[0] == post(model, HELLO, Authorization="Bearer wröng".encode().decode("latin-1"))[0] == 401
        assert post(model, HELLO, Authorization="Bearer right")[0] == 200
        assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"no json", "/v1/chat/completions", 400),
        (b"[" * 100_000, "/v1/chat/completions", 400),
        ([1], "/v1/chat/completions", 400),
        ({"messages": "hi"}, "/v1/chat/completions", 400),
        (HELLO, "/v1/embeddings", 404),
    ],
)
def test_nonsense_is_told_what_is_wrong(model: PracticeModel, body: object, path: str, status: int) -> None:
    found, raw = post(model, body, path)
    assert found == status and json.loads(raw)["error"]["message"]


def test_a_huge_prompt_is_no_trouble(model: PracticeModel) -> None:
    body = {"messages": [{"role": "system", "content": "x" * 3_000_000}, {"role": "user", "content": "y" * 5000}]}
    status, raw = post(model, body)
    assert status == 200 and len(raw) < 2000


def test_a_caller_that_hangs_up_disturbs_nobody(model: PracticeModel) -> None:
    body = json.dumps({**HELLO, "stream": True}).encode()
    for cut in (10, 200, len(body) + 90):
        with socket.create_connection((model.host, model.port), timeout=5) as caller:
            caller.sendall((b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))[:cut])
    assert post(model, HELLO)[0] == 200


def test_many_callers_at_once(model: PracticeModel) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(post(model, HELLO)[0])) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [200] * 30


def test_it_can_be_stopped_and_started_again() -> None:
    model = PracticeModel(delay=0).start()
    port = model.port
    model.stop()
    model.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    with model:
        assert post(model, HELLO)[0] == 200


@settings(max_examples=100, deadline=None, database=None)
@given(text=st.text(min_size=1))
def test_pieces_make_the_whole(text: str) -> None:
    pieces = pieces_of(text)
    assert "".join(pieces) == text and len(pieces) <= 8


def test_as_a_command_it_is_light_and_ends_when_asked(tmp_path: Path) -> None:
    code = (
        "import sys, clawportal_practice.server as p; "
        "heavy = {'flask', 'pydantic', 'httpx'} & set(sys.modules); assert not heavy, heavy; p.main(['--port', '0'])"
    )
    root = Path(__file__).resolve().parents[2]
    path = f"{root}:{root / 'plugins'}"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("practice model listening on http://127.0.0.1:")
        host, _, port = line.split("//")[1].removesuffix("/v1\n").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/v1/models")
        assert json.loads(connection.getresponse().read())["data"][0]["id"] == "practice"
        connection.close()
        started = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0 and time.monotonic() - started < 5
