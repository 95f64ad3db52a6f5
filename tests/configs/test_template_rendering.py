"""Placeholders, variables and what a body comes to: pure rules."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawportal.services.configuration import comparing, rendering, variables
from clawportal.services.configuration.placeholders import LONGEST, escaped, filled_in
from clawportal.services.configuration.rendering import Content, Rendered


def content(body: Any = None, *variables: dict[str, Any]) -> Content:
    found, errors = rendering.content_of(body or {}, list(variables))
    assert found is not None, errors
    return found


def rendered(body: Any, *variables: dict[str, Any], given: dict[str, Any] | None = None, **more: Any) -> Rendered:
    return rendering.render(content(body, *variables), given or {}, more.get("secrets", {"token"}), more.get("kept", ()))


def told(errors: Any) -> dict[str, str]:
    return {error.path: error.code for error in errors}


def test_a_whole_value_keeps_its_type_and_text_is_put_in_as_text() -> None:
    body = {
        "spec": {
            "settings": {
                "a": "${n}",
                "b": "${yes}",
                "c": "${many}",
                "d": "n=${n}, ${yes}, ${many}!",
                "e": ["x", "${n}", "${none}"],
            },
            "persona": "cost: $5, $${n} and $$${n} ${none}|",
        }
    }
    variables = (
        {"name": "n", "type": "number", "default": 2.0},
        {"name": "yes", "type": "boolean", "default": True},
        {"name": "many", "type": "list", "default": ["x", "y"]},
        {"name": "none"},
    )
    found = rendered(body, *variables)
    assert found.errors == ()
    assert found.spec["settings"] == {"a": 2.0, "b": True, "c": ["x", "y"], "d": "n=2, true, x, y!", "e": ["x", 2.0]}
    assert found.spec["persona"] == "cost: $5, ${n} and $${n} |"
    assert found.waiting == {"spec.settings.e.2", "spec.persona"}


@given(st.recursive(st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_was_escaped_renders_as_itself(document: Any) -> None:
    found = rendering.render(Content({"spec": {"x": escaped(document)}}), {}, ())
    assert found.errors == () and found.spec == {"x": document}


def test_what_people_enter_is_never_looked_at_again() -> None:
    body = {"spec": {"persona": "Hello ${who}", "settings": {"greeting": "${who}"}}}
    found = rendered(body, {"name": "who"}, {"name": "key", "type": "secret"}, given={"who": "${key} $${x} {{7*7}}"})
    assert found.spec == {"persona": "Hello ${key} $${x} {{7*7}}", "settings": {"greeting": "${key} $${x} {{7*7}}"}}


def test_defaults_may_name_others_and_circles_are_named() -> None:
    variables = ({"name": "a", "default": "${b}-x"}, {"name": "b", "default": "${c}"}, {"name": "c", "default": "deep"})
    assert rendered({"spec": {"persona": "${a}"}}, *variables).spec == {"persona": "deep-x"}
    assert rendered({"spec": {"persona": "${a}"}}, *variables, given={"b": "mine"}).spec == {"persona": "mine-x"}
    circle = ({"name": "a", "default": "${b}"}, {"name": "b", "default": "1${c}"}, {"name": "c", "default": "${a}"})
    [error] = rendered({}, *circle).errors
    assert (error.path, error.code) == ("variables.a", "loop") and "a → b → c → a" in error.message
    assert rendered({}, *circle, given={"c": "out"}).errors == (), "a value that is given ends the circle"
    assert told(rendered({}, {"name": "a", "default": "${a}"}).errors) == {"variables.a": "loop"}
    assert told(rendered({}, {"name": "a", "default": "${x}"}).errors) == {"variables.a": "unknown_variable"}


def test_missing_and_unknown_variables_are_named() -> None:
    found = rendered({"spec": {"persona": "${nobody}", "settings": {"x": ["${", "${A b}"]}}}, {"name": "team", "required": True})
    assert told(found.errors) == {
        "variables.team": "missing", "body.spec.persona": "unknown_variable", "body.spec.settings.x.0": "placeholder",
        "body.spec.settings.x.1": "unknown_variable",
    }  # fmt: skip
    assert told(rendered({}, {"name": "a"}, given={"b": 1}).errors) == {"variables.b": "unknown"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"spec": {"persona": "key ${key}"}}, {"body.spec.persona": "secret_printed"}),
        ({"spec": {"settings": {"plain": "${key}"}}}, {"body.spec.settings.plain": "secret_printed"}),
        ({"spec": {"settings": {"deep": {"token": "${key}"}}}}, {"body.spec.settings.deep.token": "secret_printed"}),
        ({"labels": {"a": "${key}"}}, {"body.labels.a": "secret_printed"}),
        ({"secrets": {"model_api_key": "sk-in-the-open"}}, {"body.secrets.model_api_key": "secret_literal"}),
        ({"spec": {"settings": {"token": "in-the-open"}}}, {"body.spec.settings.token": "secret_literal"}),
        ({"spec": {"settings": {"token": {"x": "${key}"}}}}, {"body.spec.settings.token": "secret_literal"}),
        ({"secrets": {"model_api_key": "${open}"}}, {"body.secrets.model_api_key": "secret_literal"}),
        ({"secrets": {"model_api_key": ["${key}"]}}, {"body.secrets.model_api_key": "secret_literal"}),
    ],
)
def test_secrets_go_where_secrets_are_kept_and_nowhere_else(body: Any, wrong: dict[str, str]) -> None:
    found = rendered(body, {"name": "key", "type": "secret"}, {"name": "open", "default": "x"}, given={"key": "s3cret-value"})
    assert told(found.errors) == wrong
    assert "s3cret-value" not in repr(found)


def test_a_secret_reaches_its_fields() -> None:
    body = {"spec": {"settings": {"token": "Bearer ${key}"}}, "secrets": {"model_api_key": "${key}"}}
    variables = ({"name": "key", "type": "secret", "required": True},)
    found = rendered(body, *variables, given={"key": "abc"})
    assert (
        found.errors == () and found.secrets == {"model_api_key": "abc"} and found.spec == {"settings": {"token": "Bearer abc"}}
    )
    assert told(rendered(body, *variables).errors) == {"variables.key": "missing"}
    kept = rendered(body, *variables, kept=["key"])
    assert kept.errors == () and kept.secrets == {} and kept.spec == {"settings": {}}
    assert rendering.secret_texts(content(body, *variables), {"token"}) == {"token": "Bearer ${key}", "model_api_key": "${key}"}
    hidden = ({"name": "a", "default": "x${key}"}, *variables)
    assert told(rendered({}, *hidden, kept=["key"]).errors) == {"variables.a": "secret_printed"}


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ({"name": "Big"}, "variables.0.name"),
        ({"name": "x" * 41}, "variables.0.name"),
        ({"name": "a", "type": "choice"}, "variables.0.choices"),
        ({"name": "a", "choices": ["x"]}, "variables.0.choices"),
        ({"name": "a", "type": "choice", "choices": ["x"], "default": "y"}, "variables.0.default"),
        ({"name": "a", "type": "secret", "default": "x"}, "variables.0.default"),
        ({"name": "a", "type": "number", "default": "2"}, "variables.0.default"),
        ({"name": "a", "type": "number", "minimum": 3, "default": 2}, "variables.0.default"),
        ({"name": "a", "type": "list", "default": [["deep"]]}, "variables.0.default"),
        ({"name": "a", "pattern": "["}, "variables.0.pattern"),
        ({"name": "a", "pattern": "^x$", "default": "y"}, "variables.0.default"),
        ({"name": "a", "seen_by": "writers"}, "variables.0.seen_by"),
        ({"name": "a", "required": True, "set_by": "writers"}, "variables.0.default"),
        ({"name": "a", "colour": "red"}, "variables.0.colour"),
        ({"name": "a", "type": "magic"}, "variables.0.type"),
    ],
)
def test_what_is_wrong_with_a_variable_says_where(variable: dict[str, Any], path: str) -> None:
    found, errors = rendering.content_of({}, [variable])
    assert found is None and path in told(errors), errors


def test_the_form_of_a_template_is_bounded() -> None:
    def wrong(body: Any = None, variables: Any = ()) -> dict[str, str]:
        return told(rendering.content_of({} if body is None else body, variables)[1])

    assert wrong([]) == {"body": "invalid"} and wrong({"other": {}}) == {"body.other": "unknown"}
    assert wrong({"spec": []}) == {"body.spec": "invalid"}
    deep: Any = {}
    for _ in range(60):
        deep = {"x": deep}
    assert wrong({"spec": deep}) == {"body": "invalid"}
    assert wrong({"spec": {"x": list(range(30_000))}}) == {"body": "invalid"}
    assert wrong({"spec": {"x": "y" * 1_100_000}}) == {"body": "invalid"}
    assert wrong({"spec": {"x": float("inf")}}) == {"body": "invalid"} and wrong({"spec": {"x": "\0"}}) == {"body": "invalid"}
    assert wrong({}, [{"name": "a"}, {"name": "a"}]) == {"variables.1.name": "taken"}
    assert wrong({}, [{"name": f"a{n}"} for n in range(101)]) == {"variables": "invalid"}
    assert wrong({}, "text") == {"variables": "invalid"}


def test_few_letters_cannot_become_many() -> None:
    doubling = [{"name": f"v{n}", "default": f"${{v{n + 1}}}" * 10} for n in range(20)] + [{"name": "v20", "default": "ha" * 100}]
    found = rendered({"spec": {"persona": "${v0}"}}, *doubling)
    assert "may have 100,000 characters at most" in {error.message for error in found.errors}
    long = {"name": "long", "default": "x" * (LONGEST // 2)}
    found = rendered({"spec": {"persona": "${long}" * 50_000}}, long)
    assert told(found.errors) == {"body.spec.persona": "invalid"}
    found = rendered({"spec": {"settings": {str(n): "${long}" for n in range(9_000)}}}, long)
    assert told(found.errors)["body"] == "too_long"


def test_patterns_that_would_hang_elsewhere_do_not() -> None:
    found = rendered({}, {"name": "a", "pattern": "^(a+)+$"}, given={"a": "a" * 40 + "!"})
    assert told(found.errors) == {"variables.a": "invalid"}


def test_the_same_content_has_the_same_hash() -> None:
    one, other = {"spec": {"a": 1, "b": {"c": 2, "d": 3}}}, {"spec": {"b": {"d": 3, "c": 2}, "a": 1}}
    assert content(one).hash() == content(other).hash() != content({"spec": {"a": True, "b": {"c": 2, "d": 3}}}).hash()
    assert content(one, {"name": "x"}).hash() == content(one, {"name": "x", "title": ""}).hash() != content(one).hash()


@pytest.mark.parametrize(("wanted", "fits"), [("", True), (">=1.0", True), (">=2", False), (">=1,<2", True), ("==1.2.*", True)])
def test_ranges_of_versions(wanted: str, fits: bool) -> None:
    assert rendering.fits(wanted, "1.2.3") is fits and not rendering.range_flaw(wanted)
    assert rendering.range_flaw("newest") and rendering.fits("", "any thing") and not rendering.fits(">=1", "any thing")


def test_text_of_numbers() -> None:
    assert filled_in("${a} ${b} ${c}", {"a": 1.5, "b": 3.0, "c": False}) == "1.5 3 false"


# ---- what is different


def test_changes_by_path() -> None:
    before = {"a": 1, "b": {"c": [1, 2, 3], "gone": "x"}, "flag": 1}
    after = {"a": 1, "b": {"c": [1, 5], "new": None}, "flag": True}
    found = {change.path: (change.kind, change.before, change.after) for change in comparing.changes(before, after)}
    assert found == {
        "b.c.1": ("changed", 2, 5), "b.c.2": ("removed", 3, None), "b.gone": ("removed", "x", None),
        "b.new": ("added", None, None), "flag": ("changed", 1, True),
    }  # fmt: skip
    masked = comparing.compare({"url": "http://kim:pass@x/"}, {"url": "http://kim:word@x/"}, ("a", "b"))
    assert "pass" not in masked.unified and "word" not in masked.unified


def test_a_unified_diff_is_one_that_patch_applies(tmp_path: Path) -> None:
    for seed in range(60):
        choose = random.Random(seed)
        old = [str(choose.randint(0, 40)) for _ in range(choose.randint(0, 80))]
        new = [line for line in old if choose.random() > 0.1] + [str(choose.randint(0, 40)) for _ in range(choose.randint(0, 5))]
        if seed % 10 == 0:
            choose.shuffle(new)
        file = tmp_path / "old"
        file.write_text("".join(f"{line}\n" for line in old))
        text = "".join(f"{line}\n" for line in comparing.unified(old, new, ("old", "old")))
        if old == new:
            assert text == ""
            continue
        done = subprocess.run(["patch", "-s", "-o", "-", str(file)], input=text, text=True, capture_output=True, check=False)
        assert done.stdout == "".join(f"{line}\n" for line in new), (seed, done.stderr, text)


@pytest.mark.parametrize("kind", ["few", "all", "turned"])
def test_two_long_documents_take_no_square_of_their_lines(kind: str) -> None:
    """Counted, not timed: how often two lines are held against each other would grow with the square."""
    document = {f"k{n}": {"x": n % 7, "y": [1, 2]} for n in range(900)}
    other: dict[str, Any] = json.loads(json.dumps(document))
    if kind == "few":
        other["k5"]["x"], other["k500"] = 99, {"z": 1}
    elif kind == "all":
        other = {f"j{n}": {"x": n % 5, "y": [3, 2]} for n in range(900)}
    else:
        other = dict(reversed(document.items()))
    counted = Counted.of(comparing.lines_of(document)), Counted.of(comparing.lines_of(other))
    assert len(counted[0]) > 5_000
    Counted.compared = 0
    begun = time.process_time()
    comparing.opcodes(*counted)
    assert Counted.compared < 40 * len(counted[0]), (Counted.compared, time.process_time() - begun)


class Counted(str):
    """A line that counts how often it is compared."""

    compared = 0

    @classmethod
    def of(cls, lines: list[str]) -> list[str]:
        return [cls(line) for line in lines]

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, 10**4000], ids=["nan", "inf", "64", "4000"])
def test_numbers_that_are_none_pass_no_bounds(value: Any) -> None:
    number = {"name": "n", "type": "number", "minimum": 1, "maximum": 5}
    assert told(rendered({}, number, given={"n": value}).errors) == {"variables.n": "invalid"}
    assert told(rendered({}, {"name": "n", "type": "list"}, given={"n": [value]}).errors) == {"variables.n": "invalid"}


def test_a_list_has_a_thousand_entries_at_most() -> None:
    known = {"name": "n", "type": "list", "pattern": "^x$"}
    assert told(rendered({}, known, given={"n": ["x"] * 1_000}).errors) == {}
    assert told(rendered({}, known, given={"n": ["x"] * 1_001}).errors) == {"variables.n": "invalid"}


def test_a_pattern_is_made_once_for_all_entries() -> None:
    known = {"name": "n", "type": "list", "pattern": "^once[0-9]$"}
    before = variables._pattern.cache_info().misses
    assert told(rendered({}, known, given={"n": ["once1"] * 500}).errors) == {}
    assert variables._pattern.cache_info().misses == before + 1


def test_nothing_more_is_made_of_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"spec": {"settings": {"a": ["${long}"] * 10_000}}}
    made, filled = list[str](), rendering.filled_in
    monkeypatch.setattr(rendering, "filled_in", lambda text, values: (made.append(text), filled(text, values))[1])
    found = rendered(body, {"name": "long"}, given={"long": "x" * LONGEST})
    assert told(found.errors) == {"body": "too_long"} and len(made) == rendering.MOST_BYTES // LONGEST + 1
