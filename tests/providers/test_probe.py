"""A model is tested against strict providers of each dialect, and against those with bad manners."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clawportal import bounded
from clawportal.testing.hostile import HostileServer
from clawportal_practice.server import PracticeModel
from clawportal_providers import api, calling, probe
from clawportal_providers.calling import Refused, Target, hidden
from clawportal_providers.catalogue import PROVIDERS
from clawportal_providers.probe import Report

KNOWN = {one.id: one for one in PROVIDERS}
KEY = "sk-secret-0123456789abcdef"
BOTH = ("openai-compatible", "anthropic-compatible")


def target(url: str, provider: str = "openai-compatible", **more: Any) -> Target:
    return Target(KNOWN[provider], url, **({"model": "practice", "key": KEY} | more))


def states(report: Report) -> dict[str, str]:
    return {step.name: step.state for step in report.steps}


@dataclass
class Double:
    """A provider that answers what it is told to, and keeps what came."""

    answers: dict[str, tuple[int, dict[str, str], str]]
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    @property
    def keys(self) -> list[str]:
        return [value for _path, headers, _body in self.seen for name, value in headers.items() if KEY in value]


@contextmanager
def serving(answers: dict[str, tuple[int, dict[str, str], str]]) -> Iterator[Double]:
    double = Double(answers)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            double.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            name = self.path.partition("?")[0].rpartition("/v1/")[2] or self.path
            status, headers, text = double.answers.get(name, (404, {}, '{"error": {"message": "no such path"}}'))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            raw = text.encode()
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def events(*documents: Any, end: bool = True) -> tuple[int, dict[str, str], str]:
    lines = [f"data: {json.dumps(document)}\n\n" for document in documents]
    return 200, {"Content-Type": "text/event-stream"}, "".join(lines) + ("data: [DONE]\n\n" if end else "")


LIST = (200, {"Content-Type": "application/json"}, json.dumps({"data": [{"id": "big"}, {"id": "small-1"}, {"id": "small-2"}]}))


def said(status: int, message: str) -> tuple[int, dict[str, str], str]:
    return status, {"Content-Type": "application/json"}, json.dumps({"type": "error", "error": {"message": message, "type": "x"}})


# ---- as it should be


@pytest.mark.parametrize("provider", BOTH)
def test_a_model_that_is_well(provider: str) -> None:
    with PracticeModel(api_key=KEY, delay=0) as model:
        report = probe.run(target(model.url, provider))
        sent = model.requests[0]
    assert report.ok and states(report) == {
        "address": "ok",
        "key": "ok",
        "model": "ok",
        "answer": "ok",
        "usage": "ok",
        "tools": "unsure",
    }
    assert "ready" in report.answer and report.input_tokens and report.output_tokens and report.seconds is not None
    assert "temperature" not in sent.body, "some models refuse each but their own"
    name = "x-api-key" if provider.startswith("anthropic") else "authorization"
    assert KEY in sent.headers[name] and (provider != BOTH[1] or sent.headers["anthropic-version"])


@pytest.mark.parametrize("provider", BOTH)
def test_tools_are_seen(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_TOOL_PROMPT", "tool note")
    with PracticeModel(delay=0) as model:
        assert states(probe.run(target(model.url, provider, key="")))["tools"] == "ok"


@pytest.mark.parametrize("provider", BOTH)
def test_the_list_is_sorted_and_searched(provider: str) -> None:
    with serving({"models": LIST}) as double:
        assert [model.id for model in probe.models(target(double.url, provider))] == ["big", "small-1", "small-2"]


def test_what_stands_in_front_of_an_id_is_left_out() -> None:
    body = json.dumps({"data": [{"id": "models/gemini-3.5-flash"}]})
    with serving({"models": (200, {}, body)}) as double:
        assert probe.models(replace(target(double.url), provider=KNOWN["google"]))[0].id == "gemini-3.5-flash"


def test_a_query_of_the_address_goes_along() -> None:
    with serving({"models": LIST}) as double:
        probe.models(target(f"{double.url}?api-version=1"))
        assert double.seen[0][0] == "/v1/models?api-version=1"


# ---- each failure in words


@pytest.mark.parametrize("provider", BOTH)
@pytest.mark.parametrize(
    ("status", "step", "word"),
    [
        (401, "key", "not accepted"), (402, "key", "credit"), (429, "key", "too many"), (500, "key", "fault"),
        (418, "key", "refuses"),
    ],
)  # fmt: skip
def test_a_refused_key_is_told_with_the_providers_sentence(provider: str, status: int, step: str, word: str) -> None:
    with serving({"models": said(status, f"Incorrect API key provided: {KEY[:8]}***cdef.")}) as double:
        report = probe.run(target(double.url, provider))
    assert states(report) == {"address": "ok", step: "failed"} and not report.ok
    wrong = report.steps[-1]
    assert word in wrong.message and "Incorrect API key provided" in wrong.said and wrong.remedy
    assert "sk-secret" not in wrong.said, "not even its beginning"


@pytest.mark.parametrize("provider", BOTH)
def test_a_key_that_may_not_list_is_tried_with_a_question(provider: str) -> None:
    path = "messages" if provider.startswith("anthropic") else "chat/completions"
    with serving({"models": said(403, "no list for you"), path: said(401, "revoked")}) as double:
        report = probe.run(target(double.url, provider))
    assert states(report) == {"address": "ok", "model": "unsure", "key": "failed"} and report.steps[-1].said == "revoked"


@pytest.mark.parametrize("provider", BOTH)
def test_a_list_that_lies_is_found_out(provider: str) -> None:
    with serving({"models": LIST}) as double:
        path = "messages" if provider.startswith("anthropic") else "chat/completions"
        double.answers[path] = said(404, "The model big does not exist")
        report = probe.run(target(double.url, provider, model="big"))
    assert report.steps[-1].state == "failed" and report.steps[-1].name == "model"
    assert report.steps[-1].said == "The model big does not exist"


def test_a_model_that_is_not_listed_has_neighbours() -> None:
    with serving({"models": LIST, "chat/completions": said(404, "no")}) as double:
        report = probe.run(target(double.url, model="small"))
    unsure = next(step for step in report.steps if step.name == "model" and step.state == "unsure")
    assert "small-1" in unsure.remedy and "3 models" in unsure.message


@pytest.mark.parametrize("provider", BOTH)
def test_a_redirect_is_told_and_the_key_goes_nowhere(provider: str) -> None:
    with serving({"models": LIST}) as thief, serving({}) as double:
        elsewhere = thief.url.replace("127.0.0.1", "localhost")
        double.answers["models"] = (307, {"Location": f"{elsewhere}/models"}, "")
        report = probe.run(target(double.url, provider))
        assert thief.seen == [] and double.keys
    assert report.steps[-1].name == "address" and "localhost" in report.steps[-1].message
    assert "not sent there" in report.steps[-1].message


@pytest.mark.parametrize("provider", BOTH)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_question_that_is_sent_on_takes_no_key_along(provider: str, status: int) -> None:
    with serving({}) as thief, serving({"models": LIST}) as double:
        path = "messages" if provider.startswith("anthropic") else "chat/completions"
        double.answers[path] = (status, {"Location": f"{thief.url.replace('127.0.0.1', 'localhost')}/{path}"}, "")
        report = probe.run(target(double.url, provider, model="big"))
        assert thief.seen == [] and len(double.seen) == 2
    assert report.steps[-1].state == "failed" and "not sent there" in report.steps[-1].message


def test_a_list_at_another_host_does_not_get_the_key() -> None:
    with serving({"models": LIST}) as thief, serving({}) as double:
        about = replace(KNOWN["openai-compatible"].models, url=f"{thief.url}/models")  # type: ignore[type-var]
        with pytest.raises(Refused, match="another host"):
            probe.models(replace(target(double.url), provider=replace(KNOWN["openai-compatible"], models=about)))
        assert thief.seen == []


@pytest.mark.parametrize("provider", BOTH)
def test_a_web_page_is_no_api(provider: str) -> None:
    page = (200, {"Content-Type": "text/html"}, "<html><style>b {}</style><h1>Welcome to our gateway</h1></html>")
    with serving({"models": page}) as double:
        step = probe.run(target(double.url, provider)).steps[-1]
    assert step.name == "address" and "text/html" in step.message and "/v1" in step.remedy
    assert step.said == "", "whatever page stands at an address that somebody typed is not shown to them"


@pytest.mark.parametrize("text", ["secret of another service", '"a secret"', "{'error': 'secret'}", '["secret"'])
@pytest.mark.parametrize("status", [200, 401, 500])
def test_what_is_no_document_of_an_api_is_not_shown(text: str, status: int) -> None:
    with serving({"models": (status, {"Content-Type": "text/plain"}, text)}) as double:
        report = probe.run(target(double.url))
    assert not report.ok and "secret" not in str([(step.message, step.said) for step in report.steps])


@pytest.mark.parametrize("text", ["[1, 2", '{"data": 5}', "[]", "null", '{"data": [{"name": 1}, 5, null]}', "[" * 100_000])
def test_an_odd_list_is_told_or_empty(text: str) -> None:
    with serving({"models": (200, {}, text)}) as double:
        try:
            assert probe.models(target(double.url)) == []
        except Refused as refusal:
            assert refusal.step.message and refusal.step.remedy


def test_an_answer_that_breaks_off_or_is_empty_is_told() -> None:
    piece = {"choices": [{"delta": {"content": "rea"}}]}
    for answer, word in (
        (events(piece, end=False), "broke off"),
        (events(), "does not stream"),
        (events({"error": {"message": "full"}}), "fault"),
    ):
        with serving({"models": LIST, "chat/completions": answer}) as double:
            report = probe.run(target(double.url, model="big"))
            assert report.steps[-1].state == "failed" and word in report.steps[-1].message


def test_a_provider_without_tools_and_tokens_is_told() -> None:
    answer = events({"choices": [{"delta": {"content": "ready"}, "finish_reason": "stop"}]})
    with serving({"models": LIST, "chat/completions": answer}) as double:
        report = probe.run(target(double.url, model="big"))
    assert report.ok and states(report)["usage"] == "unsure" and states(report)["tools"] == "unsure"


@pytest.mark.parametrize("provider", BOTH)
def test_a_tool_that_nobody_offered_is_no_step_of_its_own(provider: str) -> None:
    call = {"choices": [{"delta": {"content": "ready", "tool_calls": [{"index": 0}]}, "finish_reason": "stop"}]}
    use = {"type": "content_block_start", "content_block": {"type": "tool_use"}}
    said_, end = {"type": "content_block_delta", "delta": {"text": "ready"}}, {"type": "message_stop"}
    answers = {"models": LIST, "chat/completions": events(call), "messages": events(use, said_, end)}
    with serving(answers) as double:
        report = probe.run(target(double.url, provider, model="big"))
    assert [step.name for step in report.steps] == ["address", "key", "model", "answer", "usage", "tools"]
    api.TestAnswer.model_validate(api._report(report))


def test_nobody_at_home() -> None:
    with PracticeModel() as model:
        url = model.url
    report = probe.run(target(url))
    assert states(report) == {"address": "failed"} and "cannot be reached" in report.steps[0].message
    assert states(probe.run(target("http://no-such-host.invalid/v1"))) == {"address": "failed"}


# ---- bad manners


@pytest.mark.parametrize(
    "manners", ["drip", "drip_headers", "endless_headers", "giant_line", "giant_chunk", "deep_json", "silent", "gzip_bomb"]
)
def test_a_test_has_an_end(manners: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "SECONDS", 0.5)
    with HostileServer(manners) as server:
        report = probe.run(target(f"{server.url}/v1"))
        assert not report.ok and report.steps[-1].message
        assert server.sent < 24 * bounded.MIB


def test_what_is_said_is_cut_and_hides_the_key() -> None:
    with serving({"models": said(400, f"{KEY} " + "x" * 5000 + "\x1b[31m\n")}) as double:
        step = probe.run(target(double.url)).steps[-1]
    assert KEY not in step.said and len(step.said) <= 300 and "\x1b" not in step.said


@pytest.mark.parametrize("text", [KEY, f"key {KEY[:9]}***", "sk-abcdef******wxyz", f"Bearer {KEY}."])
def test_a_key_is_hidden_in_whatever_is_said(text: str) -> None:
    assert "secret" not in hidden(text, KEY) and "abcdef*" not in hidden(text, KEY)
