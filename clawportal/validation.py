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
from clawportal.messages import Message, _m

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)

_CODES = {"missing": "missing", "extra_forbidden": "unknown"}
_WORDS = {
    "missing": _m("is needed"),
    "extra_forbidden": _m("is not a known field; remove it or correct its name"),
    "string_type": _m("must be a text"),
    "int_type": _m("must be a whole number"),
    "int_parsing": _m("must be a whole number"),
    "int_from_float": _m("must be a whole number"),
    "int_parsing_size": _m("is too large a number"),
    "float_type": _m("must be a number"),
    "float_parsing": _m("must be a number"),
    "finite_number": _m("must be a number that is not infinite"),
    "bool_type": _m("must be true or false"),
    "bool_parsing": _m("must be true or false"),
    "list_type": _m("must be a list"),
    "tuple_type": _m("must be a list"),
    "dict_type": _m("must be an object with names and values"),
    "model_type": _m("must be an object with names and values"),
    "model_attributes_type": _m("must be an object with names and values"),
    "none_required": _m("must be empty"),
    "string_unicode": _m("has half of a character that cannot be stored; paste it again"),
    "recursion_loop": _m("is nested too deeply"),
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
    return FieldError(path, _m("cannot be judged (%(__name__)s); enter another value", __name__=type(error).__name__))


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
    raised = given.get("error")
    if isinstance(raised, Exception) and raised.args and isinstance(raised.args[0], Message):
        return raised.args[0]  # as the validator said it; pydantic's own text is only English
    return item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


Given = Mapping[str, Any]


def _text_too_long(given: Given, value: Any) -> str:
    most = given["max_length"]
    if isinstance(value, str):
        return _m("may have %(MAX_TEXT)s characters at most; these are %(len)s", MAX_TEXT=f"{most:,}", len=f"{len(value):,}")
    return _m("may have %(most)s characters at most", most=f"{most:,}")


def _text_too_short(given: Given, value: Any) -> str:
    least = given["min_length"]
    return _m("must not be empty") if least == 1 else _m("needs at least %(least)s characters", least=f"{least:,}")


def _list_too_long(given: Given, value: Any) -> str:
    return _m("may have %(most)s entries at most", most=f"{given['max_length']:,}")


def _list_too_short(given: Given, value: Any) -> str:
    return _m("needs at least %(least)s entries", least=f"{given['min_length']:,}")


def _pattern(given: Given, value: Any) -> str:
    return _m("does not have the form that is asked for here (%(pattern)s)", pattern=given["pattern"])


def _choice(given: Given, value: Any) -> str:
    return _m("must be one of %(choices)s", choices=given["expected"])


_COUNTED: dict[str, Callable[[Given, Any], str]] = {
    "string_too_long": _text_too_long,
    "string_too_short": _text_too_short,
    "bytes_too_long": _text_too_long,
    "too_long": _list_too_long,
    "too_short": _list_too_short,
    "string_pattern_mismatch": _pattern,
    "literal_error": _choice,
    "enum": _choice,
    "greater_than_equal": lambda given, value: _m("must be %(limit)s or more", limit=given["ge"]),
    "less_than_equal": lambda given, value: _m("must be %(limit)s or less", limit=given["le"]),
    "greater_than": lambda given, value: _m("must be more than %(limit)s", limit=given["gt"]),
    "less_than": lambda given, value: _m("must be less than %(limit)s", limit=given["lt"]),
}
