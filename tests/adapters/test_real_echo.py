"""The echo claw for real: it is ready at once, keeps its count, and misbehaves when it is told to."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from clawportal.contracts.adapters import ChatEvent, HealthState
from clawportal.contracts.runtimes import Runtime
from clawportal.errors import GiveUp
from clawportal.testing.trial import Trial, text_of
from clawportal_echo import EchoAdapter
from tests.conftest import wait_for


def make_trial(runtime: Runtime, **settings: Any) -> Trial:
    return Trial(runtime, EchoAdapter(), spec={"settings": settings})


def test_it_is_ready_at_once_and_streams_its_answer(runtime: Runtime) -> None:
    with make_trial(runtime, greeting="Grüß dich") as trial:
        trial.check()
        assert trial.start() < 5
        events = list(trial.chat("s1", "how are you?"))
        assert [event.kind for event in events[:-1]] == ["delta"] * 7
        assert events[-1] == ChatEvent("final", "Grüß dich: how are you? (message 1)")
        assert trial.stop().exit_code == 0


def test_its_count_outlives_a_stop(runtime: Runtime) -> None:
    with make_trial(runtime) as trial:
        trial.start()
        assert "(message 1)" in text_of(trial.chat("s1", "one"))
        trial.stop()
        trial.start()
        assert "(message 2)" in text_of(trial.chat("s1", "two"))
        answer = trial.io.get("http", "/health").json()
        assert answer == {"status": "ok", "starts": 2, "messages": 2}


def test_a_stranger_without_the_token_is_turned_away(runtime: Runtime) -> None:
    with make_trial(runtime) as trial:
        trial.start()
        trial.secrets = {}
        assert [event.kind for event in trial.chat("s1", "let me in")] == ["error"]


def test_a_new_greeting_is_noticed_while_it_runs(runtime: Runtime) -> None:
    with make_trial(runtime) as trial:
        trial.start()
        before = trial.workload
        after = trial.plan({"settings": {"greeting": "Ahoy"}})
        assert trial.adapter.change(before, after).action == "hot"
        trial.runtime.write_files(trial.ref, after)
        assert text_of(trial.chat("s1", "hi")).startswith("Ahoy: hi")
        assert trial.adapter.change(after, trial.plan({"settings": {"log_every": 5}})).action == "restart"


def test_a_long_answer_comes_whole(runtime: Runtime) -> None:
    with make_trial(runtime) as trial:
        trial.start()
        said = "word " * 20_000
        assert text_of(trial.chat("s1", said)) == f"You said: {said} (message 1)"


@pytest.mark.parametrize(("key", "value"), [("nonsense", 1), ("port", "often"), ("greeting", 5)])
def test_a_bad_configuration_is_refused_with_words(runtime: Runtime, key: str, value: object) -> None:
    with make_trial(runtime) as trial:
        files = tuple(_with(file, key, value) if file.path == "echo.json" else file for file in trial.workload.files)
        bad = replace(trial.workload, files=files)
        with pytest.raises(GiveUp, match=f"configuration refused: .*{key}"):
            trial.check(bad)
        trial.runtime.apply(trial.ref, bad, trial.secrets)
        seen = trial.wait_ended(10)
        verdict = trial.adapter.explain_exit(seen.exit_code, seen.exit_signal, tuple(trial.lines()))
        assert (verdict.reason, verdict.retry) == ("ConfigRefused", False) and key in verdict.message


def _with(file: Any, key: str, value: object) -> Any:
    return replace(file, content=json.dumps({**json.loads(file.content), key: value}))


def test_it_refuses_when_told_to(runtime: Runtime) -> None:
    with make_trial(runtime, refuse="always") as trial, pytest.raises(GiveUp, match="refuse is set"):
        trial.check()
    with make_trial(runtime, refuse="start") as trial:
        trial.check()
        trial.runtime.apply(trial.ref, trial.workload, trial.secrets)
        assert trial.wait_ended(10).exit_code == 2


def test_it_ends_by_itself_when_told_to(runtime: Runtime) -> None:
    with make_trial(runtime, exit_after=0.2, exit_code=7) as trial:
        trial.runtime.apply(trial.ref, trial.workload, trial.secrets)
        seen = trial.wait_ended(10)
        verdict = trial.adapter.explain_exit(seen.exit_code, seen.exit_signal, tuple(trial.lines()))
        assert seen.exit_code == 7 and verdict.reason == "Crashed" and verdict.retry and "exit_after" in verdict.message


def test_it_ignores_being_asked_to_stop_when_told_to(runtime: Runtime) -> None:
    with make_trial(runtime, ignore_sigterm=True) as trial:
        trial.start()
        trial.runtime.stop(trial.ref, 1.0)
        time.sleep(0.5)
        assert trial.health().state is HealthState.HEALTHY
        assert trial.wait_ended(10).exit_signal == 9


def test_it_floods_its_log_when_told_to(runtime: Runtime) -> None:
    with make_trial(runtime, flood=500, log_every=0.2) as trial:
        trial.start()
        wait_for(lambda: sum("flood line" in line for line in trial.lines()) > 50, what="many lines")
        records = [trial.adapter.parse_log(line) for line in trial.lines()]
        assert len([record for record in records if record.message.startswith("flood line")]) > 50
        assert {record.level for record in records} <= {"debug", "info", ""}
