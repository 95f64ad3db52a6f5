"""OpenClaw itself, installed from npm and run by the process runtime against the practice model."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clawportal.contracts.adapters import Adapter, ChatEvent, HealthState
from clawportal.contracts.runtimes import Runtime
from clawportal.contracts.workloads import Model
from clawportal.errors import GiveUp
from clawportal.testing.trial import Trial, text_of
from clawportal_openclaw.adapter import OpenClawAdapter
from clawportal_practice.server import PracticeModel

pytestmark = [pytest.mark.claw, pytest.mark.slow, pytest.mark.timeout(1200)]

PERSONA = "# Soul\nYou are Kim from the help desk. PERSONA-MARK-ä7"


@pytest.fixture
def trial(runtime: Runtime, install: Callable[[Adapter], None], practice: PracticeModel) -> Trial:
    install(OpenClawAdapter())
    model = Model("practice", practice.url, "practice")
    secrets = {"model_api_key": "key-of-the-model"}
    return Trial(runtime, OpenClawAdapter(), spec={"persona": PERSONA}, model=model, secrets=secrets)


def test_a_whole_life(trial: Trial, practice: PracticeModel) -> None:
    with trial:
        trial.check()
        trial.start()
        _two_turns_in_one_session(trial, practice)
        _sessions_are_apart(trial, practice)
        _changes_are_followed_while_it_runs(trial, practice)
        _its_log_is_understood(trial)
        seen = trial.stop()
        assert (seen.exit_code, seen.exit_signal) == (0, None)
        trial.start()
        text_of(trial.chat("alpha", "after the restart"))
        assert "first words" in practice.requests[-1].prompt, "its memory outlives a restart"


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
    after = trial.plan({"persona": "You are now Lee. PERSONA-MARK-B"})
    assert trial.adapter.change(before, after).action == "hot"
    trial.runtime.write_files(trial.ref, after)
    until = time.monotonic() + 60
    while True:
        text_of(trial.chat("alpha", "who are you"))
        last = practice.requests[-1]
        if last.body["model"] == "another-model" or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert last.body["model"] == "another-model"
    assert "PERSONA-MARK-B" in last.prompt and "PERSONA-MARK-ä7" not in last.prompt
    assert trial.health().state is HealthState.HEALTHY


def _its_log_is_understood(trial: Trial) -> None:
    lines = [line for line in trial.lines() if line.startswith("{")]
    records = [trial.adapter.parse_log(line) for line in lines]
    assert records and all(record.level and not record.message.startswith("{") for record in records), lines
    assert any("gateway: " in record.message for record in records)
    outside = [line for line in lines if "ENOTFOUND" in line or "fetch failed" in line]
    assert not outside, "it called somebody outside at its start"


ALL_SETTINGS: dict[str, Any] = {
    "timezone": "Asia/Shanghai", "starter_files": True, "turn_timeout": 99, "tool_profile": "full", "exec_mode": "allowlist",
    "workspace_only": False, "web_search": True, "web_fetch": True, "heartbeat_minutes": 45, "automations": True,
    "memory_plugin": True, "learn_skills": "propose", "context_window": 50_000, "max_tokens": 99, "thinking": "high",
    "control_ui": True, "control_ui_origins": ["https://claw.example.internal"], "log_level": "debug", "heap_mb": 1024,
    "drain_seconds": 25,
}  # fmt: skip


def test_it_accepts_every_setting_that_is_offered(trial: Trial) -> None:
    with trial:
        assert set(ALL_SETTINGS) == set(
            trial.context.settings.model_fields_set | type(trial.context.settings).model_fields.keys()
        )
        trial.check(trial.plan({"settings": ALL_SETTINGS, "expose": True}))
        trial.model = Model("anthropic", "http://127.0.0.1:9/v1", "claude-opus-4-6", "anthropic")
        trial.check(trial.plan({"settings": {"exec_mode": "full", "learn_skills": "auto"}}))


def test_it_runs_with_every_setting_that_is_offered_and_a_model_of_anthropic(trial: Trial, practice: PracticeModel) -> None:
    """One start for both: each takes twenty seconds of a core."""
    with trial:
        trial.model = Model("anthropic", practice.url, "claude-opus-4-6", "anthropic")
        trial.plan({"settings": ALL_SETTINGS, "expose": True, "persona": PERSONA})
        trial.check()
        trial.start()
        assert text_of(trial.chat("alpha", "bonjour")).endswith("bonjour")
        assert practice.requests[-1].path == "/v1/messages" and PERSONA in practice.requests[-1].prompt
        assert trial.stop().exit_code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gateway": {"port": "often"}}, "gateway.port: "),
        ({"nonsense": {}}, "nonsense"),
        ({"agents": {"defaults": {"heartbeat": {"evry": "0m"}}}}, "evry"),
    ],
)
def test_a_bad_configuration_is_refused_in_its_own_words(trial: Trial, change: dict[str, Any], words: str) -> None:
    with trial:
        with pytest.raises(GiveUp, match=words) as refusal:
            trial.check(_changed(trial, change))
        assert "{" not in refusal.value.message and "key-of-the-model" not in refusal.value.message


def test_a_refused_start_is_not_tried_again(trial: Trial) -> None:
    with trial:
        trial.runtime.apply(trial.ref, _changed(trial, {"nonsense": {}}), trial.secrets)
        seen = trial.wait_ended(90)
        verdict = trial.adapter.explain_exit(seen.exit_code, seen.exit_signal, tuple(trial.lines()))
        assert seen.exit_code == 78, trial.last_words()
        assert verdict.reason == "ConfigRefused" and not verdict.retry and "nonsense" in verdict.message


def _changed(trial: Trial, change: dict[str, Any]) -> Any:
    (config,) = [file for file in trial.workload.files if file.path == "openclaw.json"]
    document = _merged(json.loads(config.content), change)
    others = tuple(file for file in trial.workload.files if file is not config)
    return replace(trial.workload, files=(*others, replace(config, content=json.dumps(document))))


def _merged(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    return one | {key: _merged(one.get(key, {}), value) if isinstance(value, dict) else value for key, value in two.items()}


def test_a_port_that_is_taken_is_told(trial: Trial) -> None:
    with trial, socket.create_server(("127.0.0.1", trial.ports["gateway"])):
        trial.runtime.apply(trial.ref, trial.workload, trial.secrets)
        seen = trial.wait_ended(120)
        verdict = trial.adapter.explain_exit(seen.exit_code, seen.exit_signal, tuple(trial.lines()))
        assert seen.exit_code == 1 and verdict.reason == "PortTaken" and verdict.retry
