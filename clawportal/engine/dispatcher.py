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


_Lane = tuple[str, str]
"""Cluster and tenant."""
_NOWHERE = ("", "")


def _room(limit: int | None, held: int, has_some: bool) -> bool:
    """Whether one more fits; the last quarter is not for who has some."""
    kept = max(1, limit // 4) if limit and limit > 1 and has_some else 0
    return limit is None or limit - held > kept


class Dispatcher:
    """A queue of instance ids by due time, for the worker threads of this process. An id is in it once, at its earliest time.

    What is due is handed out by rank, then to whom has the fewest workers, in turn, then by time. Each cluster has only so many
    workers at a time (`share`), so that one which hangs cannot hold all of them; and while there are several tenants, the last
    quarter of the workers is for those that hold none, so that nobody waits for the slow claws of others.
    """

    def __init__(self) -> None:
        self.share: int | None = None
        """Workers that one cluster may hold at a time. None: any number."""
        self.workers: int | None = None
        """How many take from here. None: nothing is kept for anybody."""
        self.shared = False
        """Whether there are several tenants."""
        self._later: list[tuple[float, int, str]] = []
        self._ready: dict[_Lane, list[tuple[int, float, int, str]]] = {}
        """What is due, by cluster and tenant; under "" what nobody has said these of."""
        self._due: dict[str, tuple[float, int]] = {}
        self._lane: dict[str, _Lane] = {}
        self._taken: dict[str, list[_Lane]] = {}
        """Lanes of the ids that are worked on; more than once when it was hinted again meanwhile."""
        self._held: Counter[str] = Counter()
        """Workers by cluster."""
        self._serving: Counter[str] = Counter()
        """Workers by tenant."""
        self._served: dict[str, int] = {}
        """When a tenant had its last turn, as a number that only rises."""
        self._turns = itertools.count()
        self._count = itertools.count()
        self._news = threading.Condition()
        self._closed = False

    def hint(self, instance_id: str, delay: float = 0.0, *, rank: int = ASKED, cluster: str = "", tenant: str = "") -> None:
        """Instance `instance_id` should be looked at in `delay` seconds."""
        due = time.monotonic() + max(delay, 0.0)
        with self._news:
            known = self._due.get(instance_id, (float("inf"), rank))
            better = (min(known[0], due), min(known[1], rank))
            if cluster or tenant:
                self._know(instance_id, cluster, tenant)
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
                queue = self._ready.setdefault(self._lane.get(instance_id, _NOWHERE), [])
                heapq.heappush(queue, (known[1], due, number, instance_id))

    def _know(self, instance_id: str, cluster: str, tenant: str) -> _Lane:
        before = self._lane.get(instance_id, _NOWHERE)
        lane = self._lane[instance_id] = (cluster or before[0], tenant or before[1])
        return lane

    def _best(self) -> str | None:
        """Out of the lanes that may have another worker, what has the best rank, of the tenant that had least."""
        open_to = {}
        for lane, queue in list(self._ready.items()):
            while queue and self._due.get(queue[0][3]) != (queue[0][1], queue[0][0]):
                heapq.heappop(queue)  # taken already, or hinted again
            if not queue:
                del self._ready[lane]
            elif self._may_have_another(*lane):
                open_to[lane] = self._order(lane[1], queue[0])
        if not open_to:
            return None
        lane = min(open_to, key=lambda name: open_to[name])
        instance_id = heapq.heappop(self._ready[lane])[3]
        del self._due[instance_id]
        self._taken.setdefault(instance_id, []).append(lane)
        self._count_in(lane, 1)
        self._served[lane[1]] = next(self._turns)
        return instance_id

    def _order(self, tenant: str, first: tuple[int, float, int, str]) -> tuple[int, int, int, float, int]:
        rank, due, number, _ = first
        return rank, self._serving[tenant], self._served.get(tenant, -1), due, number

    def _may_have_another(self, cluster: str, tenant: str) -> bool:
        has_some = bool(tenant) and self.shared and self._serving[tenant] > 0
        in_cluster = self.share if cluster else None
        return _room(in_cluster, self._held[cluster], has_some) and _room(self.workers, sum(self._serving.values()), has_some)

    def _count_in(self, lane: _Lane, number: int) -> None:
        cluster, tenant = lane
        self._held[cluster] += number
        self._serving[tenant] += number

    def learn(self, instance_id: str, cluster: str, tenant: str = "") -> None:
        """Which cluster and tenant an id that was taken belongs to."""
        with self._news:
            lane = self._know(instance_id, cluster, tenant)
            lanes = self._taken.get(instance_id, [])
            for place, held in enumerate(lanes):
                if "" in held:
                    self._count_in(held, -1)
                    self._count_in(lane, 1)
                    lanes[place] = lane

    def done(self, instance_id: str) -> None:
        """The worker that took it is free again."""
        with self._news:
            lanes = self._taken.get(instance_id, [])
            if lanes:
                self._count_in(lanes.pop(), -1)
                self._news.notify()
            if not lanes:
                self._taken.pop(instance_id, None)

    def forget(self, instance_id: str) -> None:
        """It is gone for good."""
        with self._news:
            self._lane.pop(instance_id, None)

    def __len__(self) -> int:
        with self._news:
            return len(self._due)

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
