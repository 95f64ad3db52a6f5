"""Places that are counted for each address and for all together. Threads and the loop ask; nobody waits."""

from __future__ import annotations

import threading
from collections import Counter


class Places:
    """So many at a time, and so many of them for one address."""

    def __init__(self, limit: int, each: int) -> None:
        self.limit, self.each = limit, each
        self._count: Counter[str] = Counter()
        self._all = 0
        self._lock = threading.Lock()

    def take(self, address: str, amount: int = 1) -> bool:
        with self._lock:
            if self._all + amount > self.limit or self._count[address] + amount > self.each:
                return False
            self._count[address] += amount
            self._all += amount
            return True

    def give(self, address: str, amount: int = 1) -> None:
        with self._lock:
            self._all -= amount
            self._count[address] -= amount
            if self._count[address] <= 0:
                del self._count[address]

    def free(self, address: str) -> bool:
        """Whether there is one for this address now."""
        return self._all < self.limit and self._count[address] < self.each

    def full(self) -> bool:
        return self._all >= self.limit

    @property
    def taken(self) -> int:
        return self._all
