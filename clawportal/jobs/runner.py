"""Runs background work in this process: APScheduler for timers (on the leader only), threads for instances and installs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from clawportal import clock
from clawportal.errors import Retry
from clawportal.jobs import installs, removals, retention, sync
from clawportal.permissions import SYSTEM
from clawportal.services import clusters, converge, leader, ledger, operations
from clawportal.services.portal import Portal

log = logging.getLogger(__name__)

LEASE_NAME = "leader"
INSTALL_WORKERS = 2
JOIN_SECONDS = 3.0
"""For all threads together; a pass that takes longer is continued after the next start."""


class Runner:
    """Everything that works without a request. `start` and `stop` are called once each."""

    def __init__(self, portal: Portal, context: sync.AppContext) -> None:
        self.portal = portal
        self.context = context
        self.leading = False
        self.health = sync.HealthWatch(portal, context)
        self.scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 30}
        )
        self._threads: list[threading.Thread] = []
        self._watched: set[str] = set()

    # ---- start and stop

    def start(self, *, exclusive: bool) -> None:
        """`exclusive`: the data folder is ours alone, so whoever held leases before is dead."""
        clock.take_jump()
        if exclusive:
            with self.context():
                leader.release_all()
                converge.release_all(self.portal)
                operations.release_all(self.portal)
        settings = self.portal.settings
        self._every(settings.resync_seconds, self._sync, "sync")
        self._every(settings.health_seconds, self._health, "health")
        self._every(settings.sample_seconds, self._sample, "sample")
        self._every(settings.resync_seconds, self._removals, "removals")
        self._every(3600, self._retention, "retention")
        self.scheduler.start(paused=True)
        for number in range(settings.reconcile_workers):
            self._thread(self._reconcile, f"reconcile-{number}")
        for number in range(INSTALL_WORKERS):
            self._thread(self._installs, f"install-{number}")
        self._thread(self._lead, "leader")

    def stop(self) -> None:
        """Ends the threads; claws go on. What is left half-way continues with the next start."""
        self.portal.stopping.set()
        self.portal.dispatcher.close()
        end = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        if self.scheduler.running:  # after the thread that may just be resuming it
            self.scheduler.shutdown(wait=False)
        self._once(lambda: leader.release(LEASE_NAME, self.portal.holder), "release")

    def _thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _every(self, seconds: float, job: Callable[[], None], name: str) -> None:
        self.scheduler.add_job(job, "interval", seconds=seconds, jitter=max(0, int(seconds * 0.1)) or None, id=name)

    # ---- threads

    def _reconcile(self) -> None:
        while not self.portal.stopping.is_set():
            instance_id = self.portal.dispatcher.take(timeout=60)
            if instance_id:
                self._once(lambda taken=instance_id: converge.run_pass(self.portal, taken), f"reconcile {instance_id}")  # type: ignore[misc]  # bound early

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
            self.portal.stopping.wait(leader.TTL.total_seconds() / 3)

    def _lead_once(self) -> None:
        self._look_at_clock()
        held = self._once(lambda: leader.take(LEASE_NAME, self.portal.holder), "leader") is not None
        if held and not self.leading:
            log.info("this process leads: timers run here")
            self._first_round()
            self.scheduler.resume()
        elif self.leading and not held:
            log.warning("another process leads now: timers pause here")
            self.scheduler.pause()
        self.leading = held
        if held:
            self._once(lambda: sync.resync_once(self.portal), "resync")
            self._watch_clusters()

    def _first_round(self) -> None:
        for job in (self._sync, self._sample):
            job()

    def _watch_clusters(self) -> None:
        def look() -> None:
            for cluster in clusters.everything():
                if cluster.id not in self._watched:
                    try:
                        runtime = clusters.connect(self.portal, cluster)
                    except Retry:
                        continue
                    self._watched.add(cluster.id)
                    self._thread(lambda c=cluster.id, r=runtime: self._watch(c, r), f"watch-{cluster.name}")  # type: ignore[misc]  # bound early

        self._once(look, "watch")

    def _watch(self, cluster_id: str, runtime: Any) -> None:
        while not self.portal.stopping.is_set():
            try:
                sync.watch_cluster(self.portal, cluster_id, runtime, self.portal.stopping.is_set)
            except Exception:
                log.exception("watching cluster %s failed; again in 5 s", cluster_id)
                self.portal.stopping.wait(5)

    def _look_at_clock(self) -> None:
        """A wall clock that jumped would end deadlines and back-offs early or never; move them along instead."""
        jumped = clock.take_jump()
        if not jumped:
            return
        log.warning("the clock jumped by %.0f s", jumped)
        if not self.leading:
            return  # the leader moves the times; twice would be a jump of our own

        def move() -> None:
            converge.shift_times(timedelta(seconds=jumped))
            operations.shift_times(timedelta(seconds=jumped))
            ledger.record(
                self.portal, "portal.clock_jumped", actor=SYSTEM, level="warning", reason="ClockJumped",
                message=f"The clock of this machine jumped by {jumped:+.0f} s. Deadlines were moved along.",
            )  # fmt: skip

        self._once(move, "clock")

    # ---- timers

    def _sync(self) -> None:
        self._once(lambda: sync.sync_once(self.portal), "sync")

    def _health(self) -> None:
        def look() -> None:
            with ThreadPoolExecutor(4, thread_name_prefix="health") as pool:
                self.health.once(pool)

        self._once(look, "health")

    def _sample(self) -> None:
        self._once(lambda: sync.sample_once(self.portal), "sample")

    def _removals(self) -> None:
        self._once(lambda: removals.remove_once(self.portal), "removals")

    def _retention(self) -> None:
        self._once(lambda: retention.forget_once(self.portal), "retention")

    def _once(self, work: Callable[[], Any], name: str) -> Any:
        """One piece of work with its own session and its own `except`: nothing may end a thread."""
        try:
            with self.context():
                return work()
        except Exception:
            log.exception("%s failed", name)
            self.portal.stopping.wait(0.5)
            return None
