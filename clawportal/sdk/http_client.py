"""A client for services outside that honours a budget: each request of `bind(httpx.Client(...))` that is made inside of
`within(Budget(...))` ends when the time is over or the answer is too large."""

from __future__ import annotations

from clawportal.engine.bounded_http import bind, within

__all__ = [
    "bind",
    "within",
]
