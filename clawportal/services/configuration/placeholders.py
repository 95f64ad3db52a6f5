"""`${name}` in the texts of a template stands for the value of a variable.

A value that is nothing but `${name}` becomes that value with its type; inside of a text it is put there as text; `$${` means `${`
itself. Nothing is evaluated, and what was put in is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from clawportal.messages import _m

LONGEST = 100_000
"""Letters of one text that is rendered."""
_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")


def names_in(value: Any) -> list[str]:
    """The names in a text, or in the texts of a list, in order."""
    if isinstance(value, list):
        return [name for item in value for name in names_in(item)]
    return [found[1] for found in _PLACEHOLDER.finditer(value) if found[1] is not None] if isinstance(value, str) else []


def flaw_in(text: str, known: Collection[str]) -> tuple[str, str]:
    """What is wrong with the placeholders of a text, and its code."""
    for found in _PLACEHOLDER.finditer(text):
        if found[0] == "${":
            return _m("has a placeholder without an end. Write ${name}, or $${ for the letters themselves."), "placeholder"
        if found[1] is not None and found[1] not in known:
            words = _m(
                "names the variable %(name)s, which there is not. Declare it, or write $${ for the letters themselves.",
                name=repr(found[1]),
            )
            return words, "unknown_variable"
    return "", ""


def is_whole(text: str) -> bool:
    """Whether a text is one placeholder and nothing else."""
    found = _PLACEHOLDER.fullmatch(text)
    return found is not None and found[1] is not None


class TooLong(ValueError):
    """What would come out has more than LONGEST letters."""


def filled_in(text: str, values: Mapping[str, Any]) -> Any:
    """With values in the places of their names; None where the whole text is a variable that has none.

    TooLong is raised before anything long is made: few letters can name a long text many times.
    """
    if is_whole(text):
        return values.get(text[2:-1])
    names = names_in(text)
    texts = {name: as_text(values.get(name)) for name in set(names)}
    if len(text) + sum(len(texts[name]) for name in names) > LONGEST:
        raise TooLong
    return _PLACEHOLDER.sub(lambda found: "${" if found[1] is None else texts[found[1]], text)


def as_text(value: Any) -> str:
    """A value inside of a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    return number_text(value) if isinstance(value, float) else str(value)


def number_text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)


def escaped(value: Any) -> Any:
    """A document as it stands in a body, so that it renders as itself."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {name: escaped(item) for name, item in value.items()}
    return [escaped(item) for item in value] if isinstance(value, list | tuple) else value


def too_long() -> str:
    return _m("may have %(most)s characters at most", most=f"{LONGEST:,}")
