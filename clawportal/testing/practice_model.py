"""A language model to practise with: speaks the OpenAI protocol, needs no key and no network, and always answers the same way.

Anthropic's Messages API is there too. It lets a claw be tried before any provider is chosen, and lets tests see what a
claw really sends: every request is kept in `PracticeModel.requests`. It never calls a tool. Standard library only, so
that it starts at once and stays small.
"""

from __future__ import annotations

import argparse
import hmac
import json
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

MODEL = "practice"
MAX_BODY = 64 * 1024 * 1024
"""Claws post whole conversations: OpenClaw starts at 61 KB for one word."""
_KEEP_REQUESTS = 200
_ECHO_LIMIT = 400
_PIECES = re.compile(r"\s*\S+\s*")
_ADDED = (
    re.compile(r"<<<BEGIN_(\w{1,80})>>>.*?(?:<<<END_\1>>>|\Z)", re.DOTALL),
    re.compile(r"\A\s*\[[^\]\n]{1,200}\]\s*"),
    re.compile(r"\n\s*Runtime: \w+=[^\n]*\Z"),
)
"""What OpenClaw puts around a person's words: context blocks, a time stamp, facts about itself. Never to be repeated: it
takes an answer that contains its own markers for broken."""


@dataclass(frozen=True)
class Recorded:
    """One request as it came in."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""

    @property
    def prompt(self) -> str:
        """Everything the model was told, system prompt included, as one text."""
        messages = self.body.get("messages")
        parts = [text_of(self.body.get("system"))] if "system" in self.body else []
        return "\n".join(parts + [text_of(m.get("content")) for m in messages or [] if isinstance(m, dict)])


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


def answer_to(messages: object) -> str:
    """The reply: friendly, short, and plainly not a real model."""
    said = last_user_text(messages)
    if not said:
        return "Practice model: I am here and listening. Write something and I will repeat it."
    if len(said) > _ECHO_LIMIT:
        said = said[:_ECHO_LIMIT].rstrip() + " ..."
    return f"Practice model: hello, I got your message. You said: {said}"


def pieces_of(text: str, count: int = 8) -> list[str]:
    """The answer cut into at most `count` pieces at word ends; joined they are the answer again."""
    words = _PIECES.findall(text) or [text]
    size = -(-len(words) // count)
    return ["".join(words[i : i + size]) for i in range(0, len(words), size)]


def usage_of(body: dict[str, Any], answer: str) -> dict[str, int]:
    """Tokens, reckoned at four characters each: no tokenizer agrees with every model anyway."""
    prompt = -(-len(json.dumps(body.get("messages", []), ensure_ascii=False)) // 4)
    completion = -(-len(answer) // 4)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class _BadRequest(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "practice-model"
    timeout = 120

    @property
    def model(self) -> PracticeModel:
        return cast(_Server, self.server).model

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: prompts may hold private words."""

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def _guarded(self, handle: Callable[[], None]) -> None:
        if self.model.stopping:
            self.close_connection = True  # kept-alive connections would outlive `stop` otherwise
            return
        try:
            handle()
        except _BadRequest as refusal:
            self.close_connection = True  # the body may not have been read
            self._json(refusal.status, {"error": {"message": refusal.message, "type": "invalid_request_error"}})
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True  # the client went away, which is its right

    def _get(self) -> None:
        path = self.path.split("?", 1)[0].rstrip("/")
        if path in ("", "/health"):
            return self._json(HTTPStatus.OK, {"status": "ok", "model": MODEL})
        self._authorize()
        if path in ("/v1/models", "/models"):
            entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": "clawportal"}
            return self._json(HTTPStatus.OK, {"object": "list", "data": [entry]})
        raise _BadRequest(
            HTTPStatus.NOT_FOUND, f"There is no {path}; the practice model has /v1/models and /v1/chat/completions."
        )

    def _post(self) -> None:
        path = self.path.split("?", 1)[0].rstrip("/")
        body = self._body()
        self._authorize()
        if path not in ("/v1/chat/completions", "/chat/completions", "/v1/messages"):
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"There is no {path}; the practice model has /v1/chat/completions.")
        if not isinstance(body.get("messages"), list):
            raise _BadRequest(HTTPStatus.BAD_REQUEST, "messages: has to be a list of messages.")
        if unwanted := [name for name in self.model.refused if name in body]:
            raise _BadRequest(HTTPStatus.BAD_REQUEST, f"invalid {unwanted[0]}: only the default is allowed for this model")
        self.model.requests.append(
            Recorded(path, body, {k.lower(): v for k, v in self.headers.items()}, self.path.partition("?")[2])
        )
        answer = answer_to(body["messages"])
        if path == "/v1/messages":
            return self._anthropic(body, answer)
        if body.get("stream"):
            return self._stream(body, answer)
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        self._json(HTTPStatus.OK, self._envelope(body, "chat.completion", choices=[choice], usage=usage_of(body, answer)))

    def _anthropic(self, body: dict[str, Any], answer: str) -> None:
        """The same answer in the words of Anthropic's Messages API."""
        counted = usage_of(body, answer)
        usage = {"input_tokens": counted["prompt_tokens"], "output_tokens": counted["completion_tokens"]}
        message: dict[str, Any] = {
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        base = {**self._envelope(body, ""), **message}
        block = {"type": "text", "text": ""}
        if not body.get("stream"):
            return self._json(HTTPStatus.OK, {**base, "content": [{**block, "text": answer}], "stop_reason": "end_turn"})
        self._begin_stream()
        self._event({"type": "message_start", "message": base}, named=True)
        self._event({"type": "content_block_start", "index": 0, "content_block": block}, named=True)
        for piece in pieces_of(answer):
            self._event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}, named=True)
            self.model.pause()
        self._event({"type": "content_block_stop", "index": 0}, named=True)
        ending = {"stop_reason": "end_turn", "stop_sequence": None}
        self._event({"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}}, named=True)
        self._event({"type": "message_stop"}, named=True)

    def _body(self) -> dict[str, Any]:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise _BadRequest(HTTPStatus.LENGTH_REQUIRED, "Send the request with a Content-Length.") from None
        if not 0 <= length <= MAX_BODY:
            raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request has to be smaller than {MAX_BODY} bytes.")
        try:
            body = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError):
            raise _BadRequest(HTTPStatus.BAD_REQUEST, "The request body is not JSON.") from None
        if not isinstance(body, dict):
            raise _BadRequest(HTTPStatus.BAD_REQUEST, "The request body has to be a JSON object.")
        return body

    def _authorize(self) -> None:
        if self.model.api_key is None:
            return
        sent = (self.headers.get("X-Api-Key") or self.headers.get("Authorization", "").removeprefix("Bearer ")).encode()
        if not hmac.compare_digest(sent, self.model.api_key.encode()):
            raise _BadRequest(HTTPStatus.UNAUTHORIZED, "The API key is wrong; send it as Authorization: Bearer KEY.")

    def _envelope(self, body: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
        name = body.get("model")
        return {
            "id": f"practice-{next(self.model.numbers)}",
            "object": kind,
            "created": int(time.time()),
            "model": name if isinstance(name, str) and name else MODEL,
            **more,
        }

    def _begin_stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _stream(self, body: dict[str, Any], answer: str) -> None:
        self._begin_stream()
        base = self._envelope(body, "chat.completion.chunk")
        self._event({**base, "choices": [_choice({"role": "assistant", "content": ""})]})
        for piece in pieces_of(answer):
            self._event({**base, "choices": [_choice({"content": piece})]})
            self.model.pause()
        self._event({**base, "choices": [_choice({}, "stop")]})
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            self._event({**base, "choices": [], "usage": usage_of(body, answer)})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, data: dict[str, Any], *, named: bool = False) -> None:
        name = f"event: {data['type']}\n".encode() if named else b""
        self.wfile.write(name + b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n")
        self.wfile.flush()

    def _json(self, status: HTTPStatus, data: dict[str, Any]) -> None:
        raw = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    model: PracticeModel

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that misbehaves is no reason to print a traceback into somebody's log."""


class _Counter:
    """1, 2, 3 ... for many threads."""

    def __init__(self) -> None:
        self._lock, self._value = threading.Lock(), 0

    def __iter__(self) -> _Counter:
        return self

    def __next__(self) -> int:
        with self._lock:
            self._value += 1
            return self._value


class PracticeModel:
    """The server. Use it as a context manager, or call `start` and `stop`; `url` ends in /v1."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None, *, delay: float = 0.02) -> None:
        self.host, self.api_key, self.delay = host, api_key, delay
        self._wanted_port = port
        self.requests: deque[Recorded] = deque(maxlen=_KEEP_REQUESTS)
        self.numbers = _Counter()
        self.refused: tuple[str, ...] = ()
        """Parameters that it refuses, as models with fixed sampling do."""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> Self:
        """Bind and serve in a daemon thread. OSError when the port is taken."""
        if self._server is None:
            self._stopping.clear()
            self._server = _Server((self.host, self._wanted_port), _Handler)
            self._server.model = self
            self._thread = threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="practice-model", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is None:
            return
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def pause(self) -> None:
        """Wait between two pieces, so that streaming can be seen; not while stopping."""
        self._stopping.wait(self.delay)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the practice model has not been started")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="practice_model", description="An OpenAI-compatible model to practise with.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds between two pieces of an answer")
    arguments = parser.parse_args(argv)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with PracticeModel(arguments.host, arguments.port, delay=arguments.delay) as model:
        print(f"practice model listening on {model.url}", flush=True)
        done.wait()


if __name__ == "__main__":
    main()
