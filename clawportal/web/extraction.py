"""Finds for the translators what Python code says to people: `gettext` calls, and the sentences of services and plugins.

Services and plugins speak English and know no language; what they said stands in rows and exceptions. Their sentences are found
here by where they stand in the code; an f-string becomes a pattern with named gaps, which `words.told` fills at run time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from io import BytesIO
from typing import IO, Any

from babel.messages.extract import extract_python

Found = tuple[int, str | None, Any, list[str]]

_PROBLEMS = (
    "Problem", "Invalid", "BadRequest", "Unauthenticated", "Forbidden", "NotFound", "Conflict", "PreconditionFailed",
    "PreconditionRequired", "TooManyRequests", "Unavailable", "Unsupported", "NotProved", "NotAllowed", "ProviderDown",
    "ClientRefused", "Exists", "TooLarge", "LengthNeeded",
)  # fmt: skip
ARGUMENTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_PROBLEMS, (0,)), "field": (1,), "FieldError": (1,), "GiveUp": (0, 1, 2), "Retry": (0, 1),
    "DoctorResult": (0, 2, 3), "ExitVerdict": (0, 1), "Health": (1, 2), "Change": (1,), "ChatEvent": (1,), "ValueError": (0,),
    "Hit": (0,), "_record": (4,), "_want": (6,), "_changed": (4,), "write": (), "told": (0,), "role_grants": (2,),
    "condition": (0, 2, 3), "TooMuch": (0,), "TooSlow": (0,), "NoRoom": (0,), "permission": (1,),
}  # fmt: skip
"""Which arguments of which calls people get to read."""
KEYWORDS = {"message", "remedy", "title", "description", "next_action", "reason", "detail", "summary"}
_TABLES = {"NEXT_ACTION", "DESCRIPTIONS", "ROLE_WORDS", "SENTENCES", "_WORDS"}
_LETTERS = re.compile(r"[A-Za-z]{2}")


def extract(file: IO[bytes], keywords: Mapping[str, Any], tags: Collection[str], options: Mapping[str, Any]) -> Iterator[Found]:
    """Babel's interface. `_l` is `lazy_gettext`."""
    source = file.read()
    known: Any = dict.fromkeys([*keywords, "_l"])
    plain: Any = dict(options)
    for line, name, messages, comments in extract_python(BytesIO(source), known, tags, plain):
        yield line, "gettext" if name == "_l" else str(name), messages, list(comments or ())
    for line, sentence in sentences(ast.parse(source)):
        yield line, None, sentence, []


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each sentence."""
    for node in ast.walk(tree):
        for found in _shown_to_people(node):
            yield from _texts(found)


def _shown_to_people(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        yield from (node.args[place] for place in ARGUMENTS.get(name, ()) if place < len(node.args))
        yield from (keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS)
    elif isinstance(node, ast.Dict):
        yield from (value for key, value in zip(node.keys, node.values, strict=True) if _is_hint(key))
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        names = {getattr(target, "id", "") for target in (node.targets if isinstance(node, ast.Assign) else [node.target])}
        if names & _TABLES:
            yield from _members(node.value)
        elif names & {"title", "description", "status", "detail", "rule", "remedy", "message"}:
            yield node.value


def _is_hint(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value in ("x-group", "message", "reason", "type")


def _members(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Dict):
        yield from node.values
    elif isinstance(node, ast.Tuple | ast.List):
        yield from node.elts


def _texts(node: ast.expr) -> Iterator[tuple[int, str]]:
    """The texts that an expression can come to."""
    if isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _texts(value)
    elif isinstance(node, ast.Tuple):
        for member in node.elts:
            yield from _texts(member)
    elif isinstance(node, ast.Constant | ast.JoinedStr):
        text = pattern(node)
        if text and _LETTERS.search(re.sub(r"%\(\w+\)s", "", text)):
            yield node.lineno, text


def pattern(node: ast.Constant | ast.JoinedStr) -> str:
    """The text with `%(name)s` for what is filled in; empty for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    taken: list[str] = []
    parts = [_gap(part.value, taken) if isinstance(part, ast.FormattedValue) else _fixed(part) for part in node.values]
    return "".join(parts)


def _fixed(part: ast.expr) -> str:
    return str(getattr(part, "value", ""))


def _gap(value: ast.expr, taken: list[str]) -> str:
    """A gap is named after what fills it; the same name again gets a number."""
    parts = [part for part in ast.walk(value) if isinstance(part, ast.Attribute | ast.Name)]
    found = [part.attr if isinstance(part, ast.Attribute) else part.id for part in parts]
    name = found[0] if found and found[0].isidentifier() else "value"
    taken.append(name)
    return f"%({name}{taken.count(name) if taken.count(name) > 1 else ''})s"
