"""`${name}` in a kind of claw stands for what the portal knows of an instance; `${name|json}` writes it as JSON, for inside of
configuration files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from clawportal.sdk import _m, placeholders
from clawportal.sdk.errors import GiveUp

_JSON = "|json"


def flaw_in(text: str, known: Collection[str], secret: Collection[str] = ()) -> str:
    """What is wrong with the placeholders of a text; empty: nothing."""
    for name in placeholders.names_in(text):
        if name.removesuffix(_JSON).removeprefix("setting.") in secret:
            return _m(
                "names the secret %(name)s. Secrets stand in no file and in no command; name it under secret_environment.",
                name=repr(name),
            )
    flaw, code = placeholders.flaw_in(text, {*known, *(name + _JSON for name in known)})
    if code == "unknown_variable":
        return _m("%(flaw)s Known here: %(known)s.", flaw=flaw, known=", ".join(sorted(known)))
    return flaw


def names_in(text: str) -> set[str]:
    return {name.removesuffix(_JSON) for name in placeholders.names_in(text)}


def filled(text: str, values: Mapping[str, Any]) -> str:
    """With values in the places of their names; GiveUp where that comes to far too much."""
    as_json = {name + _JSON: json.dumps(values[name], ensure_ascii=False) for name in names_in(text)}
    try:
        return placeholders.as_text(placeholders.filled_in(text, {**values, **as_json}))
    except placeholders.TooLong as error:
        words = _m("A text of this claw with its settings in it %(too_long)s.", too_long=placeholders.too_long())
        raise GiveUp("ConfigRefused", words) from error
