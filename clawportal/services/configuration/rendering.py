"""A template with values in it: what its body must look like, what it comes to, and which secrets it fills. No tables.

Where a kind of claw keeps a secret, only secret variables may go; a secret variable may go nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from clawportal.errors import FieldError
from clawportal.messages import _m
from clawportal.services.configuration import variables
from clawportal.services.configuration.placeholders import TooLong, as_text, filled_in, flaw_in, names_in, too_long
from clawportal.services.configuration.variables import Variable

PARTS = ("spec", "secrets", "labels")
"""What a body consists of: as in the document of a new instance."""
MOST_VALUES, MOST_BYTES, DEEPEST = 20_000, 1_000_000, 40
"""Bounds of a body: values, size as JSON, depth."""


@dataclass(frozen=True)
class Content:
    """What a version consists of."""

    body: Mapping[str, Any]
    variables: tuple[Variable, ...] = ()

    def hash(self) -> str:
        """The same for the same content, in whatever order its names stand."""
        text = json.dumps({"body": self.body, "variables": self.variable_documents()}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def variable_documents(self) -> list[dict[str, Any]]:
        return [variable.model_dump(mode="json") for variable in self.variables]

    @property
    def secrets(self) -> frozenset[str]:
        return frozenset(variable.name for variable in self.variables if variable.secret)


@dataclass(frozen=True)
class Rendered:
    """A body with values in it, and what is wrong with it."""

    spec: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()
    waiting: frozenset[str] = frozenset()
    """Paths of what has no value yet, because a variable that it names has none."""


def content_of(body: Any, variable_documents: Any) -> tuple[Content | None, list[FieldError]]:
    """A version as it is stored, or everything that is wrong with its form."""
    if flaw := _flaw(variable_documents):
        return None, [FieldError("variables", flaw)]
    found, errors = variables.declared(variable_documents)
    errors += _shape(body)
    return (None if errors else Content(body, tuple(found))), errors


def _shape(body: Any) -> list[FieldError]:
    if not isinstance(body, Mapping):
        return [FieldError("body", _m("must be an object with names and values"))]
    words = _m("is not known. A body has spec, secrets and labels.")
    errors = [FieldError(f"body.{name}", words, "unknown") for name in body if name not in PARTS]
    errors += [
        FieldError(f"body.{name}", _m("must be an object with names and values"))
        for name in PARTS
        if not isinstance(body.get(name, {}), Mapping)
    ]
    flaw = _flaw(body)
    return [*errors, FieldError("body", flaw)] if flaw else errors


def _flaw(document: Any) -> str:
    """What no database keeps, and what is too large."""
    waiting, number = [(document, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        number += 1
        if depth > DEEPEST:
            return _m("is nested too deeply")
        if number > MOST_VALUES:
            return _m("has more than %(most)s values", most=f"{MOST_VALUES:,}")
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                return _m("has a name that is no text; put it into quotes")
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list | tuple):
            waiting += [(item, depth + 1) for item in value]
        elif flaw := _unstorable(value):
            return flaw
    if len(json.dumps(document)) > MOST_BYTES:
        return _m("may have %(MAX_BYTES)s bytes at most.", MAX_BYTES=f"{MOST_BYTES:,}")
    return ""


def _unstorable(value: Any) -> str:
    if isinstance(value, str):
        return _m("must not have a NUL character inside") if "\0" in value else ""
    if isinstance(value, float) and not math.isfinite(value):
        return _m("must be a number that is not infinite")
    if variables.too_large(value):
        return _m("has a whole number that is too large; write it as a text")
    known = value is None or isinstance(value, bool | int | float)
    return "" if known else _m("has a value that JSON does not know: %(value)s", value=repr(value)[:60])


# ---- rendering


def render(content: Content, given: Mapping[str, Any], secret_settings: Collection[str], kept: Collection[str] = ()) -> Rendered:
    """The body with values in it. `secret_settings`: names of the settings that the kind of claw keeps as secrets. `kept`:
    secret variables whose values are stored already.

    Never raises: errors have the path into the template, or `variables.NAME` for what is entered.
    """
    found, errors = variables.values(content.variables, given, kept)
    work = _Rendering(content, found, frozenset(secret_settings))
    try:
        body = {part: work.of((part,), content.body.get(part) or {}) for part in PARTS}
    except _TooMuch:
        words = _m("comes to more than %(MAX_BYTES)s letters.", MAX_BYTES=f"{MOST_BYTES:,}")
        return Rendered(errors=(*errors, *work.errors, FieldError("body", words, "too_long")))
    labels = {str(name): as_text(value) for name, value in body["labels"].items()}
    return Rendered(body["spec"], body["secrets"], labels, tuple(errors + work.errors), frozenset(work.waiting))


_ABSENT = object()


class _TooMuch(Exception):
    """The whole body has become larger than any may be: nothing more of it is made."""


class _Rendering:
    def __init__(self, content: Content, values: Mapping[str, Any], secret_settings: frozenset[str]) -> None:
        self._known, self._secrets, self._values = {item.name for item in content.variables}, content.secrets, values
        self._secret_settings = secret_settings
        self.errors: list[FieldError] = []
        self.waiting: set[str] = set()
        self._size = 0

    def of(self, path: tuple[str, ...], value: Any) -> Any:
        if self._is_secret(path):
            return self._secret(path, value)
        if isinstance(value, Mapping):
            made = {name: self.of((*path, str(name)), item) for name, item in value.items()}
            return {name: item for name, item in made.items() if item is not _ABSENT}
        if isinstance(value, list | tuple):
            return [made for place, item in enumerate(value) if (made := self.of((*path, str(place)), item)) is not _ABSENT]
        return self._open(path, value) if isinstance(value, str) and "${" in value else value

    def _is_secret(self, path: tuple[str, ...]) -> bool:
        """`secrets.NAME`, or `spec.settings.NAME` where that is a secret of this kind of claw."""
        setting = len(path) == 3 and path[:2] == ("spec", "settings") and path[2] in self._secret_settings
        return setting or (len(path) == 2 and path[0] == "secrets")

    def _secret(self, path: tuple[str, ...], value: Any) -> Any:
        """What ends in a secret field comes from secrets: all else in a template can be read."""
        if value is None or value == "":
            return _ABSENT
        names = names_in(value)
        if not isinstance(value, str) or not names:
            words = _m("is a secret, and whoever reads the template would see it. Declare a secret variable and name it here.")
            return self._refuse(path, words, "secret_literal")
        if shown := [name for name in names if name in self._known - self._secrets]:
            words = _m("is a secret. Give the variable %(join)s the type secret.", join=shown)
            return self._refuse(path, words, "secret_literal")
        made = self._filled(path, value, names)
        return _ABSENT if any(name not in self._values for name in names) else made

    def _open(self, path: tuple[str, ...], text: str) -> Any:
        names = names_in(text)
        if hidden := [name for name in names if name in self._secrets]:
            words = _m("would show the secret %(join)s: this is no secret field of this kind of claw.", join=hidden)
            return self._refuse(path, words, "secret_printed")
        return self._filled(path, text, names)

    def _filled(self, path: tuple[str, ...], text: str, names: list[str]) -> Any:
        flaw, code = flaw_in(text, self._known)
        if flaw:
            return self._refuse(path, flaw, code)
        if any(name not in self._values for name in names):
            self.waiting.add(".".join(path))
        try:
            made = filled_in(text, self._values)
        except TooLong:
            return self._refuse(path, too_long())
        self._size += len(as_text(made))
        if self._size > MOST_BYTES:
            raise _TooMuch
        return _ABSENT if made is None else made

    def _refuse(self, path: tuple[str, ...], words: str, code: str = "invalid") -> Any:
        error = FieldError(".".join(("body", *path)), words, code)
        if error not in self.errors[-1:]:
            self.errors.append(error)
        return _ABSENT


def secret_texts(content: Content, secret_settings: Collection[str]) -> dict[str, str]:
    """Which secrets of an instance a version fills, each with its text in the body."""
    settings = (content.body.get("spec") or {}).get("settings")
    inside = settings if isinstance(settings, Mapping) else {}
    found = {name: value for name, value in inside.items() if name in secret_settings} | dict(content.body.get("secrets") or {})
    return {str(name): value for name, value in found.items() if isinstance(value, str) and names_in(value)}


# ---- versions of claws


def range_flaw(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return _m("is no range of versions; write for example >=1.0, <2, or leave it empty for all")
    return ""


def fits(text: str, version: str) -> bool:
    """Whether a version of a claw lies in a range; one that cannot be compared lies only in the range of all."""
    if not text.strip():
        return True
    try:
        return SpecifierSet(text).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False
