"""What people give the command line in words of their own: values, KEY=VALUE and secrets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def value(text: str) -> Any:
    """JSON where it is JSON (5, true, null, "5"), else the text as it stands. Not YAML, for which `no` is false."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE`, several times."""
    bad = [text for text in texts if "=" not in text]
    if bad:
        raise click.UsageError(f"{bad[0]!r} must be KEY=VALUE")
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}


def secrets(texts: Sequence[str]) -> dict[str, str]:
    """Never the value itself as an argument: everybody on the machine can read those."""
    made = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if equals and not place.startswith("@"):
            raise click.UsageError(f"Give secrets as {name} (to be asked) or {name}=@FILE: arguments can be read by others.")
        if equals:
            made[name] = content(place[1:])
        else:
            made[name] = click.prompt(name, hide_input=True, default="", show_default=False)
    return made


def content(path: str) -> str:
    """A text file, or standard input for `-`."""
    try:
        with click.open_file(path, encoding="utf-8") as stream:
            return str(stream.read()).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from error


def template(text: str, variables: Sequence[str], secret_variables: Sequence[str]) -> dict[str, Any]:
    """`NAME` or `NAME@VERSION` with the values of variables, as the body of a request names it."""
    name, at, number = text.partition("@")
    if at and not number.isdigit():
        raise click.UsageError(f"{text!r}: write a template as NAME or NAME@VERSION, such as help-desk@3.")
    given = {key: value(item) for key, item in pairs(variables).items()} | secrets(secret_variables)
    return {"config": name, "version": int(number) if at else None, "variables": given}
