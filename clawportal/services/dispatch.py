"""Hints which instance is due. Only hints: the truth is `due_at` in the table, and a lost hint costs one resync period."""

from __future__ import annotations

import heapq
import itertools
import threading
import time


class Dispatcher:
    """A queue of instance ids by due time, for the worker threads of this process. An id is in it once, at its earliest time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        self._count = itertools.count()
        self._ready = threading.Condition()
        self._closed = False

    def hint(self, instance_id: str, delay: float = 0.0) -> None:
        """Instance `instance_id` should be looked at in `delay` seconds."""
        due = time.monotonic() + max(delay, 0.0)
        with self._ready:
            if self._closed or self._due.get(instance_id, float("inf")) <= due:
                return
            self._due[instance_id] = due
            heapq.heappush(self._heap, (due, next(self._count), instance_id))
            self._ready.notify()

    def take(self, timeout: float) -> str | None:
        """The next due id; None after `timeout` seconds or when closed."""
        end = time.monotonic() + timeout
        with self._ready:
            while not self._closed:
                now = time.monotonic()
                self._drop_stale()
                if self._heap and self._heap[0][0] <= now:
                    _, _, instance_id = heapq.heappop(self._heap)
                    del self._due[instance_id]
                    return instance_id
                if now >= end:
                    return None
                self._ready.wait(min(end, self._heap[0][0] if self._heap else end) - now)
        return None

    def _drop_stale(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)

    def __len__(self) -> int:
        with self._ready:
            return len(self._due)

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify_all()
