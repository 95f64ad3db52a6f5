"""`limit`, `offset` and `sort` from a query string, with errors that name them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from clawportal.errors import Invalid

MAX_LIMIT = 200


@dataclass(frozen=True)
class Paging:
    limit: int
    offset: int


def paging(default: int = 50) -> Paging:
    return Paging(_number("limit", default, 1, MAX_LIMIT), _number("offset", 0, 0, 10_000_000))


def _number(name: str, default: int, low: int, high: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not text.isdigit() or not low <= int(text) <= high:
        raise Invalid.field(name, f"must be a whole number from {low:,} to {high:,}")
    return int(text)
