"""nanobot itself, installed from PyPI and run by the process runtime against the practice model."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from clawportal.contracts.adapters import Adapter, ChatEvent
from clawportal.contracts.providers import Dialect
from clawportal.contracts.runtimes import Runtime
from clawportal.contracts.workloads import Model
from clawportal.errors import GiveUp
from clawportal.testing.trial import Trial, text_of
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_practice.server import PracticeModel

pytestmark = [pytest.mark.claw, pytest.mark.slow, pytest.mark.timeout(900)]

PERSONA = "# Soul\nYou are Kim from the help desk. PERSONA-MARK-ä7"


@pytest.fixture
def trial(runtime: Runtime, install: Callable[[Adapter], None], practice: PracticeModel) -> Trial:
    install(NanobotAdapter())
    model = Model("practice", practice.url, "practice")
    secrets = {"model_api_key": "key-of-the-model"}
    return Trial(runtime, NanobotAdapter(), spec={"persona": PERSONA}, model=model, secrets=secrets)


def test_a_whole_life(trial: Trial, practice: PracticeModel) -> None:
    with trial:
        trial.check()
        trial.start()
        _two_turns_in_one_session(trial, practice)
        _sessions_are_apart(trial, practice)
        _changes_are_followed_while_it_runs(trial, practice)
        levels = {trial.adapter.parse_log(line).level for line in trial.lines()}
        assert "info" in levels
        assert trial.stop().exit_code == 0
        trial.start()
        said = text_of(trial.chat("alpha", "after the restart"))
        assert "after the restart" in said and "first words" in practice.requests[-1].prompt, "its memory outlives a restart"
        assert trial.stop().exit_code == 0


def _two_turns_in_one_session(trial: Trial, practice: PracticeModel) -> None:
    events = list(trial.chat("alpha", "first words"))
    deltas = [event.text for event in events if event.kind == "delta"]
    assert len(deltas) > 2 and events[-1] == ChatEvent("final", "".join(deltas))
    assert events[-1].text == "Practice model: hello, I got your message. You said: first words"
    (usage,) = [event.usage for event in events if event.kind == "usage"]
    assert usage and usage.input_tokens > 100 and usage.output_tokens > 5 and usage.model == "practice"
    assert PERSONA in practice.requests[-1].prompt
    text_of(trial.chat("alpha", "second words"))
    assert "first words" in practice.requests[-1].prompt


def _sessions_are_apart(trial: Trial, practice: PracticeModel) -> None:
    assert text_of(trial.chat("another session: ünusual / name", "third words")).endswith("third words")
    assert "first words" not in practice.requests[-1].prompt


def _changes_are_followed_while_it_runs(trial: Trial, practice: PracticeModel) -> None:
    before = trial.workload
    trial.model = Model("practice", practice.url, "another-model")
    after = trial.plan({"persona": "You are now Lee. PERSONA-MARK-B", "settings": {"temperature": 0.7}})
    assert trial.adapter.change(before, after).action == "hot"
    trial.runtime.write_files(trial.ref, after)
    for _ in range(20):  # it looks at its files now and then
        text_of(trial.chat("alpha", "who are you"))
        last = practice.requests[-1]
        if last.body["model"] == "another-model":
            break
    assert last.body["model"] == "another-model" and last.body["temperature"] == 0.7
    assert "PERSONA-MARK-B" in last.prompt and "PERSONA-MARK-ä7" not in last.prompt
    assert trial.health().state == "healthy"


def test_every_setting_is_a_key_that_it_knows(trial: Trial) -> None:
    """A key that nanobot does not know is dropped in silence; so its own model has to give each one back."""
    everything = {
        "timezone": "Asia/Shanghai", "bot_name": "Kim", "max_tool_iterations": 7, "temperature": 0.5, "max_tokens": 99,
        "context_window_tokens": 50_000, "reasoning_effort": "low", "restrict_to_workspace": False, "exec_enabled": True,
        "exec_timeout": 11, "web_enabled": True, "web_search_provider": "searxng", "web_search_url": "http://s.example/",
        "heartbeat_minutes": 45, "dream_hours": 3, "compact_after_minutes": 9,
    }  # fmt: skip
    with trial:
        plan = trial.plan({"settings": everything})
        assert plan.check
        code = (
            "import json, sys; from nanobot.config.loader import load_config; from pathlib import Path\n"
            "path = Path(sys.argv[1])\n"
            "def lost(given, known, at=''):\n"
            "    for key, value in given.items():\n"
            "        if key not in known: yield at + key\n"
            "        elif isinstance(value, dict): yield from lost(value, known[key], at + key + '.')\n"
            "        elif value != known[key]: yield f'{at}{key}: {value!r} became {known[key]!r}'\n"
            "known = load_config(path).model_dump(by_alias=True, mode='json')\n"
            "found = [key for key in lost(json.loads(path.read_text()), known) if not key.startswith('channels.')]\n"
            "print(*found, sep='\\n'); sys.exit(bool(found))"
        )
        argv = (plan.check.argv[0], "-I", "-c", code, "{candidate}/config.json")
        trial.check(replace(plan, check=replace(plan.check, argv=argv)))
        trial.check(plan)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"temperature": 0.1', '"temperature": "warm"', "agents.defaults.temperature"),
        ('"tools": {', '"tolls": {', "tolls"),
        ('"allowFrom": [', '"pingIntervalS": "often", "allowFrom": [', "channels.websocket.pingIntervalS"),
        ("${CLAWPORTAL_WS_TOKEN}", "${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
        ('"provider": "custom"', '"provider": "nobody"', "No provider is configured"),
        ('"agents": {', '"agents": ', "JSON"),
    ],
)
def test_a_bad_configuration_is_refused_in_its_own_words(trial: Trial, old: str, new: str, words: str) -> None:
    with trial:
        files = tuple(replace(file, content=file.content.replace(old, new)) for file in trial.workload.files)
        assert files != trial.workload.files
        bad = replace(trial.workload, files=files)
        with pytest.raises(GiveUp, match=words) as refusal:
            trial.check(bad)
        assert "Traceback" not in str(refusal.value) and "key-of-the-model" not in str(refusal.value)


def test_a_refused_start_is_not_tried_again(trial: Trial) -> None:
    with trial:
        files = tuple(replace(file, content=file.content.replace('"tools": {', '"tolls": {')) for file in trial.workload.files)
        trial.runtime.apply(trial.ref, replace(trial.workload, files=files), trial.secrets)
        seen = trial.wait_ended(30)
        verdict = trial.adapter.explain_exit(seen.exit_code, seen.exit_signal, tuple(trial.lines()))
        assert verdict.reason == "ConfigRefused" and not verdict.retry and "tolls" in verdict.message


def test_a_model_that_is_down_is_told(trial: Trial, practice: PracticeModel) -> None:
    with trial:
        trial.start()
        practice.stop()
        events = list(trial.chat("alpha", "anybody there?"))
        assert events[-1].kind == "error" and events[-1].text


def test_a_model_of_anthropic(trial: Trial, practice: PracticeModel) -> None:
    with trial:
        trial.model = Model("anthropic", practice.url, "claude-opus-4-6", "anthropic")
        trial.plan({"persona": PERSONA})
        trial.check()
        trial.start()
        assert text_of(trial.chat("alpha", "bonjour")).endswith("bonjour")
        assert practice.requests[-1].path == "/v1/messages" and PERSONA in practice.requests[-1].prompt


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_it_calls_a_tool_that_the_practice_model_asks_for(trial: Trial, practice: PracticeModel, dialect: Dialect) -> None:
    with trial:
        trial.model = Model("some", practice.url, "practice", dialect)
        trial.plan({})
        trial.check()
        trial.start()
        said = text_of(trial.chat("alpha", "tool list_dir"))
        assert "the tool answered:" in said and "the claw offers no tool" not in said
        assert len(practice.requests) >= 2, "once for the call, and once with what it gave"


def test_commands_are_answered_at_once(trial: Trial) -> None:
    with trial:
        trial.start()
        begun = time.monotonic()
        assert "Model: practice" in text_of(trial.chat("alpha", "/status"))
        assert "/new" in text_of(trial.chat("alpha", "/help"))
        assert time.monotonic() - begun < 20
        assert "too long" in list(trial.chat("alpha", "x" * 70_000))[-1].text


@pytest.mark.parametrize("port", ["gateway", "ws"])
def test_a_port_that_is_taken_is_told(trial: Trial, port: str) -> None:
    with trial, socket.create_server(("127.0.0.1", trial.ports[port])):
        trial.runtime.apply(trial.ref, trial.workload, trial.secrets)
        seen = trial.wait_ended(30)
        verdict = trial.adapter.explain_exit(seen.exit_code, seen.exit_signal, tuple(trial.lines()))
        assert verdict.reason == "PortTaken" and verdict.retry


@pytest.mark.parametrize(
    ("name", "refused", "spec"),
    [("kimi-k2.5", ("temperature",), {}), ("some-model", (), {"settings": {"temperature": None}})],
)
def test_sampling_can_be_left_out(
    trial: Trial, practice: PracticeModel, name: str, refused: tuple[str, ...], spec: dict[str, object]
) -> None:
    with trial:
        trial.model = Model("openai-compatible", practice.url, name)
        trial.plan(spec)
        practice.refused = refused
        trial.check()
        trial.start()
        assert text_of(trial.chat("alpha", "bonjour")).endswith("bonjour")
        assert practice.requests[-1].body.get("temperature") is None


def test_the_providers_own_refusal_is_told(trial: Trial, practice: PracticeModel) -> None:
    practice.refused = ("temperature",)
    with trial:
        trial.start()
        last = list(trial.chat("alpha", "hello"))[-1]
        assert last.kind == "error" and "invalid temperature: only the default is allowed" in last.text
        assert "leave that empty" in last.remedy


def test_a_query_of_the_address_goes_with_every_request(trial: Trial, practice: PracticeModel) -> None:
    with trial:
        trial.model = Model("openai-compatible", f"{practice.url}?api-version=2026-01-01", "some-model")
        trial.plan({})
        trial.check()
        trial.start()
        assert text_of(trial.chat("alpha", "bonjour")).endswith("bonjour")
        assert practice.requests[-1].query == "api-version=2026-01-01"
