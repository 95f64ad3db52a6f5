"""Looks after one cluster with threads of its own: so a cluster that hangs or is dead slows nobody else."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from clawportal import clock
from clawportal.db import db
from clawportal.engine.breaker import Breaker
from clawportal.engine.portal import Portal
from clawportal.errors import Cancelled, GiveUp, Problem, Retry
from clawportal.jobs import sync
from clawportal.messages import _m, _n, joined
from clawportal.models import Cluster
from clawportal.services.clusters import clusters, reachability

log = logging.getLogger(__name__)

FACTS_EVERY = 60.0
"""Seconds between two looks at version and capacity."""
ASKERS = 4
"""Claws of a cluster that are asked for their health at a time."""


class ClusterMonitor:
    """The watch, the rounds and the health checks of one cluster at one revision of its row. Runs on the leader only."""

    def __init__(self, portal: Portal, context: sync.AppContext, cluster: Cluster) -> None:
        self.portal, self.context = portal, context
        self.cluster_id, self.name, self.revision = cluster.id, cluster.name, cluster.revision
        self.breaker = Breaker()
        self.last_contact: datetime | None = None
        self.health = sync.HealthWatch(portal, cluster.id, context)
        self._stop = threading.Event()
        self._look = threading.Event()
        self._asked_at: float | None = None
        """Since when a question of the rounds is open."""
        self._next = {"sync": 0.0, "sample": 0.0, "facts": 0.0}
        self._threads: list[threading.Thread] = []

    # ---- start and stop

    def start(self) -> None:
        for target, name in ((self._rounds, "round"), (self._watch, "watch"), (self._healths, "health")):
            thread = threading.Thread(target=target, name=f"{name}-{self.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end. One that hangs in a call is left alone; it ends when the call does."""
        self._stop.set()
        self._look.set()

    def join(self, until: float) -> None:
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))

    def stopped(self) -> bool:
        return self._stop.is_set() or self.portal.stopping.is_set()

    # ---- the deadline, looked at from outside

    def check_deadline(self) -> None:
        """A question that is open for too long counts as no answer."""
        since = self._asked_at
        limit = self.portal.settings.cluster_timeout_seconds
        if since is not None and time.monotonic() - since > limit and self.breaker.trip():
            self._report_silent(
                _n("ClusterUnreachable"),
                _m("The cluster does not answer: a question is open for %(limit)s s.", limit=f"{limit:.0f}"),
            )

    # ---- rounds

    def _rounds(self) -> None:
        while not self.stopped():
            self._guarded(self._round, "the round")
            self._look.wait(self._pause())
            self._look.clear()

    def _pause(self) -> float:
        """Until the next round, or until the next sample if that comes earlier."""
        wait = self.breaker.wait(self.portal.settings.resync_seconds, random.random())
        if self.breaker.failures:
            return wait
        return max(0.05, min(self._next["sync"], self._next["sample"]) - time.monotonic())

    def _round(self) -> None:
        """Compare, measure and look around, each when it is its time; any failure counts against the cluster."""
        settings, now = self.portal.settings, time.monotonic()
        cluster = db.session.get(Cluster, self.cluster_id, populate_existing=True)
        if cluster is None or cluster.paused_at is not None or cluster.revision != self.revision:
            self._next["sync"] = now + 1.0  # whoever started this monitor ends it soon
            return
        if self.breaker.failures or now >= self._next["sync"]:
            self._next["sync"] = now + settings.resync_seconds * (1 + 0.1 * random.random())
            if not self._asked(lambda: sync.sync_cluster(self.portal, cluster), "observed"):
                return
        if now >= self._next["facts"] and self._asked(lambda: self._facts(cluster), "looked at"):
            self._next["facts"] = now + FACTS_EVERY
        if now >= self._next["sample"]:
            self._next["sample"] = now + settings.sample_seconds * (1 + 0.1 * random.random())
            self._asked(lambda: sync.sample_cluster(self.portal, self._row()), "measured")

    def _row(self) -> Cluster:
        return db.session.get_one(Cluster, self.cluster_id)

    def _facts(self, cluster: Cluster) -> None:
        reachability.answered(self.portal, self.cluster_id, sync.facts_of(self.portal, cluster))

    def _asked(self, question: Callable[[], Any], what: str) -> bool:
        """Put one question to the cluster and judge it by the answer."""
        self._asked_at = time.monotonic()
        try:
            question()
        except (Retry, GiveUp, Problem, OSError, TimeoutError) as error:
            self._failed(error)
            return False
        except Cancelled:
            return False
        except Exception as error:
            if not self.stopped():
                log.exception("cluster %s cannot be %s", self.name, what)
            self._failed(error)
            return False
        finally:
            self._asked_at = None
        self._good()
        return True

    def _good(self) -> None:
        if self.stopped():
            return
        self.last_contact = clock.now()
        again = self.breaker.open
        self.breaker.good()
        reachability.answered(self.portal, self.cluster_id)
        if again:
            log.info("cluster %s answers again", self.name)
            self._next["facts"] = 0.0
            sync.sync_cluster(self.portal, db.session.get_one(Cluster, self.cluster_id, populate_existing=True))

    def _failed(self, error: Exception) -> None:
        if self.stopped():
            return
        reason, message = reason_of(error)
        log.log(logging.WARNING if not self.breaker.open else logging.DEBUG, "cluster %s: %s", self.name, message)
        self.breaker.bad()
        if self.breaker.open:
            self._report_silent(reason, message)

    def _report_silent(self, reason: str, message: str) -> None:
        with self.context():
            if reachability.silent(self.portal, self.cluster_id, reason, message, self.last_contact):
                log.warning("cluster %s does not answer any more; it is only probed from now on: %s", self.name, message)

    # ---- changes as they happen

    def _watch(self) -> None:
        failures = 0
        while not self.stopped():
            began = time.monotonic()
            try:
                if not self.breaker.open:
                    sync.watch_cluster(self.portal, self.cluster_id, self._runtime(), self.stopped, self._compare_now)
            except Exception as error:
                if self.stopped():
                    return
                log.warning("watching cluster %s ended: %s", self.name, reason_of(error)[1])
                self._look.set()  # what was missed meanwhile, and whether it answers at all
            failures = 0 if time.monotonic() - began > 60 else failures + 1
            self._stop.wait(min(30.0, 0.5 * 2 ** min(failures, 6)) * (1 + 0.2 * random.random()))

    def _compare_now(self) -> None:
        """The watch listens only from now on. What changed after the last comparison and before this was heard by nobody."""
        self._next["sync"] = 0.0
        self._look.set()

    def _runtime(self) -> Any:
        with self.context():
            return clusters.connect(self.portal, db.session.get_one(Cluster, self.cluster_id))

    # ---- health of the claws

    def _healths(self) -> None:
        def look() -> None:
            with ThreadPoolExecutor(ASKERS, thread_name_prefix=f"health-{self.name}") as pool:
                self.health.once(pool)

        while not self._stop.wait(self.portal.settings.health_seconds * (0.95 + 0.1 * random.random())):
            if self.portal.stopping.is_set():
                return
            if not self.breaker.open:
                self._guarded(look, "asking for health")

    def _guarded(self, work: Callable[[], Any], name: str) -> None:
        """One piece of work with its own session and its own `except`: nothing may end a thread."""
        try:
            with self.context():
                work()
        except Exception:
            if not self.stopped():
                log.exception("cluster %s: %s failed", self.name, name)


def reason_of(error: Exception) -> tuple[str, str]:
    """Why a cluster does not answer, as reason and sentence."""
    if isinstance(error, Retry | GiveUp):
        return error.reason, joined(filter(None, (str(error), getattr(error, "remedy", ""))))
    words = error.detail if isinstance(error, Problem) else str(error) or type(error).__name__
    verdict = reachability.unreachable(words)
    words = str(verdict)
    return verdict.reason, words if words.endswith((".", "!", "?", "。", "！", "？")) else joined((words, "."), "")
