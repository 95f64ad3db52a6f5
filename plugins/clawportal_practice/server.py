"""The server of the practice model: OpenAI's chat completions and Anthropic's messages, without any key or network.

It lets a claw be tried before any provider is chosen, and lets tests see what a claw really sends: every request is kept in
`PracticeModel.requests`. Standard library only, so that it starts at once and stays small.
"""

from __future__ import annotations

import argparse
import hmac
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

from clawportal_practice.answers import Reply, pieces_of, reply_to, text_of, usage_of

MODEL = "practice"
MAX_BODY = 64 * 1024 * 1024
"""Claws post whole conversations: OpenClaw starts at 61 KB for one word."""
_KEEP_REQUESTS = 200
_CHAT, _MESSAGES = ("/v1/chat/completions", "/chat/completions"), ("/v1/messages", "/messages")


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
            self._refuse(refusal.status, refusal.message)
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True  # the client went away, which is its right

    def _get(self) -> None:
        path = self._path()
        if path in ("", "/health"):
            return self._json(HTTPStatus.OK, {"status": "ok", "model": MODEL})
        self._authorize()
        if path in ("/v1/models", "/models"):
            entry = {"id": MODEL, "object": "model", "type": "model", "display_name": "Practice model", "created": 0,
                     "owned_by": "clawportal"}  # fmt: skip
            return self._json(HTTPStatus.OK, {"object": "list", "data": [entry], "has_more": False})
        raise _BadRequest(
            HTTPStatus.NOT_FOUND, f"There is no {path}; the practice model has /v1/models and /v1/chat/completions."
        )

    def _post(self) -> None:
        path, body = self._path(), self._body()
        self._authorize()
        if path not in (*_CHAT, *_MESSAGES):
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"There is no {path}; the practice model has /v1/chat/completions.")
        if not isinstance(body.get("messages"), list):
            raise _BadRequest(HTTPStatus.BAD_REQUEST, "messages: has to be a list of messages.")
        if unwanted := [name for name in self.model.refused if name in body]:
            raise _BadRequest(HTTPStatus.BAD_REQUEST, f"invalid {unwanted[0]}: only the default is allowed for this model")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.model.requests.append(Recorded(path, body, headers, self.path.partition("?")[2]))
        reply = reply_to(body)
        self.model.pause(reply.wait)
        if reply.status != HTTPStatus.OK:
            return self._refuse(reply.status, reply.text, reply.headers)
        speak = self._anthropic if path in _MESSAGES else self._openai
        return speak(body, reply)

    def _path(self) -> str:
        return self.path.split("?", 1)[0].rstrip("/")

    # ---- OpenAI's chat completions

    def _openai(self, body: dict[str, Any], reply: Reply) -> None:
        if body.get("stream"):
            return self._stream(self._chunks(body, reply), reply)
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.tool:
            message["tool_calls"] = [self._call(reply)]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if reply.tool else "stop"}
        usage = usage_of(body, _said(reply))
        return self._json(HTTPStatus.OK, self._envelope(body, "chat.completion", choices=[choice], usage=usage))

    def _chunks(self, body: dict[str, Any], reply: Reply) -> Iterator[bytes]:
        base = self._envelope(body, "chat.completion.chunk")
        yield _event({**base, "choices": [_choice({"role": "assistant", "content": ""})]})
        if reply.tool:
            yield _event({**base, "choices": [_choice({"tool_calls": [{"index": 0, **self._call(reply)}]})]})
        for piece in pieces_of(reply.text, reply.pieces) if reply.text else ():
            yield _event({**base, "choices": [_choice({"content": piece})]})
        yield _event({**base, "choices": [_choice({}, "tool_calls" if reply.tool else "stop")]})
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield _event({**base, "choices": [], "usage": usage_of(body, _said(reply))})
        yield b"data: [DONE]\n\n"

    def _call(self, reply: Reply) -> dict[str, Any]:
        assert reply.tool is not None
        function = {"name": reply.tool.name, "arguments": reply.tool.json}
        return {"id": f"call_{next(self.model.numbers)}", "type": "function", "function": function}

    # ---- Anthropic's messages

    def _anthropic(self, body: dict[str, Any], reply: Reply) -> None:
        if body.get("stream"):
            return self._stream(self._message_events(body, reply), reply)
        block = self._block(reply) if reply.tool else {"type": "text", "text": reply.text}
        message = {**self._message(body, reply), "content": [block], "stop_reason": "tool_use" if reply.tool else "end_turn"}
        return self._json(HTTPStatus.OK, message)

    def _message(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        counted = usage_of(body, _said(reply))
        usage = {"input_tokens": counted["prompt_tokens"], "output_tokens": counted["completion_tokens"]}
        more: dict[str, Any] = {"type": "message", "role": "assistant", "content": [], "stop_reason": None, "stop_sequence": None}
        return {**self._envelope(body, ""), **more, "usage": usage}

    def _block(self, reply: Reply) -> dict[str, Any]:
        assert reply.tool is not None
        name, given = reply.tool.name, dict(reply.tool.arguments)
        return {"type": "tool_use", "id": f"toolu_{next(self.model.numbers)}", "name": name, "input": given}

    def _message_events(self, body: dict[str, Any], reply: Reply) -> Iterator[bytes]:
        message = self._message(body, reply)
        yield _named({"type": "message_start", "message": message})
        block = {**self._block(reply), "input": {}} if reply.tool else {"type": "text", "text": ""}
        yield _named({"type": "content_block_start", "index": 0, "content_block": block})
        for delta in _deltas(reply):
            yield _named({"type": "content_block_delta", "index": 0, "delta": delta})
        yield _named({"type": "content_block_stop", "index": 0})
        ending = {"stop_reason": "tool_use" if reply.tool else "end_turn", "stop_sequence": None}
        usage = {"output_tokens": message["usage"]["output_tokens"]}
        yield _named({"type": "message_delta", "delta": ending, "usage": usage})
        yield _named({"type": "message_stop"})

    # ---- HTTP

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

    def _stream(self, events: Iterator[bytes], reply: Reply) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for number, event in enumerate(events):
            if reply.cut and number == _CUT_AFTER:
                return
            self.wfile.write(event)
            self.wfile.flush()
            self.model.pause()

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """In the shape of both dialects: clients look for `error.message`."""
        kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        error = {"message": message, "type": kind, "code": status}
        self._json(status, {"type": "error", "error": error}, headers)

    def _json(self, status: int, data: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        raw = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


_CUT_AFTER = 4
"""Events of a stream that is cut in the middle."""
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
          429: "rate_limit_error", 529: "overloaded_error"}  # fmt: skip


def _said(reply: Reply) -> str:
    return reply.text + (reply.tool.json if reply.tool else "")


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def _named(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\n".encode() + _event(data)


def _deltas(reply: Reply) -> Iterator[dict[str, str]]:
    if reply.tool:
        yield {"type": "input_json_delta", "partial_json": reply.tool.json}
    for piece in pieces_of(reply.text, reply.pieces) if reply.text else ():
        yield {"type": "text_delta", "text": piece}


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

    def pause(self, seconds: float | None = None) -> None:
        """Wait between two pieces, so that streaming can be seen, or so many seconds; not while stopping."""
        wait = self.delay if seconds is None else seconds
        if wait:
            self._stopping.wait(wait)

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
