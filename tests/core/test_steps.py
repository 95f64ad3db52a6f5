"""What an operation did and when: one step for each thing, not for each figure of a download."""

from __future__ import annotations

from typing import Any

from clawportal.models import Operation
from clawportal.models.operations import MAX_STEPS
from tests.conftest import Server


def said(operation: Operation) -> list[str]:
    return [step["message"] for step in operation.steps]


def test_figures_that_move_on_are_one_step() -> None:
    one = Operation(kind="artifact.install")
    for message in ("Starting", "Downloading 1.2 MB of 40 MB", "Downloading 40 MB of 40 MB", "Unpacking", "Unpacking", ""):
        one.say(message)
    assert said(one) == ["Starting", "Downloading 40 MB of 40 MB", "Unpacking"] and one.message == ""
    assert [step["at"] for step in one.steps] == sorted(step["at"] for step in one.steps)


def test_the_last_steps_stay() -> None:
    one = Operation(kind="artifact.install")
    for number in range(MAX_STEPS + 5):
        one.say("a" * (number + 1))
    assert len(one.steps) == MAX_STEPS and one.steps[-1]["message"] == "a" * (MAX_STEPS + 5)


def test_a_create_says_what_it_did(server: Server) -> None:
    made = server.admin.create("stepwise")
    server.admin.reaches(made["id"], "running")
    found: list[dict[str, Any]] = server.admin.get(f"operations?instance={made['id']}&kind=instance.create").get_json()["items"]
    steps = server.admin.get(f"operations/{found[0]['id']}").get_json()["steps"]
    assert steps[0]["message"] == "Waiting to be taken up" and len(steps) > 2
    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
