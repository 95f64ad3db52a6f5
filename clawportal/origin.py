"""From where the running work was asked for: a request, or a command on the server; nothing at all for background work.

Ways in set it, services read it. So no service has to be handed an address, and none needs to know Flask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from clawportal.contracts.permissions import Actor


def _nobody() -> Actor | None:
    return None


@dataclass(frozen=True)
class Origin:
    """Facts about the caller, for the audit."""

    via: str
    """`web`, `api` or `command`."""
    address: str = ""
    agent: str = ""
    """What the caller's program calls itself."""
    request_id: str = ""
    who: Callable[[], Actor | None] = field(default=_nobody, repr=False, compare=False)
    """Who asks, as far as that is known; for what changes without a service naming its actor."""


_current: ContextVar[Origin | None] = ContextVar("clawportal_origin", default=None)


def current() -> Origin | None:
    """None: the portal works by itself."""
    return _current.get()


def begin(origin: Origin | None) -> None:
    """From now on, in this thread. Who calls it calls it again with None."""
    _current.set(origin)


@contextmanager
def during(origin: Origin | None) -> Iterator[None]:
    before = _current.get()
    _current.set(origin)
    try:
        yield
    finally:
        _current.set(before)
