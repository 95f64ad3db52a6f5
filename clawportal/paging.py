"""Pages of lists, by a cursor or by an offset; the last page costs what the first costs.

A cursor is the sort key of the entry at the edge of a page, and which way to go on from there: nothing is skipped or shown
twice when entries come or go meanwhile. It holds for one list, one order and one set of filters. It is no secret and grants
nothing: what somebody may see is asked anew for each page.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, tuple_

from clawportal.errors import Invalid
from clawportal.messages import _m

T = TypeVar("T")
U = TypeVar("U")

AFTER, BEFORE, END = "after", "before", "end"
FLIP = 200
"""From this offset on it is worth to count first, and to read from the nearer end."""
_LONGEST = 1000
_BROKEN = _m("This cursor is broken, or belongs to other filters or another order. Begin again with the first page, without it.")


@dataclass(frozen=True)
class Which:
    """Which page is asked for."""

    limit: int = 50
    offset: int = 0
    cursor: str = ""


FIRST_PAGE = Which()


@dataclass(frozen=True)
class Slice(Generic[T]):
    """A page, and the cursors that lead on from it; an empty one leads nowhere."""

    items: Sequence[T]
    total: int
    next: str = ""
    previous: str = ""
    last: str = ""

    def map(self, make: Callable[[Sequence[T]], Sequence[U]]) -> Slice[U]:
        """The same page with what is made of its entries."""
        return Slice(make(self.items), self.total, self.next, self.previous, self.last)


@dataclass(frozen=True)
class Place:
    """Where a page begins, as its cursor says: beyond an entry with this sort key, or at the end of the list."""

    way: str
    key: tuple[Any, ...] = ()

    @property
    def backwards(self) -> bool:
        return self.way != AFTER


@dataclass(frozen=True)
class Order:
    """How a list is sorted: columns that are never empty and together belong to one entry only."""

    columns: tuple[ColumnElement[Any], ...]
    kinds: tuple[type, ...]
    """Of the values of these columns."""
    key: Callable[[Any], tuple[Any, ...]] = field(compare=False)
    """These values of an entry."""
    descending: bool = False

    def by(self, *, backwards: bool = False) -> list[ColumnElement[Any]]:
        down = self.descending is not backwards
        return [column.desc() if down else column.asc() for column in self.columns]

    def beyond(self, *, backwards: bool) -> ColumnElement[bool]:
        """Condition with the parameters `key_0`, `key_1`, ...: what comes after an entry, or before it."""
        here = tuple_(*(bindparam(f"key_{n}", type_=column.type) for n, column in enumerate(self.columns)))
        return tuple_(*self.columns) < here if self.descending is not backwards else tuple_(*self.columns) > here


def by_name(model: Any, inside: Callable[[Any], Any] = lambda row: row) -> Order:
    """By a name that only one has. `inside`: where an entry keeps the row that it is named after."""
    return Order((model.name.expression,), (str,), lambda entry: (inside(entry).name,))


def parameters(place: Place) -> dict[str, Any]:
    return {f"key_{n}": value for n, value in enumerate(place.key)}


# ---- cursors


class _NotOurs(ValueError):
    """Not a cursor of this list; people get one sentence for all the ways in which that shows."""


def _sign(about: object, way: str, key: Sequence[Any]) -> str:
    """Finds out what was cut, mistyped, or taken from another list. Not a secret: a cursor opens nothing."""
    return blake2b(repr((about, way, list(key))).encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def cursor(about: object, way: str, key: Sequence[Any] = ()) -> str:
    """`about`: list, order and filters, as a value whose repr tells them apart."""
    told = [value.isoformat() if isinstance(value, datetime) else value for value in key]
    document = json.dumps([_sign(about, way, told), way, told], separators=(",", ":"))
    return urlsafe_b64encode(document.encode()).rstrip(b"=").decode()


def place_of(text: str, about: object, kinds: Sequence[type]) -> Place:
    """What a cursor says. Invalid for one that was not given out for this list, order and filters."""
    try:
        sign, way, told = json.loads(_decoded(text))
        if way not in (AFTER, BEFORE, END) or sign != _sign(about, way, told):
            raise _NotOurs
        if way == END:
            return Place(END)
        return Place(way, tuple(_value(kind, value) for kind, value in zip(kinds, told, strict=True)))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Invalid.field("cursor", _BROKEN) from error


def _decoded(text: str) -> bytes:
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4)) if len(text) <= _LONGEST else b""
    if not raw or urlsafe_b64encode(raw).rstrip(b"=") != text.encode():  # decoding passes over letters that it does not know
        raise _NotOurs
    return raw


def _value(kind: type, value: Any) -> Any:
    """A value of a sort key, if it is one: who makes up a cursor gets the same refusal as for a broken one."""
    if kind is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    if type(value) is not kind:
        raise _NotOurs
    if (isinstance(value, int) and abs(value) >= 2**31) or (isinstance(value, str) and "\0" in value.encode().decode()):
        raise _NotOurs
    return value


# ---- one page


def page(
    query: Select[Any], order: Order, which: Which, *, about: object, total: int, fetch: Callable[[Select[Any]], Sequence[T]]
) -> Slice[T]:
    """One page of what `query` finds. `total`: how many it finds in all."""
    if not which.cursor:
        return _at_offset(query, order, which, about, total, fetch)
    place = place_of(which.cursor, about, order.kinds)
    query = query.order_by(*order.by(backwards=place.backwards)).limit(which.limit + 1)
    if place.key:
        query = query.where(order.beyond(backwards=place.backwards)).params(**parameters(place))
    return cut(fetch(query), place, which, order, about=about, total=total)


def _at_offset(
    query: Select[Any], order: Order, which: Which, about: object, total: int, fetch: Callable[[Select[Any]], Sequence[T]]
) -> Slice[T]:
    nearer = flipped(which, total)
    if nearer is None:
        query = query.order_by(*order.by()).limit(which.limit + 1).offset(which.offset)
        return cut(fetch(query), None, which, order, about=about, total=total)
    query = query.order_by(*order.by(backwards=True)).limit(nearer.limit).offset(nearer.offset)
    return from_end(fetch(query), nearer, order, about=about, total=total)


def from_end(rows: Sequence[T], which: Which, order: Order, *, about: object, total: int) -> Slice[T]:
    """A page out of what was read backwards for what `flipped` said."""
    return _ends(list(reversed(rows)), order, about, total, before=True, after=which.offset > 0)


def flipped(which: Which, total: int) -> Which | None:
    """The same page counted from the end, where that is nearer: an offset costs what it leaves out."""
    if which.offset < FLIP or which.offset * 2 < total or which.offset >= total:
        return None
    limit = min(which.limit, total - which.offset)
    return Which(limit, total - which.offset - limit)


def cut(rows: Sequence[T], place: Place | None, which: Which, order: Order, *, about: object, total: int) -> Slice[T]:
    """A page out of what was read for it: one entry more than it has tells whether there is more that way."""
    more, items = len(rows) > which.limit, rows[: which.limit]
    if place is None:
        return _ends(items, order, about, total, before=which.offset > 0, after=more)
    if place.backwards:
        return _ends(list(reversed(items)), order, about, total, before=more, after=place.way == BEFORE)
    return _ends(items, order, about, total, before=True, after=more)


def _ends(items: Sequence[T], order: Order, about: object, total: int, *, before: bool, after: bool) -> Slice[T]:
    last = cursor(about, END) if total else ""
    if not items:
        return Slice(items, total, previous=last if before else "", last=last)
    return Slice(
        items, total, last=last,
        next=cursor(about, AFTER, order.key(items[-1])) if after else "",
        previous=cursor(about, BEFORE, order.key(items[0])) if before else "",
    )  # fmt: skip


def whole(which: Which, read: Callable[[Which], Slice[T]]) -> Slice[T]:
    """For people: going back to the beginning shows the whole first page, and past the end the whole last one."""
    found = read(which)
    if not which.cursor or not found.total:
        return found
    if not found.items:
        return read(replace(which, cursor=found.last))
    short_start = not found.previous and len(found.items) < min(which.limit, found.total)
    return read(replace(which, cursor="")) if short_start else found
