"""Which page of a list a request asks for, and the links from it to the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import request

from clawportal.errors import Invalid
from clawportal.messages import _m
from clawportal.paging import Slice, Which

MAX_LIMIT = 200
MAX_OFFSET = 10_000_000


def paging(default: int = 50) -> Which:
    limit, offset = _number("limit", default, 1, MAX_LIMIT), _number("offset", 0, 0, MAX_OFFSET)
    return agreed(Which(limit, offset, request.args.get("cursor", "")))


def agreed(which: Which) -> Which:
    """Invalid where a cursor and an offset were given: each says where a page begins."""
    if which.cursor and which.offset:
        raise Invalid.field("offset", _m("cannot be given together with cursor; each of them says where the page begins"))
    return which


def _number(name: str, default: int, low: int, high: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not low <= int(text[:20]) <= high:
        raise Invalid.field(name, _m("must be a whole number from %(low)s to %(high)s", low=f"{low:,}", high=f"{high:,}"))
    return int(text)


def links(found: Slice[Any]) -> dict[str, str]:
    """The header Link (RFC 8288), with the addresses of the pages around one; no header where there is only one page."""
    around = {"next": found.next, "prev": found.previous, "last": found.last if found.next or found.previous else ""}
    return link_header({rel: {"cursor": cursor} for rel, cursor in around.items() if cursor})


def link_header(changes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Each by its relation: what its query string has in place of where the present page begins."""
    kept = [(name, value) for name, value in request.args.items(multi=True) if name not in ("cursor", "offset")]
    address = request.script_root + request.path
    told = [f'<{address}?{urlencode(_with(kept, change))}>; rel="{rel}"' for rel, change in changes.items()]
    return {"Link": ", ".join(told)} if told else {}


def _with(kept: list[tuple[str, str]], change: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in kept if name not in change] + list(change.items())
