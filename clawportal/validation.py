"""What a model finds wrong with a document, as paths and plain sentences; whatever its validators raise is a finding too.

Settings are judged by code of plugins. A validator that meets what its author never thought of raises anything at all, and
for the person who typed it that is a field to correct, not a fault of the portal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clawportal.errors import FieldError

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)

_CODES = {"missing": "missing", "extra_forbidden": "unknown"}
_WORDS = {
    "missing": "is needed",
    "extra_forbidden": "is not a known field; remove it or correct its name",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number that is not infinite",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object with names and values",
    "model_type": "must be an object with names and values",
    "model_attributes_type": "must be an object with names and values",
    "none_required": "must be empty",
    "string_unicode": "has half of a character that cannot be stored; paste it again",
    "recursion_loop": "is nested too deeply",
}
"""By pydantic's kind of error; its own English speaks of strings, inputs and dictionaries."""


def judge(model: type[Model], document: Any, prefix: str = "") -> tuple[Model | None, list[FieldError]]:
    """The document as the model takes it, or everything that is wrong with it."""
    try:
        return model.model_validate(document), []
    except ValidationError as error:
        return None, field_errors(error, prefix)
    except Exception as error:
        name = _culprit(model, document)
        log.warning("a validator of %s.%s failed: %r", model.__name__, name, error, exc_info=True)
        return None, [_unjudged(".".join(part for part in (prefix, name) if part), error)]


def of_plugin(ask: Callable[[], Iterable[FieldError]], path: str, who: str) -> list[FieldError]:
    """What a plugin's own check finds; its failure is a finding at `path`."""
    try:
        return list(ask())
    except Exception as error:
        log.warning("the check of %s failed: %r", who, error, exc_info=True)
        return [_unjudged(path, error)]


def _culprit(model: type[BaseModel], document: Any) -> str:
    """Which field it was: each alone, since the exception does not say."""
    for name, value in document.items() if isinstance(document, Mapping) else ():
        try:
            model.model_validate({name: value})
        except ValidationError:
            continue
        except Exception:
            return str(name)
    return ""


def _unjudged(path: str, error: Exception) -> FieldError:
    return FieldError(path, f"cannot be judged ({type(error).__name__}); enter another value")


def field_errors(error: ValidationError, prefix: str = "") -> list[FieldError]:
    """Pydantic's findings as paths and sentences."""
    return [
        FieldError(
            ".".join([prefix, *map(str, item["loc"])] if prefix else map(str, item["loc"])), _sentence(item),
            _CODES.get(item["type"], "invalid"),
        )
        for item in error.errors(include_url=False)
    ]  # fmt: skip


def _sentence(item: ErrorDetails) -> str:
    kind, given = item["type"], item.get("ctx") or {}
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _COUNTED:
        return _COUNTED[kind](given, item["input"])
    return item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


Given = Mapping[str, Any]


def _text_too_long(given: Given, value: Any) -> str:
    most = given["max_length"]
    if isinstance(value, str):
        return f"may have {most:,} characters at most; these are {len(value):,}"
    return f"may have {most:,} characters at most"


def _text_too_short(given: Given, value: Any) -> str:
    least = given["min_length"]
    return "must not be empty" if least == 1 else f"needs at least {least:,} characters"


def _list_too_long(given: Given, value: Any) -> str:
    return f"may have {given['max_length']:,} entries at most"


def _list_too_short(given: Given, value: Any) -> str:
    return f"needs at least {given['min_length']:,} entries"


def _pattern(given: Given, value: Any) -> str:
    return f"does not have the form that is asked for here ({given['pattern']})"


def _choice(given: Given, value: Any) -> str:
    return f"must be one of {given['expected']}"


_COUNTED: dict[str, Callable[[Given, Any], str]] = {
    "string_too_long": _text_too_long,
    "string_too_short": _text_too_short,
    "bytes_too_long": _text_too_long,
    "too_long": _list_too_long,
    "too_short": _list_too_short,
    "string_pattern_mismatch": _pattern,
    "literal_error": _choice,
    "enum": _choice,
    "greater_than_equal": lambda given, value: f"must be {given['ge']} or more",
    "less_than_equal": lambda given, value: f"must be {given['le']} or less",
    "greater_than": lambda given, value: f"must be more than {given['gt']}",
    "less_than": lambda given, value: f"must be less than {given['lt']}",
}
