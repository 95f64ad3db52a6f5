"""Compares clusters with the table, one call per cluster: what changed by itself becomes a hint for the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from clawportal.contracts.adapters import Adapter, Health, HealthState
from clawportal.contracts.runtimes import Capacity, Observed, RunState, Runtime, Separation
from clawportal.contracts.workloads import Context
from clawportal.db import db
from clawportal.engine.dispatcher import ASKED, rank_of
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Problem, Retry
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.models import Cluster, Instance, PortAllocation
from clawportal.runtime_helpers import ALIVE
from clawportal.services.clusters import clusters, reachability
from clawportal.services.fleet import plans, storage
from clawportal.services.reconcile import health as health_checks
from clawportal.services.reconcile import leases, passes, start_limiter, unmanaged

log = logging.getLogger(__name__)

AppContext = Callable[[], AbstractContextManager[Any]]

WATCHED = ASKED + 1
"""Rank of what was seen to change: after what somebody asked for, together with the most important of what was found."""

FAILURES_TO_BELIEVE = 2
"""So many bad answers in a row, before a running claw is called unwell: one slow answer on a busy machine is no news."""


def sync_cluster(portal: Portal, cluster: Cluster) -> int:
    """Hint every instance whose workload is not what its row says. Returns how many; whatever the cluster raises is passed on.

    This is also the probe of its circuit breaker: it asks although the cluster is known not to answer.
    """
    cluster_id = cluster.id
    runtime = clusters.connect(portal, cluster, probe=True)
    if "import" in runtime.capabilities:
        runtime.recognise(plans.unmanaged_refs(cluster_id))
    db.session.rollback()  # the cluster may take its time: hold no snapshot of the database meanwhile
    seen = {entry.ref.instance_id: entry for entry in runtime.observe()}
    rows = db.session.execute(select(*_LOOKED_AT).where(Instance.cluster_id == cluster_id, Instance.destroyed_at.is_(None))).all()
    due = sorted((row for row in rows if _differs(row, seen.get(row.id))), key=lambda row: rank_of(row.priority))
    for row in due:
        portal.dispatcher.hint(
            row.id, start_limiter.spread(len(due)), rank=rank_of(row.priority), cluster=cluster_id, tenant=row.tenant_id
        )
    return len(due)


_LOOKED_AT = (
    Instance.id,
    Instance.tenant_id,
    Instance.phase,
    Instance.incarnation,
    Instance.desired,
    Instance.sync,
    Instance.reason,
    Instance.priority,
    Instance.health,
    Instance.foreign_id,
)


def _differs(row: Any, seen: Observed | None) -> bool:
    if row.sync == Sync.UNKNOWN:
        return True
    runs = seen is not None and seen.state in ALIVE
    if row.foreign_id and unmanaged.news(row, seen):
        return True
    if row.phase == Phase.RUNNING:
        if not runs or seen is None or row.desired != Desired.RUNNING or seen.incarnation != row.incarnation:
            return True
        if seen.state is RunState.PENDING:  # it has fallen back: it does not run any more
            return True
        return bool(seen.drift) or row.reason == passes.DRIFTED
    return row.phase in (Phase.STOPPED, Phase.FAILED) and runs


def facts_of(portal: Portal, cluster: Cluster) -> reachability.Facts:
    """What a cluster that answers has to tell of itself; what it cannot tell stays empty."""
    runtime = clusters.connect(portal, cluster, probe=True)
    db.session.rollback()
    try:
        capacity: Capacity | None = runtime.capacity()
    except (GiveUp, Problem):
        capacity = None
    try:
        separation: Separation | None = runtime.separation()
    except (GiveUp, Problem, OSError):
        separation = None
    return reachability.Facts(runtime.version(), capacity, sorted(runtime.capabilities), separation)


def watch_cluster(
    portal: Portal, cluster_id: str, runtime: Runtime, stop: Callable[[], bool], listening: Callable[[], None]
) -> None:
    """Pass on changes of one cluster as they happen; returns when `stop()`. `listening`: what changed before it was not heard."""
    for seen in runtime.watch(stop):
        if seen is None:
            listening()
        else:
            portal.dispatcher.hint(seen.ref.instance_id, rank=WATCHED, cluster=cluster_id)


@dataclass
class HealthWatch:
    """Asks the running claws of one cluster whether they are well; remembers bad answers between passes."""

    portal: Portal
    cluster_id: str
    context: AppContext
    """Opens a session for a thread of the pool: a claw may have to be asked with its token."""
    failures: dict[str, int] = field(default_factory=dict)
    _targets_by_id: dict[str, _Target] = field(default_factory=dict)

    def once(self, pool: ThreadPoolExecutor) -> int:
        """Ask all; hint those whose health is another than their row says. Returns how many were hinted."""
        cluster = db.session.get(Cluster, self.cluster_id, populate_existing=True)
        targets = self._targets(cluster) if cluster is not None and cluster.paused_at is None else []
        self._targets_by_id = {target.instance_id: target for target in targets}
        self.failures = {key: count for key, count in self.failures.items() if key in self._targets_by_id}
        # those that did not answer last time come last: who drips must not keep the others waiting
        targets.sort(key=lambda target: self.failures.get(target.instance_id, 0) > 0)
        answers = pool.map(self._ask, targets)
        return sum(self._judge(target, health) for target, health in zip(targets, answers, strict=True))

    def _targets(self, cluster: Cluster) -> list[_Target]:
        try:
            runtime = clusters.connect(self.portal, cluster)
        except Retry:
            return []
        rows = list(db.session.scalars(select(Instance).where(
            Instance.cluster_id == cluster.id, Instance.phase == Phase.RUNNING, Instance.destroyed_at.is_(None),
            Instance.foreign_id == "",  # their places say how they are, if they can
        )))  # fmt: skip
        ports = _ports(cluster.id) if "allocated-ports" in runtime.capabilities else {}
        return [target for row in rows if (target := self._known(row) or self._target(runtime, row, ports.get(row.id)))]

    def _known(self, row: Instance) -> _Target | None:
        """The target of an earlier round while nothing was changed: most rounds find nothing to plan anew."""
        target = self._targets_by_id.get(row.id)
        same = target is not None and target.generation == row.observed_generation and target.incarnation == row.incarnation
        if target is None or not same:
            return None
        return replace(target, health=row.health, over_told=storage.is_told(row.conditions))

    def _target(self, runtime: Runtime, row: Instance, given: dict[str, int] | None) -> _Target | None:
        try:
            adapter = plans.adapter_of(self.portal, row)
            ports = given if given is not None else plans.ports_of(runtime, row)
            context = plans.context_of(self.portal, row, adapter, runtime, ports)
        except (GiveUp, ValueError, Problem):
            return None
        io = plans.InstanceIO(self.portal, row.id, plans.ref_of(row), runtime, ports)
        limit, told = storage.limit_of(context.spec, runtime), storage.is_told(row.conditions)
        return _Target(row.id, row.observed_generation, row.incarnation, row.health, adapter, io, context, limit, told)

    def _ask(self, target: _Target) -> Health:
        with self.context():
            return health_checks.ask(target.adapter, target.io, target.context)

    def _judge(self, target: _Target, health: Health) -> bool:
        bad = health.state is not HealthState.HEALTHY
        self.failures[target.instance_id] = self.failures.get(target.instance_id, 0) + 1 if bad else 0
        same = health.state == target.health or (bad and self.failures[target.instance_id] < FAILURES_TO_BELIEVE)
        use = storage.use(self.portal, target.instance_id, target.storage_limit)
        if same and not storage.is_news(use, target.over_told):
            return False
        self.portal.dispatcher.hint(target.instance_id, rank=WATCHED, cluster=self.cluster_id)
        return True


@dataclass(frozen=True)
class _Target:
    instance_id: str
    generation: int
    incarnation: str
    health: str
    adapter: Adapter
    io: plans.InstanceIO
    context: Context
    storage_limit: int | None
    over_told: bool
    """Whether it stands in its row that its files take more than they may."""


def _ports(cluster_id: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in db.session.scalars(select(PortAllocation).where(PortAllocation.cluster_id == cluster_id)):
        found.setdefault(row.instance_id, {})[row.name] = row.port
    return found


def sample_cluster(portal: Portal, cluster: Cluster) -> int:
    """Measure everything that runs in a cluster, in one call."""
    cluster_id = cluster.id
    runtime = clusters.connect(portal, cluster)
    db.session.rollback()
    samples = runtime.sample() if "metrics" in runtime.capabilities else []
    portal.samples.update(samples, cluster_id)
    return len(samples)


def resync_once(portal: Portal, limit: int = 500) -> Sequence[str]:
    """Hint what is due by the table: hints that were lost, and instances whose worker vanished."""
    found = leases.due(limit)
    for due in found:
        portal.dispatcher.hint(due.instance_id, rank=due.rank, cluster=due.cluster_id, tenant=due.tenant_id)
    return [due.instance_id for due in found]
