"""Whose request is next: addresses take turns, so that one with hundreds of requests does not make the others wait."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, in the order in which it is to be begun. Used by one thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def add(self, address: str, one: T) -> None:
        self._waiting.setdefault(address, deque()).append(one)

    def next(self, may: Callable[[str], bool]) -> T | None:
        """The next one of an address that may begin; that address is last from then on."""
        for address, waiting in self._waiting.items():
            if may(address):
                one = waiting.popleft()
                self._waiting.move_to_end(address)
                if not waiting:
                    del self._waiting[address]
                return one
        return None

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())
