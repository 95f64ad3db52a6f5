"""A client for services outside that honours a budget: each request of `bind(httpx.Client(...))` that is made inside of
`within(Budget(...))` ends when the time is over or the answer is too large. `bind(client, reach)` also holds it to addresses that
may be asked: `OutOfReach` for others, however they are named."""

from __future__ import annotations

from clawportal.engine.bounded_http import OutOfReach, bind, within

__all__ = [
    "OutOfReach",
    "bind",
    "within",
]
