"""Runs background work in this process: APScheduler for timers (on the leader only), threads for instances and installs."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from clawportal import clock
from clawportal.contracts.features import Job
from clawportal.contracts.permissions import SYSTEM
from clawportal.declarations import resolve
from clawportal.engine import leader
from clawportal.engine.portal import Portal
from clawportal.jobs import installs, sync
from clawportal.jobs.cluster_monitor import ClusterMonitor
from clawportal.messages import _m, _n
from clawportal.services.clusters import clusters, reachability
from clawportal.services.events import event_log
from clawportal.services.fleet import operations
from clawportal.services.reconcile import converge, leases, passes
from clawportal.services.tenancy import tenancy

log = logging.getLogger(__name__)

INSTALL_WORKERS = 2
JOIN_SECONDS = 3.0
"""For all threads together; a pass that takes longer is continued after the next start."""


CLUSTERS_EVERY = 1.0
"""Seconds between two looks at the table of clusters and at the deadlines of their answers."""


@dataclass
class _Worker:
    number: int
    busy_since: float | None = None
    replaced: bool = False
    """It hung, and another one works in its place: it ends when it comes back."""


class Runner:
    """Everything that works without a request. `start` and `stop` are called once each."""

    def __init__(self, portal: Portal, context: sync.AppContext) -> None:
        self.portal = portal
        self.context = context
        self.leading = False
        self.scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 30}
        )
        self._threads: list[threading.Thread] = []
        self._monitors: dict[str, ClusterMonitor] = {}
        self._workers: dict[int, _Worker] = {}
        self._numbers = itertools.count()
        self._paused: set[str] = set()

    # ---- start and stop

    def start(self, *, exclusive: bool) -> None:
        """`exclusive`: the data folder is ours alone, so whoever held leases before is dead."""
        clock.take_jump()
        if exclusive:
            with self.context():
                leader.release_all()
                leases.release_all(self.portal)
                operations.release_all(self.portal)
        for feature in self.portal.registry.features:
            for job in feature.jobs:
                self._add_job(f"{feature.name}.{job.name}", job)
        self.scheduler.start(paused=True)
        for _ in range(self.portal.settings.reconcile_workers):
            self._add_worker()
        for number in range(INSTALL_WORKERS):
            self._thread(self._installs, f"install-{number}")
        self._thread(self._lead, "leader")
        self._thread(self._look_after_clusters, "clusters")

    def stop(self) -> None:
        """Ends the threads; claws go on. What is left half-way continues with the next start."""
        self.portal.stopping.set()
        self.portal.dispatcher.close()
        self.portal.clusters_news.set()
        for monitor in list(self._monitors.values()):
            monitor.stop()
        end = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        for monitor in list(self._monitors.values()):
            monitor.join(end)
        if self.scheduler.running:  # after the thread that may just be resuming it
            self.scheduler.shutdown(wait=False)
        self._once(self.portal.recorder.flush, "series")
        self._once(lambda: leases.release_of(self.portal.holder), "release")  # of passes that take longer than the end may
        self._once(lambda: leader.release(leader.LEAD, self.portal.holder), "release")

    def _thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _add_job(self, name: str, job: Job) -> None:
        seconds = getattr(self.portal.settings, job.every) if isinstance(job.every, str) else job.every

        def once() -> None:
            self._once(lambda: resolve(job.run)(self.portal), name)

        if job.on == "each":
            self._thread(lambda: self._repeat(once, seconds, job.at_start), name)
            return
        first = {"next_run_time": datetime.now(UTC)} if job.at_start else {}
        self.scheduler.add_job(once, "interval", seconds=seconds, jitter=max(0, int(seconds * 0.1)) or None, id=name, **first)

    def _repeat(self, once: Callable[[], None], seconds: float, at_start: bool) -> None:
        if at_start:
            once()
        while not self.portal.stopping.wait(seconds):
            once()

    # ---- threads

    def _add_worker(self) -> None:
        worker = _Worker(next(self._numbers))
        self._workers[worker.number] = worker
        self.portal.dispatcher.workers = len(self._workers)
        self._thread(lambda: self._reconcile(worker), f"reconcile-{worker.number}")

    def _reconcile(self, worker: _Worker) -> None:
        while not self.portal.stopping.is_set() and not worker.replaced:
            instance_id = self.portal.dispatcher.take(timeout=60)
            if instance_id:
                worker.busy_since = time.monotonic()
                try:
                    self._once(lambda taken=instance_id: converge.run_pass(self.portal, taken), f"reconcile {instance_id}")  # type: ignore[misc]  # bound early
                finally:
                    worker.busy_since = None
                    self.portal.dispatcher.done(instance_id)
        self._workers.pop(worker.number, None)
        self.portal.dispatcher.workers = len(self._workers)

    def _replace_stuck_workers(self) -> None:
        """A worker that hangs in a call of a cluster cannot be ended; another one takes its place, until it comes back."""
        limit = passes.APPLY_MAX + self.portal.settings.cluster_timeout_seconds
        stuck = [w for w in list(self._workers.values()) if w.busy_since and time.monotonic() - w.busy_since > limit]
        for worker in stuck:
            if not worker.replaced and len(self._workers) < 4 * self.portal.settings.reconcile_workers:
                log.warning("a worker hangs for %.0f s in a pass; another one takes its place", limit)
                worker.replaced = True
                self._add_worker()

    def _installs(self) -> None:
        while not self.portal.stopping.is_set():
            if not self._once(lambda: installs.install_once(self.portal), "install"):
                self.portal.stopping.wait(1.0)

    def _lead(self) -> None:
        """Hold the lease or wait for it; timers run only while it is held. Also looks at the clocks."""
        while not self.portal.stopping.is_set():
            try:
                self._lead_once()
            except Exception:
                log.exception("leading failed; again soon")
            self.portal.stopping.wait(self.portal.settings.lease_seconds / 3)

    def _lead_once(self) -> None:
        self._look_at_clock()
        ttl = timedelta(seconds=self.portal.settings.lease_seconds)
        before = "" if self.leading else self._once(lambda: leader.holder_of(leader.LEAD), "leader")
        held = self._once(lambda: leader.take(leader.LEAD, self.portal.holder, ttl), "leader") is not None
        if held and not self.leading:
            log.info("this process leads: timers run here")
            self.scheduler.resume()
            if before and before != self.portal.holder:  # it was silent until its lease ended
                self._once(lambda: leases.release_of(before), "leases of the former leader")
        elif self.leading and not held:
            log.warning("another process leads now: timers pause here")
            self.scheduler.pause()
        if held != self.leading:
            self.leading = held
            self.portal.clusters_news.set()
        if held:
            self._once(lambda: sync.resync_once(self.portal), "resync")

    # ---- clusters

    def _look_after_clusters(self) -> None:
        """A monitor for each cluster while this process leads; looks at once when the table was changed here."""
        while not self.portal.stopping.is_set():
            self._once(self._keep_clusters, "clusters")
            self._replace_stuck_workers()
            self.portal.clusters_news.wait(CLUSTERS_EVERY)
            self.portal.clusters_news.clear()

    def _keep_clusters(self) -> None:
        known = clusters.everything()
        everything = [cluster for cluster in known if cluster.paused_at is None]
        workers = self.portal.settings.reconcile_workers
        self.portal.dispatcher.share = max(1, workers - max(1, workers // 4)) if len(everything) > 1 else None
        self.portal.dispatcher.shared = tenancy.several()
        rows = {cluster.id: cluster for cluster in everything} if self.leading else {}
        for cluster_id, monitor in list(self._monitors.items()):
            row = rows.get(cluster_id)
            if row is None or row.revision != monitor.revision:
                monitor.stop()
                del self._monitors[cluster_id]
            else:
                monitor.check_deadline()
        for cluster_id in rows.keys() - self._monitors.keys():
            self._monitors[cluster_id] = ClusterMonitor(self.portal, self.context, rows[cluster_id])
            self._monitors[cluster_id].start()
        paused = {cluster.id for cluster in known if cluster.paused_at is not None}
        if self.leading and self._paused - paused:
            sync.resync_once(self.portal)
        self._paused = paused

    def _look_at_clock(self) -> None:
        """A wall clock that jumped would end deadlines and back-offs early or never; move them along instead."""
        jumped = clock.take_jump()
        if not jumped:
            return
        log.warning("the clock jumped by %.0f s", jumped)
        if not self.leading:
            return  # the leader moves the times; twice would be a jump of our own

        def move() -> None:
            leases.shift_times(timedelta(seconds=jumped))
            reachability.shift_times(timedelta(seconds=jumped))
            operations.shift_times(timedelta(seconds=jumped))
            event_log.record(
                self.portal,
                "portal.clock_jumped",
                actor=SYSTEM,
                level="warning",
                reason=_n("ClockJumped"),
                message=_m(
                    "The clock of this machine jumped by %(jumped)s s. Deadlines were moved along.", jumped=f"{jumped:+.0f}"
                ),
            )

        self._once(move, "clock")

    def _once(self, work: Callable[[], Any], name: str) -> Any:
        """One piece of work with its own session and its own `except`: nothing may end a thread."""
        try:
            with self.context():
                return work()
        except Exception:
            log.exception("%s failed", name)
            self.portal.stopping.wait(0.5)
            return None
