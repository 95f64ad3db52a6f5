"""From a typed function to a view and its entry in the OpenAPI document, so that the two cannot disagree.

    @op("GET", "/instances/{instance_id}", permission=INSTANCE_READ, tags=["Instances"], summary="One instance")
    def get_instance(actor: Actor, portal: Portal, instance_id: str) -> InstanceDocument: ...

A parameter gets its value by its name: `actor` and `portal`; each name that stands in braces in the path; `query` and `body`,
which are pydantic models; `if_match` (the generation in If-Match, or None) and `idempotency_key` (or "").

A function returns a model, or plain data in the shape of `returns` (faster for lists), or `(that, status)`, or
`(that, status, headers)`, or a finished Flask response such as `sse(...)`, or None for 204. Everything wrong is a `Problem`.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

from flask import Response, request, stream_with_context
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import from_json, to_json

from clawportal.catalogues import SOURCE_LANGUAGE
from clawportal.contracts.permissions import Permission
from clawportal.errors import BadRequest, FieldError, Invalid, NotFound, PreconditionRequired, Problem
from clawportal.http import i18n, security
from clawportal.http.paging import MAX_LIMIT, MAX_OFFSET, agreed, links
from clawportal.http.revalidation import revalidated
from clawportal.messages import _m, joined
from clawportal.paging import Slice, Which
from clawportal.validation import field_errors

Handler = TypeVar("Handler", bound=Callable[..., Any])
T = TypeVar("T")

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
SSE = "text/event-stream"
BIGGEST = 2**63 - 1
MOST_VALUES = 20_000
"""In one document."""


def agreed_generation(in_body: int | None, if_match: int | None) -> int | None:
    """What the caller read, by the header or the body; Invalid where these differ."""
    if if_match is not None and in_body is not None and in_body != if_match:
        raise Invalid.field(
            "generation",
            _m("is %(in_body)s, but If-Match says %(if_match)s; send one of them", in_body=in_body, if_match=if_match),
        )
    return if_match if if_match is not None else in_body


class UnsupportedMediaType(Problem):
    status, title, code = 415, _m("The body is in a form that is not understood"), "unsupported_media_type"


# ---- what documents are made of


class Answer(BaseModel):
    """Base of what the API answers. Messages become texts in the language of the reader: a field keeps plain text only."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    @model_validator(mode="before")
    @classmethod
    def _in_the_language_of_the_reader(cls, given: Any) -> Any:
        if isinstance(given, BaseModel) or i18n.language() == SOURCE_LANGUAGE:
            return given
        if isinstance(given, Mapping):
            return i18n.localised(dict(given))
        return i18n.localised({name: getattr(given, name) for name in cls.model_fields if hasattr(given, name)})


class Page(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    total: int = Field(description="How many there are in all, whatever page this is.")
    limit: int
    offset: int = Field(description="As asked; 0 for a page that a cursor led to.")
    next: str | None = Field(
        description="Send it as `cursor`, with the same filters and order, to go on. Null: this is the last page. "
        "The header Link has the whole address (`rel=next`), and those of the previous and the last page."
    )
    previous: str | None = Field(description="The same for the page before this one. Null: this is the first page.")


class Query(BaseModel):
    """Base of what stands behind the question mark; an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")


class Paged(Query):
    """Which page of a list."""

    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Entries in one answer.")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Entries to leave out at the beginning; `cursor` is better for many.")
    cursor: str = Field(
        "", max_length=1000,
        description="`next` or `previous` of another page. Nothing is skipped or repeated when entries come or go meanwhile.",
    )  # fmt: skip

    @property
    def which(self) -> Which:
        return agreed(Which(self.limit, self.offset, self.cursor))


def paged(found: Slice[Any], query: Paged, items: Sequence[Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The answer of a list: `items` are what is told of the entries of `found`."""
    document = {
        "items": items, "total": found.total, "limit": query.limit, "offset": query.offset,
        "next": found.next or None, "previous": found.previous or None,
    }  # fmt: skip
    return document, 200, links(found)


# ---- the mark

MARK = "clawportal_operations"


@dataclass(frozen=True)
class Operation:
    """One method of one path: all that the view and the document need."""

    method: str
    path: str
    handler: Callable[..., Any]
    permission: Permission | None
    public: str
    tags: tuple[str, ...]
    summary: str
    description: str
    status: int
    returns: Any
    produces: tuple[str, ...]
    accepts: tuple[str, ...]
    problems: tuple[int, ...]
    etag: bool
    example: Any
    answer_example: Any
    csrf_free: bool
    at_root: bool
    keep: bool
    streamed: bool
    spans: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Type of each parameter of the function, by its name."""

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def revalidates(self) -> bool:
        """Whether a reader who has the answer already is told so with 304."""
        return self.method == "GET" and self.produces == (JSON,) and self.status == HTTPStatus.OK and not self.etag

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def rule(self) -> str:
        return re.sub(r"{(\w+)}", lambda found: f"<{'path:' * (found[1] == self.spans)}{found[1]}>", self.path)


def op(
    method: str,
    path: str,
    *,
    tags: Iterable[str],
    summary: str,
    permission: Permission | None = None,
    public: str = "",
    description: str = "",
    status: int = 200,
    returns: Any = None,
    produces: Iterable[str] = (JSON,),
    accepts: Iterable[str] = (JSON,),
    problems: Iterable[int] = (),
    etag: bool = False,
    example: Any = None,
    answer_example: Any = None,
    csrf_free: bool = False,
    at_root: bool = False,
    keep: bool = False,
    streamed: bool = False,
    spans: str = "",
) -> Callable[[Handler], Handler]:
    """Mark a function as an operation. Needs either `permission` or the reason why it is `public`.

    Nothing is registered: each app collects the operations of its own features. `problems`: statuses that it can answer beside
    those that follow from its parameters. `produces`: content types of the answer; name SSE for an event stream. `example`: a
    body to show. `csrf_free`: it needs neither session nor token, since what proves who asks stands in its body, which no
    browser adds by itself. `at_root`: also there without the prefix `/api/v1`. `keep`: nothing in the answer is private, so that
    browsers may keep it as long as they ask whether it is still true. `streamed`: the body is read in pieces by the function, and
    has a limit of its own. `spans`: the name of the path that may hold slashes.
    """
    if (permission is None) == (not public):
        raise TypeError(f"{method} {path} needs either a permission or the reason why it is public")

    def mark(handler: Handler) -> Handler:
        hints = get_type_hints(handler, include_extras=True)
        shape = returns if returns is not None else hints.pop("return", None)
        hints.pop("return", None)
        operation = Operation(
            method, path, handler, permission, public, tuple(tags), summary, description or inspect.getdoc(handler) or "",
            status, shape, tuple(produces), tuple(accepts), tuple(problems), etag, example, answer_example,
            csrf_free, at_root, keep, streamed, spans, hints,
        )  # fmt: skip
        unknown = set(hints) - set(operation.path_names) - set(_GIVEN) - {"query", "body"}
        if unknown or set(operation.path_names) - set(hints):
            raise TypeError(f"{method} {path}: parameters and path do not agree: {unknown or operation.path_names}")
        setattr(handler, MARK, (*getattr(handler, MARK, ()), operation))
        return handler

    return mark


# ---- the view


def view_of(operation: Operation) -> Callable[..., Response]:
    """The Flask view of an operation, with its permission declared."""
    handler, status, keep = operation.handler, operation.status, operation.keep
    readers = [(name, _reader(operation, name, kind)) for name, kind in operation.parameters.items()]

    def view(**path: str) -> Response:
        made = _answer(handler(**{name: read(path) for name, read in readers}), status)
        return revalidated(made, keep=keep) if operation.revalidates else made

    view.__name__ = operation.name
    if operation.permission is None:
        return security.public(operation.public)(view)
    return security.requires(operation.permission)(view)


Reader = Callable[[Mapping[str, str]], Any]


def _reader(operation: Operation, name: str, kind: Any) -> Reader:
    if name == "query":
        repeated = frozenset(key for key, item in kind.model_fields.items() if get_origin(item.annotation) in (list, tuple))
        return lambda path: _query(kind, repeated)
    if name == "body":
        return lambda path: _body(kind, operation.accepts)
    if name in _GIVEN:
        return _GIVEN[name]
    return lambda path: _path_value(name, kind, path[name])


def _path_value(name: str, kind: Any, text: str) -> Any:
    if "\0" in text:
        raise NotFound(_m("There is nothing with this address."))
    choices = get_args(kind) if get_origin(kind) is typing.Literal else ()
    if choices and text not in choices:
        raise NotFound(_m("There is nothing here called %(text)s. Known: %(join)s.", text=repr(text), join=[*choices]))
    return text


def _query(model: type[BaseModel], repeated: frozenset[str]) -> BaseModel:
    values: dict[str, Any] = {}
    for name, given in request.args.lists():
        if any("\0" in text for text in given):
            raise Invalid.field(name, _m("must not have a NUL character inside"))
        if name not in repeated and len(given) > 1:
            raise Invalid.field(name, _m("may be given only once"))
        values[name] = given if name in repeated else given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from error


def _body(model: type[BaseModel], accepts: tuple[str, ...]) -> BaseModel:
    if request.mimetype not in accepts:
        raise UnsupportedMediaType(
            _m(
                "Send the body as %(join)s, not as %(mimetype)s.",
                join=" or ".join(accepts),
                mimetype=request.mimetype or _m("nothing in particular"),
            )
        )
    document = _parsed(request.get_data())
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(error) from error


def _parsed(raw: bytes) -> Any:
    if not raw.strip():
        raise BadRequest(_m("The body is empty; send a JSON document."))
    try:
        document = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(_m("The body is not JSON: %(error)s.", error=error)) from error
    if _count(document, MOST_VALUES) > MOST_VALUES:
        raise BadRequest(_m("The document has more than %(MOST_VALUES)s values.", MOST_VALUES=f"{MOST_VALUES:,}"))
    errors = list(_unstorable(document, ""))
    if errors:
        raise Invalid(joined((joined((item.path, item.message), ": ") for item in errors[:3]), "; "), errors=errors)
    return document


def _count(value: Any, most: int) -> int:
    """How many values a document has, counted no further than needed: a mistake in each would cost a kilobyte."""
    found, waiting = 0, [value]
    while waiting and found <= most:
        item = waiting.pop()
        found += 1
        waiting += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return found


def _unstorable(value: Any, path: str) -> Iterator[FieldError]:
    """What JSON can say and no database can keep: NUL characters and numbers without end (1e999)."""
    if isinstance(value, str):
        if "\0" in value:
            yield FieldError(path, _m("must not have a NUL character inside"))
    elif isinstance(value, float):
        if math.isinf(value):
            yield FieldError(path, _m("is too large a number"))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unstorable(key, path)
            yield from _unstorable(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unstorable(item, f"{path}.{place}".lstrip("."))


def invalid(error: ValidationError, prefix: str = "") -> Invalid:
    """Pydantic's findings as a problem that names every field."""
    errors = field_errors(error, prefix)
    told = joined((joined((item.path or _m("document"), item.message), ": ") for item in errors[:3]), "; ")
    return Invalid(told, errors=errors)


def _if_match(path: Mapping[str, str]) -> int | None:
    text = request.headers.get("If-Match", "").strip()
    if not text:
        return None
    if text == "*":
        raise PreconditionRequired(_m("If-Match: * would overwrite what others changed. Send the ETag that you read."))
    found = re.fullmatch(r'(?:"(\d{1,18})"|(\d{1,18}))', text)
    if not found:
        raise BadRequest(_m('If-Match must be the ETag that you read, such as "3".'))
    return int(found[1] or found[2])


def _idempotency_key(path: Mapping[str, str]) -> str:
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > 200 or not key.isprintable():
        raise Invalid.field("Idempotency-Key", _m("must be 1 to 200 printable characters, new for each new object"))
    return key


_GIVEN: dict[str, Reader] = {
    "actor": lambda path: security.actor(),
    "portal": lambda path: security.portal(),
    "if_match": _if_match,
    "idempotency_key": _idempotency_key,
}
"""Parameters that are there for every function that names them."""


# ---- the answer


def _answer(value: Any, status: int) -> Response:
    headers: Mapping[str, str] = {}
    if isinstance(value, tuple):
        value, status, headers = (*value, {})[:3]
    if isinstance(value, Response):
        return value
    if value is None:
        return Response(status=HTTPStatus.NO_CONTENT, headers=dict(headers))
    made = Response(as_json(value), status=status, mimetype=JSON, headers=dict(headers))
    made.vary.add("Accept-Language")
    return made


def as_json(value: Any) -> bytes:
    """JSON of a model or of plain data with times in it; messages in plain data are told in the language of the reader."""
    return value.__pydantic_serializer__.to_json(value) if isinstance(value, BaseModel) else to_json(i18n.localised(value))


@dataclass(frozen=True)
class ServerEvent:
    """One event of a stream. `id` is what a browser sends back as Last-Event-ID; None is a comment that keeps the line open."""

    data: Any
    name: str = "message"
    id: str = ""


def sse(events: Iterable[ServerEvent | None]) -> Response:
    """An event stream. The iterable is closed when the reader has gone; it should yield None at least every 15 seconds."""
    answer = Response(stream_with_context(_lines(events)), mimetype=SSE)
    answer.headers["Cache-Control"] = "no-cache, no-transform"
    answer.headers["X-Accel-Buffering"] = "no"  # nginx would keep the pieces back
    return answer


def _lines(events: Iterable[ServerEvent | None]) -> Iterator[str]:
    try:
        for event in events:
            yield ": \n\n" if event is None else _line(event)
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


def _line(event: ServerEvent) -> str:
    number = f"id: {event.id}\n" if event.id else ""
    # JSON has no raw line ends, so one data line is enough
    return f"event: {event.name}\n{number}data: {as_json(event.data).decode()}\n\n"


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON Schema of any type, standing alone."""
    return cast("dict[str, Any]", json.loads(json.dumps(TypeAdapter(kind).json_schema())))
