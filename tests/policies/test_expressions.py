"""Expressions are checked before they are saved, say where they are wrong, and cannot hang the portal."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawportal_policies.expressions import Evaluator
from clawportal_policies.kinds import variables
from tests.policies.test_policy_kinds import FACTS

DOCUMENT = variables(FACTS)
HOSTILE = "[1,2].exists(a, "
for _before, _after in zip("abcdefgh", "bcdefghi", strict=True):
    HOSTILE += f"[[{','.join([_before] * 9)}]].exists({_after}, "
HOSTILE += "i == i && i != i" + ")" * 9
"""Small, within every limit of the engine, and more work than a day has: it compares a list with 9^8 leaves with itself."""


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    made = Evaluator()
    yield made
    made.close()


def value(evaluator: Evaluator, text: str, **changed: Any) -> bool | None:
    return evaluator.evaluate([text], [{**DOCUMENT, **changed}])[0][0].value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("true", True), ('action == "create"', True), ('instance.adapter == "openclaw"', False),
        ('instance.labels.team in ["support", "sales"]', True), ('"team" in instance.labels', True),
        ("has(instance.labels.owner)", False), ("instance.memory <= 1024 * 1024 * 1024", True), ("instance.cpu > 0.5", False),
        ("instance.storage == 5 * 1024 * 1024 * 1024", True),
        ("instance.spec.settings.exec.enabled", True), ('instance.version.startsWith("0.3.")', True),
        ('instance.name.matches("^[a-z]+$")', True), ('now.getHours("Europe/Berlin") == 10', True),
        ("now.getDayOfWeek() == 1", True),
        ('instance.spec.settings.tools.exists(t, t.name == "web")', True), ("instance.spec.settings.exec.level < 1", True),
    ],
)  # fmt: skip
def test_what_expressions_can_say(evaluator: Evaluator, text: str, wanted: bool) -> None:
    assert evaluator.check(text) is None
    assert value(evaluator, text) is wanted


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("1 +", 1, 4), ("true &&\n  foo", 2, 3), ("instance.name +", 1, 16), ('action + 1 == "x"', 1, 8), ("1 + 1", 1, 1),
        ('"a', 1, 1),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_says_where(evaluator: Evaluator, text: str, line: int, column: int) -> None:
    flaw = evaluator.check(text)
    assert flaw is not None and (flaw.line, flaw.column) == (line, column)
    assert str(flaw).startswith(f"Line {line}, column {column}: ") and "<input>" not in str(flaw)


@pytest.mark.parametrize("text", ["(" * 900 + "true" + ")" * 900, "[" * 900 + "]" * 900, "!" * 1999 + "true", "\x00", "'\ud800'"])
def test_what_is_nested_too_deeply_or_unreadable_is_told(evaluator: Evaluator, text: str) -> None:
    flaw = evaluator.check(text)
    assert flaw is None or flaw.message
    assert value(evaluator, "true") is True


@pytest.mark.parametrize("text", ['instance.labels.none == "x"', "instance.nothing", "instance.name", "1 / 0 == 1"])
def test_what_cannot_be_decided_is_neither_true_nor_false(evaluator: Evaluator, text: str) -> None:
    found = evaluator.evaluate([text, "true"], [DOCUMENT])[0]
    assert found[0].value is None and found[0].error
    assert found[1].value is True, "the next one does not suffer"


def test_a_hostile_expression_ends_and_is_named(evaluator: Evaluator) -> None:
    assert len(HOSTILE) < 2000 and evaluator.check(HOSTILE) is None
    begun = time.process_time()
    first, second, third = evaluator.evaluate(["true", HOSTILE, "true"], [DOCUMENT])[0]
    assert first.value is True
    assert second.value is None and "more than 0.5 s" in second.error
    assert third.value is None and "Another expression" in third.error
    assert time.process_time() - begun < 5, "the portal itself computes nothing"
    assert value(evaluator, "true") is True, "the next change has a new helper"


def test_too_many_rounds_end_too(evaluator: Evaluator) -> None:
    digits = "[0,1,2,3,4,5,6,7,8,9]"
    text = "".join(f"{digits}.all(v{n}, " for n in range(7)) + "true" + ")" * 7
    assert value(evaluator, text) is None


def test_too_much_memory_ends_too(evaluator: Evaluator) -> None:
    text = f"['{'a' * 500}']" + ".map(x, x + x + x + x + x + x + x + x + x + x)" * 12 + "[0].size() > 0"
    assert value(evaluator, text) is None
    assert value(evaluator, "true") is True


def test_many_threads_get_their_own_answers(evaluator: Evaluator) -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(20):
            found = evaluator.evaluate([f'instance.name == "n{number}"'], [{**DOCUMENT, "instance": {"name": f"n{number}"}}])
            if found[0][0].value is not True:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_large_documents_and_numbers_pass(evaluator: Evaluator) -> None:
    spec = {"persona": "x" * 50_000, "settings": {"big": 10**30, "list": list(range(1000))}}
    assert value(evaluator, "size(instance.spec.persona) == 50000 && instance.spec.settings.big > 1.0", instance={"spec": spec})


def test_a_helper_that_was_ended_is_started_again(evaluator: Evaluator) -> None:
    assert value(evaluator, "true") is True
    assert evaluator._process is not None
    evaluator._process.kill()
    evaluator._process.wait(10)
    assert value(evaluator, "true") is True


def test_where_no_helper_can_be_started_nothing_is_decided(tmp_path: Path) -> None:
    code = """
import sys
from clawportal_policies.expressions import Evaluator
sys.executable = sys.argv[1]
made = Evaluator()
print(made.check("true"))
print(made.evaluate(["true"], [{}])[0][0])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "no-python")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("cannot be started") == 2 and "value=None" in done.stdout
