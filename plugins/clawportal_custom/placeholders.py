"""`${name}` in a kind of claw stands for what the portal knows of an instance; `${name|json}` writes it as JSON, for inside of
configuration files. `$${` means `${` itself. Nothing is evaluated, and what was put in is never looked at again."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from clawportal.sdk import _m

_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^{}|]*)(\|json)?\}|\$\{")


def flaw_in(text: str, known: Collection[str], secret: Collection[str] = ()) -> str:
    """What is wrong with the placeholders of a text; empty: nothing."""
    for found in _PLACEHOLDER.finditer(text):
        if found[0] == "${":
            return _m("has a placeholder that is none. Write ${name} or ${name|json}, or $${ for the letters themselves.")
        name = found[1]
        if name is None or name in known:
            continue
        if name.removeprefix("setting.") in secret:
            return _m(
                "names the secret %(name)s. Secrets stand in no file and in no command; name it under secret_environment.",
                name=repr(name),
            )
        return _m("names %(name)s, which there is not. Known here: %(known)s.", name=repr(name), known=", ".join(sorted(known)))
    return ""


def names_in(text: str) -> set[str]:
    return {found[1] for found in _PLACEHOLDER.finditer(text) if found[1] is not None}


def filled(text: str, values: Mapping[str, Any]) -> str:
    """With values in the places of their names."""

    def put(found: re.Match[str]) -> str:
        if found[1] is None:
            return "${"
        value = values[found[1]]
        return json.dumps(value, ensure_ascii=False) if found[2] else as_text(value)

    return _PLACEHOLDER.sub(put, text)


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ",".join(map(as_text, value)) if isinstance(value, list) else str(value)
