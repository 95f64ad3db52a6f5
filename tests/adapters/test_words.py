"""What the adapters read out of real lines: levels, verdicts and changes, line by line as the claws wrote them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawportal.adapter_helpers import change_by_paths, json_file, last_words
from clawportal.contracts.adapters import Adapter, LogRecord
from clawportal.contracts.workloads import File, Model, Process, Workload
from clawportal.testing.fakes import MODEL_KEY, make_context
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_openclaw.adapter import OpenClawAdapter

STATE_IN_USE = (
    '{"level":"error","message":"Gateway failed to start: Doctor could not enter maintenance. '
    'StateDatabaseCoordinatorContentionError: another OpenClaw process owns gateway-lifecycle"}'
)
MIGRATION = '{"level":"error","subsystem":"gateway","message":"gateway requires state migration. Stop the service"}'
INVALID = (
    "Using config: /srv/state/config.json",
    "Invalid configuration: /srv/state/config.json",
    "",
    "Found 1 invalid setting(s).",
    "",
    "  gateway.port",
    "    Must be a valid integer, unable to parse string as an integer.",
    "Check again after editing: nanobot status --config ",
    '"/srv/state/config.json"',
)
HEAP = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"


@pytest.mark.parametrize(
    ("adapter", "line", "record"),
    [
        (
            NanobotAdapter(),
            "2026-11-23 03:52:30 | INFO  | websocket | WebSocket server listening on ws://127.0.0.1:56049/",
            LogRecord("info", "websocket | WebSocket server listening on ws://127.0.0.1:56049/"),
        ),
        (NanobotAdapter(), "2026-11-23 03:52:30 | WARNING | - | retrying", LogRecord("warning", "retrying")),
        (NanobotAdapter(), "\x1b[32m✓ Health endpoint\x1b[0m", LogRecord("", "✓ Health endpoint")),
        (
            OpenClawAdapter(),
            '{"time":"2026-11-23T03:56:13.157+00:00","level":"info","subsystem":"gateway","message":"gateway ready"}',
            LogRecord("info", "gateway: gateway ready"),
        ),
        (
            OpenClawAdapter(),
            '{"error":"Error: no route","level":"warn","subsystem":"gateway","message":"refresh failed"}',
            LogRecord("warning", "gateway: refresh failed (Error: no route)"),
        ),
        (OpenClawAdapter(), HEAP, LogRecord("error", HEAP)),
        (OpenClawAdapter(), "│  - Migrated", LogRecord("", "│  - Migrated")),
    ],
)
def test_lines(adapter: Adapter, line: str, record: LogRecord) -> None:
    assert adapter.parse_log(line) == record


@pytest.mark.parametrize(
    ("adapter", "code", "signal", "lines", "reason", "retry"),
    [
        (NanobotAdapter(), 1, None, INVALID, "ConfigRefused", False),
        (NanobotAdapter(), 1, None, ("Traceback",), "Crashed", True),
        (NanobotAdapter(), None, 9, INVALID, "Killed", True),
        (NanobotAdapter(), 0, None, INVALID, "Exited", True),
        (OpenClawAdapter(), 78, None, ('{"level":"error","message":"Unrecognized key: foo"}',), "ConfigRefused", False),
        (OpenClawAdapter(), 78, None, (STATE_IN_USE,), "AlreadyRunning", True),
        (OpenClawAdapter(), 78, None, (MIGRATION,), "StateRefused", False),
        (OpenClawAdapter(), 1, None, ("state lease heartbeat did not become ready",), "Crashed", True),
        (OpenClawAdapter(), None, 6, (HEAP,), "HeapExhausted", True),
        (OpenClawAdapter(), 134, None, (HEAP,), "HeapExhausted", True),
    ],
)
def test_exits(adapter: Adapter, code: int | None, signal: int | None, lines: tuple[str, ...], reason: str, retry: bool) -> None:
    verdict = adapter.explain_exit(code, signal, lines)
    assert (verdict.reason, verdict.retry) == (reason, retry)


def test_a_refusal_says_only_what_is_wrong() -> None:
    message = NanobotAdapter().explain_exit(1, None, INVALID).message
    assert message.splitlines() == [
        "Found 1 invalid setting(s).",
        "gateway.port",
        "Must be a valid integer, unable to parse string as an integer.",
    ]


def test_last_words_are_the_last_that_say_anything() -> None:
    assert last_words(["one", "", "\x1b[31mtwo\x1b[0m", "  ", "three"], 2) == "two\nthree"


def plan(**files: object) -> Workload:
    made = [json_file(name, value) if isinstance(value, dict) else File(name, str(value)) for name, value in files.items()]
    return Workload(files=tuple(made), processes=(Process("p", ("run",)),))


@pytest.mark.parametrize(
    ("old", "new", "action", "reason"),
    [
        (plan(c={"a": {"b": 1, "c": 2}}), plan(c={"a": {"b": 2, "c": 2}}), "hot", "It notices a.b while it runs."),
        (plan(c={"a": {"b": 1}}), plan(c={"a": {"c": 1}}), "restart", "It reads a.c only when it starts."),
        (plan(c={"a": 1}), plan(c={"a": {"b": 1}}), "restart", "It reads a only when it starts."),
        (plan(text="one"), plan(text="two"), "hot", "It notices text while it runs."),
        (plan(), plan(other="new"), "restart", "It reads other only when it starts."),
        (plan(text="one"), replace(plan(text="one"), stop_grace=99.0), "none", ""),
        (plan(text="one"), replace(plan(text="one"), memory_bytes=5), "restart", "What is started has changed."),
        (plan(c={"x": True}), plan(c={"x": 1}), "restart", "It reads c only when it starts."),
    ],
)
def test_changes(old: Workload, new: Workload, action: str, reason: str) -> None:
    change = change_by_paths(old, new, hot=lambda name: name in ("c:a.b", "text"))
    assert (change.action, change.reason) == (action, reason)


@pytest.mark.parametrize("adapter", [NanobotAdapter(), OpenClawAdapter()])
def test_what_a_change_takes(adapter: Adapter) -> None:
    first = adapter.plan(make_context(adapter, spec={"persona": "Kim"}))

    def takes(**changes: object) -> str:
        return adapter.change(first, adapter.plan(make_context(adapter, **{"spec": {"persona": "Kim"}, **changes}))).action  # type: ignore[arg-type]

    assert takes() == "none"
    assert takes(spec={"persona": "Lee"}) == "hot"
    assert takes(model=Model("openai-compatible", "http://llm.example/v1", "other")) == "hot"
    assert takes(spec={"persona": "Kim", "expose": True}) == "restart"
    assert takes(secrets=[MODEL_KEY]) == "restart", "a key comes by the environment"
    assert takes(spec={}) == "restart", "a persona that is taken away"
