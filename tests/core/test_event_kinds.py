"""Every kind of event that the portal records is declared by a feature, and every declared one is recorded somewhere.

What a call of `record` names is read off the code: a text, one of two texts, a text with gaps, or a parameter, which is followed
to the callers in the same module.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawportal import pluginmanager

ROOT = Path(__file__).parents[2]
FEATURES = pluginmanager.load(pluginmanager.BUNDLED).features
DECLARED = {kind.name: kind for feature in FEATURES for kind in feature.events}
_KIND = re.compile(r"[a-z_]+\.[a-z_]+")
_GAP = "[a-z_]+"
_LIKE_A_KIND = re.compile(r"[a-z_]+\.[][a-z_+-]+")


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module

    def functions(self) -> Iterator[ast.FunctionDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))

    def around(self, inner: ast.AST) -> ast.FunctionDef | None:
        """The innermost function that something stands in."""
        found = [one for one in self.functions() if any(node is inner for node in ast.walk(one))]
        return min(found, key=lambda one: (one.end_lineno or 0) - one.lineno, default=None)


def modules() -> list[Module]:
    files = [file for place in ("clawportal", "plugins") for file in sorted((ROOT / place).rglob("*.py"))]
    return [
        Module(str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8")))
        for file in files
        if "testing" not in file.parts
    ]


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def calls(module: Module, name: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and name_of(node) == name)


def argument(call: ast.Call, function: ast.FunctionDef, name: str) -> ast.expr | None:
    """What a call gives for a parameter; methods are called without their first."""
    names = [one.arg for one in function.args.args if one.arg != "self"]
    given = dict(zip(names, call.args, strict=False)) | {one.arg: one.value for one in call.keywords if one.arg}
    return given.get(name)


def meant(module: Module, expression: ast.expr | None, at: ast.AST, depth: int = 0) -> set[str]:
    """Patterns of the kinds that an expression can be."""
    if expression is None or depth > 4:
        return set()
    if isinstance(expression, ast.Constant):
        return {re.escape(str(expression.value))} if isinstance(expression.value, str) else set()
    if isinstance(expression, ast.IfExp):
        return meant(module, expression.body, at, depth) | meant(module, expression.orelse, at, depth)
    if isinstance(expression, ast.JoinedStr):
        found = {""}
        for part in expression.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            found = {done + more for done in found for more in (meant(module, inner, at, depth + 1) or {_GAP})}
        return found
    return meant_by_name(module, expression.id, at, depth) if isinstance(expression, ast.Name) else set()


def meant_by_name(module: Module, name: str, at: ast.AST, depth: int) -> set[str]:
    """A parameter is what callers give; another name what was assigned to it in the function."""
    function = module.around(at)
    if function is None:
        return set()
    if name in {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}:
        asked = [(call, argument(call, function, name)) for call in calls(module, function.name)]
        return {one for call, given in asked for one in meant(module, given, call, depth + 1)}
    assigned = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    return {one for value in assigned for one in meant(module, value, at, depth + 1)}


def recorded() -> dict[str, str]:
    """Pattern of each kind that is recorded, and where."""
    found: dict[str, str] = {}
    for module in modules():
        for call in calls(module, "record"):
            given = [*call.args[:2], *(one.value for one in call.keywords if one.arg == "kind")]
            for pattern in {one for part in given for one in meant(module, part, call)}:
                if _LIKE_A_KIND.fullmatch(pattern.replace("\\", "")):
                    found[pattern] = f"{module.name}:{call.lineno}"
    return found


RECORDED = recorded()


def test_the_code_is_read_as_meant() -> None:
    known = {pattern.replace("\\", "") for pattern in RECORDED}
    assert {"instance.created", "member.added", "policy.created", "cluster.recovered", "user.opened"} <= known and len(known) > 60


@pytest.mark.parametrize("pattern", sorted(RECORDED))
def test_what_is_recorded_is_declared(pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in DECLARED), (
        f"{RECORDED[pattern]} records {pattern}: declare it in `events` of its feature, with a sentence"
    )


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_what_is_declared_is_recorded_and_says_what_happened(name: str) -> None:
    assert any(re.fullmatch(pattern, name) for pattern in RECORDED), f"nobody records {name}"
    assert _KIND.fullmatch(name) and str(DECLARED[name].title).endswith(".")


def test_a_kind_is_declared_once() -> None:
    every = [kind.name for feature in FEATURES for kind in feature.events]
    assert sorted(every) == sorted(set(every))
