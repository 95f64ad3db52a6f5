"""JSON Schema and HTML forms: what a browser sent becomes a document, and a document becomes what the form shows.

The templates draw the fields (`_macros.html`); here is the other direction. Text that cannot be read is never lost: it stays in
`typed`, so that the form comes back as it was, with the message beside the field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict

from clawportal import redact
from clawportal.bounded import parse_json

Schema = Mapping[str, Any]
Form = MultiDict[str, str]

_WHOLE = re.compile(r"^[+-]?\d{1,18}$")
_SKIP = object()
"""Not set: the key stays out of the document, so that the default holds."""


@dataclass
class Read:
    """What a form said."""

    document: dict[str, Any] = field(default_factory=dict)
    """What was meant. Where a text cannot be read, the text itself, so that no later check takes it for missing."""
    typed: dict[str, Any] = field(default_factory=dict)
    """What was typed, for showing the form again."""
    errors: dict[str, str] = field(default_factory=dict)
    """Full field name -> sentence."""


def resolve(prop: Schema, root: Schema) -> dict[str, Any]:
    """One property with its reference followed and `or null` taken off: what decides how it is entered."""
    found = dict(prop)
    if "$ref" in found:
        found = {**_target(found.pop("$ref"), root), **found}
    some = [option for option in found.get("anyOf", ()) if option.get("type") != "null"]
    if len(some) == 1:
        found = {**resolve(some[0], root), **{key: value for key, value in found.items() if key != "anyOf"}}
    return found


def _target(reference: str, root: Schema) -> dict[str, Any]:
    return dict(root.get("$defs", {}).get(reference.rsplit("/", 1)[-1], {}))


def read(form: Form, prefix: str, schema: Schema, root: Schema | None = None) -> Read:
    """Everything under `prefix` that the schema knows; properties that the form did not have stay out."""
    whole, answer = schema if root is None else root, Read()
    for key, raw in schema.get("properties", {}).items():
        name, prop = f"{prefix}.{key}", resolve(raw, whole)
        if prop.get("x-secret"):
            continue
        if prop.get("type") == "object" and prop.get("properties"):
            if sent(form, name):
                _nest(answer, key, read(form, name, prop, whole))
        elif name in form:
            _take(answer, key, name, prop, form.getlist(name), whole)
    return answer


def sent(form: Form, name: str) -> bool:
    """Whether the form had this field or any inside it."""
    return any(key == name or key.startswith(f"{name}.") for key in form)


def _nest(answer: Read, key: str, inner: Read) -> None:
    answer.document[key], answer.typed[key] = inner.document, inner.typed
    answer.errors.update(inner.errors)


def _take(answer: Read, key: str, name: str, prop: Schema, texts: list[str], root: Schema) -> None:
    text = texts[-1]
    answer.typed[key] = text == "true" if prop.get("type") == "boolean" else text
    try:
        value = _value(text, prop, root)
    except ValueError as problem:
        answer.errors[name], answer.document[key] = str(problem), text
        return
    if value is not _SKIP:
        answer.document[key] = value


def _value(text: str, prop: Schema, root: Schema) -> Any:
    kind = str(prop.get("type", "string"))
    if not text.strip() and kind != "boolean":
        return _empty(prop, kind)
    return _READERS.get(kind, _string)(text, prop, root)


def _empty(prop: Schema, kind: str) -> Any:
    """An emptied field means "not set", but an emptied text that has a default means the empty text."""
    if kind == "array":
        return []
    if kind == "object":
        return {}
    meant = "" in prop["enum"] if "enum" in prop else kind == "string" and bool(prop.get("default"))
    return "" if meant else _SKIP


def _string(text: str, prop: Schema, root: Schema) -> str:
    return text.replace("\r\n", "\n")


def _boolean(text: str, prop: Schema, root: Schema) -> bool:
    return text == "true"


def _integer(text: str, prop: Schema, root: Schema) -> int:
    if not _WHOLE.match(text.strip()):
        raise ValueError(_("must be a whole number, such as 60"))
    return int(text)


def _number(text: str, prop: Schema, root: Schema) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(_("must be a number, such as 0.5"))
    return number


def _array(text: str, prop: Schema, root: Schema) -> list[Any]:
    items = resolve(prop.get("items", {}), root)
    if items.get("type") in ("object", "array"):
        found = _json(text)
        if not isinstance(found, list):
            raise ValueError(_("must be a JSON list, such as [] or [{…}]"))
        return found
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [_value(line, items, root) for line in lines]


def pairs(prop: Schema) -> bool:
    """Whether a property holds texts by name, which people enter as `name=text`, one a line."""
    inner = prop.get("additionalProperties")
    return prop.get("type") == "object" and isinstance(inner, Mapping) and inner.get("type") == "string"


def _pairs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, sign, value = line.partition("=")
        if not sign or not name.strip():
            raise ValueError(_("must be one name=value a line; “%(line)s” is not", line=line[:60]))
        found[name.strip()] = value.strip()
    return found


def _object(text: str, prop: Schema, root: Schema) -> dict[str, Any]:
    if pairs(prop) and not text.lstrip().startswith("{"):
        return _pairs(text)
    found = _json(text)
    if not isinstance(found, dict):
        raise ValueError(_("must be a JSON object, such as {} or {…}"))
    return found


def _json(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as problem:
        raise ValueError(_("is not valid JSON: %(why)s", why=str(problem))) from problem


_READERS: dict[str, Callable[[str, Schema, Schema], Any]] = {
    "boolean": _boolean, "integer": _integer, "number": _number, "array": _array, "object": _object, "string": _string,
}  # fmt: skip


def read_secrets(form: Form, known: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Secrets that were typed, by name. An empty field leaves what is stored."""
    found = {key.removeprefix("secrets."): value for key, value in form.items() if key.startswith("secrets.") and value}
    return found if known is None else {name: value for name, value in found.items() if name in known}


def shown(document: Mapping[str, Any], schema: Schema, root: Schema | None = None) -> dict[str, Any]:
    """A stored document as the form shows it: what has no field of its own becomes JSON text."""
    whole, answer = schema if root is None else root, dict(document)
    for key, raw in schema.get("properties", {}).items():
        prop, value = resolve(raw, whole), document.get(key)
        if prop.get("type") == "object" and prop.get("properties") and isinstance(value, Mapping):
            answer[key] = shown(value, prop, whole)
        elif pairs(prop) and isinstance(value, Mapping):
            answer[key] = "\n".join(f"{name}={text}" for name, text in value.items())
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            answer[key] = json.dumps(value, ensure_ascii=False, indent=2)
    return {key: redact.document(value) for key, value in answer.items()}
