"""Hints which instance is due. Only hints: the truth is `due_at` in the table, and a lost hint costs one resync period."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter

ASKED = 0
"""Rank of what somebody waits for; what the portal found by itself comes after it, see `rank_of`."""


def rank_of(priority: int) -> int:
    """Rank of a hint that nobody asked for, by the priority of the instance: the higher that is, the earlier its turn."""
    return ASKED + 3 - priority


class Dispatcher:
    """A queue of instance ids by due time, for the worker threads of this process. An id is in it once, at its earliest time.

    What is due is handed out by rank, then by time. Each cluster has only so many workers at a time (`share`), so that one
    which hangs cannot hold all of them.
    """

    def __init__(self) -> None:
        self.share: int | None = None
        """Workers that one cluster may hold at a time. None: any number."""
        self._later: list[tuple[float, int, str]] = []
        self._ready: dict[str, list[tuple[int, float, int, str]]] = {}
        """What is due, by cluster; under "" what nobody has said the cluster of."""
        self._due: dict[str, tuple[float, int]] = {}
        self._place: dict[str, str] = {}
        self._taken: dict[str, list[str]] = {}
        """Clusters of the ids that are worked on; more than once when it was hinted again meanwhile."""
        self._held: Counter[str] = Counter()
        self._count = itertools.count()
        self._news = threading.Condition()
        self._closed = False

    def hint(self, instance_id: str, delay: float = 0.0, *, rank: int = ASKED, cluster: str = "") -> None:
        """Instance `instance_id` should be looked at in `delay` seconds."""
        due = time.monotonic() + max(delay, 0.0)
        with self._news:
            known = self._due.get(instance_id, (float("inf"), rank))
            better = (min(known[0], due), min(known[1], rank))
            if cluster:
                self._place[instance_id] = cluster
            if self._closed or better == known:
                return
            self._due[instance_id] = better
            heapq.heappush(self._later, (better[0], next(self._count), instance_id))
            self._news.notify()

    def take(self, timeout: float) -> str | None:
        """The next due id; None after `timeout` seconds or when closed. Say `done` when it was worked on."""
        end = time.monotonic() + timeout
        with self._news:
            while not self._closed:
                now = time.monotonic()
                self._sort_in(now)
                if (instance_id := self._best()) is not None:
                    return instance_id
                if now >= end:
                    return None
                self._news.wait(min(end, self._later[0][0] if self._later else end) - now)
        return None

    def _sort_in(self, now: float) -> None:
        """What has become due goes to its cluster's queue."""
        while self._later and self._later[0][0] <= now:
            due, number, instance_id = heapq.heappop(self._later)
            known = self._due.get(instance_id)
            if known is not None and known[0] == due:
                queue = self._ready.setdefault(self._place.get(instance_id, ""), [])
                heapq.heappush(queue, (known[1], due, number, instance_id))

    def _best(self) -> str | None:
        """Out of the clusters that may have another worker, what has the best rank."""
        open_to = {}
        for place, queue in list(self._ready.items()):
            while queue and self._due.get(queue[0][3]) != (queue[0][1], queue[0][0]):
                heapq.heappop(queue)  # taken already, or hinted again
            if not queue:
                del self._ready[place]
            elif not place or self.share is None or self._held[place] < self.share:
                open_to[place] = queue[0]
        if not open_to:
            return None
        place = min(open_to, key=lambda name: open_to[name])
        instance_id = heapq.heappop(self._ready[place])[3]
        del self._due[instance_id]
        self._taken.setdefault(instance_id, []).append(place)
        self._held[place] += 1
        return instance_id

    def learn(self, instance_id: str, cluster: str) -> None:
        """Which cluster an id that was taken belongs to."""
        with self._news:
            self._place[instance_id] = cluster
            places = self._taken.get(instance_id, [])
            if "" in places:
                places[places.index("")] = cluster
                self._held[""] -= 1
                self._held[cluster] += 1

    def done(self, instance_id: str) -> None:
        """The worker that took it is free again."""
        with self._news:
            places = self._taken.get(instance_id, [])
            if places:
                self._held[places.pop()] -= 1
                self._news.notify()
            if not places:
                self._taken.pop(instance_id, None)

    def forget(self, instance_id: str) -> None:
        """It is gone for good."""
        with self._news:
            self._place.pop(instance_id, None)

    def __len__(self) -> int:
        with self._news:
            return len(self._due)

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
