"""docs/policies.md says what is true: its expressions can be saved, its rule can be tried, its tables name what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clawportal_policies.expressions import Evaluator
from clawportal_policies.kinds import ACTIONS, KINDS, variables
from tests.policies.test_policy_kinds import FACTS

TEXT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    made = Evaluator()
    yield made
    made.close()


def expressions() -> list[str]:
    block = next(text for kind, text in BLOCKS if not kind and text.startswith("# "))
    found = [re.sub(r"^#.*\n", "", part) for part in block.strip().split("\n\n")]
    assert len(found) >= 4
    return found


def test_each_expression_can_be_saved_and_decided(evaluator: Evaluator) -> None:
    for text in expressions():
        assert evaluator.check(text) is None, text
        assert evaluator.evaluate([text], [variables(FACTS)])[0][0].value is True, text


def test_the_rule_of_the_example_is_one() -> None:
    rule = yaml.safe_load(next(text for kind, text in BLOCKS if kind == "yaml"))
    KINDS[rule["kind"]].model_validate(rule["parameters"])
    assert set(rule["actions"]) <= set(ACTIONS)


def test_the_tables_are_complete() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT, re.M))
    for name, kind in KINDS.items():
        assert all(f"`{field}`" in table[name] for field in kind.model_json_schema()["properties"]), name
    assert all(f"`{action}`" in TEXT for action in ACTIONS)
    for name, value in variables(FACTS).items():
        for field in value if isinstance(value, dict) and name == "instance" else ():
            assert f".{field}`" in TEXT, field
        assert f"| `{name}" in TEXT, name


def test_the_limits_are_those_of_the_code() -> None:
    from clawportal_policies import _cel_worker, expressions, kinds
    from clawportal_policies import services as policies

    assert f"{expressions.SECONDS} s of computing" in TEXT and f"{_cel_worker.MEMORY // 2**20} MiB" in TEXT
    assert f"{kinds.LONGEST_EXPRESSION:,} characters" in TEXT and f"at most {policies.MOST} rules" in TEXT
    assert f"newest {policies.LOOKED_AT:,} claws" in TEXT and f"expressions {policies.LOOKED_AT_BY_EXPRESSION}" in TEXT
