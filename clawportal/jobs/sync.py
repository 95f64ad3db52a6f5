"""Compares clusters with the table, one call per cluster: what changed by itself becomes a hint for the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from clawportal.db import db
from clawportal.errors import GiveUp, Problem, Retry
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.models import Cluster, Instance, PortAllocation
from clawportal.runtimes import ALIVE
from clawportal.services import clusters, converge, plans
from clawportal.services.portal import Portal
from clawportal.types import Adapter, Context, Health, HealthState, Observed, Runtime

log = logging.getLogger(__name__)

AppContext = Callable[[], AbstractContextManager[Any]]

FAILURES_TO_BELIEVE = 2
"""So many bad answers in a row, before a running claw is called unwell: one slow answer on a busy machine is no news."""


def sync_once(portal: Portal) -> int:
    """Hint every instance whose workload is not what its row says. Returns how many."""
    hints = 0
    for cluster in clusters.everything():
        seen = _observe(portal, cluster)
        rows = db.session.execute(
            select(Instance.id, Instance.phase, Instance.incarnation, Instance.desired, Instance.sync).where(
                Instance.cluster_id == cluster.id, Instance.destroyed_at.is_(None)
            )
        )
        for row in rows:
            unknown = row.sync == Sync.UNKNOWN
            if not unknown if seen is None else unknown or _differs(row.phase, row.incarnation, row.desired, seen.get(row.id)):
                portal.dispatcher.hint(row.id)
                hints += 1
    return hints


def _observe(portal: Portal, cluster: Cluster) -> dict[str, Observed] | None:
    """Everything in a cluster by instance; None when it does not answer, and then nobody knows what its instances do."""
    try:
        return {entry.ref.instance_id: entry for entry in clusters.connect(portal, cluster).observe()}
    except (Retry, Problem, OSError) as error:
        log.warning("cluster %s: %s", cluster.name, error)
    except Exception:
        log.exception("cluster %s cannot be observed", cluster.name)
    return None


def _differs(phase: str, incarnation: str, desired: str, seen: Observed | None) -> bool:
    runs = seen is not None and seen.state in ALIVE
    if phase == Phase.RUNNING:
        return not runs or desired != Desired.RUNNING or (seen is not None and seen.incarnation != incarnation)
    return phase in (Phase.STOPPED, Phase.FAILED) and runs


def watch_cluster(portal: Portal, cluster_id: str, runtime: Runtime, stop: Callable[[], bool]) -> None:
    """Pass on changes of one cluster as they happen; returns when `stop()`."""
    for seen in runtime.watch(stop):
        portal.dispatcher.hint(seen.ref.instance_id)


@dataclass
class HealthWatch:
    """Asks running claws whether they are well; remembers bad answers between passes."""

    portal: Portal
    context: AppContext
    """Opens a session for a thread of the pool: a claw may have to be asked with its token."""
    failures: dict[str, int] = field(default_factory=dict)
    _targets_by_id: dict[str, _Target] = field(default_factory=dict)

    def once(self, pool: ThreadPoolExecutor) -> int:
        """Ask all; hint those whose health is another than their row says. Returns how many were hinted."""
        targets = [target for cluster in clusters.everything() for target in self._targets(cluster)]
        self._targets_by_id = {target.instance_id: target for target in targets}
        self.failures = {key: count for key, count in self.failures.items() if key in self._targets_by_id}
        answers = pool.map(self._ask, targets)
        return sum(self._judge(target, health) for target, health in zip(targets, answers, strict=True))

    def _targets(self, cluster: Cluster) -> list[_Target]:
        try:
            runtime = clusters.connect(self.portal, cluster)
        except Retry:
            return []
        rows = list(db.session.scalars(select(Instance).where(
            Instance.cluster_id == cluster.id, Instance.phase == Phase.RUNNING, Instance.destroyed_at.is_(None)
        )))  # fmt: skip
        ports = _ports(cluster.id) if "allocated-ports" in runtime.capabilities else {}
        return [target for row in rows if (target := self._known(row) or self._target(runtime, row, ports.get(row.id)))]

    def _known(self, row: Instance) -> _Target | None:
        """The target of an earlier round while nothing was changed: most rounds find nothing to plan anew."""
        target = self._targets_by_id.get(row.id)
        same = target is not None and target.generation == row.observed_generation and target.incarnation == row.incarnation
        return replace(target, health=row.health) if target is not None and same else None

    def _target(self, runtime: Runtime, row: Instance, given: dict[str, int] | None) -> _Target | None:
        try:
            adapter = plans.adapter_of(self.portal, row)
            ports = given if given is not None else plans.ports_of(runtime, row)
            context = plans.context_of(self.portal, row, adapter, runtime, ports)
        except (GiveUp, ValueError, Problem):
            return None
        io = plans.InstanceIO(self.portal, row.id, plans.ref_of(row), runtime, ports)
        return _Target(row.id, row.observed_generation, row.incarnation, row.health, adapter, io, context)

    def _ask(self, target: _Target) -> Health:
        with self.context():
            return converge.ask(target.adapter, target.io, target.context)

    def _judge(self, target: _Target, health: Health) -> bool:
        bad = health.state is not HealthState.HEALTHY
        self.failures[target.instance_id] = self.failures.get(target.instance_id, 0) + 1 if bad else 0
        if health.state == target.health or (bad and self.failures[target.instance_id] < FAILURES_TO_BELIEVE):
            return False
        self.portal.dispatcher.hint(target.instance_id)
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


def _ports(cluster_id: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in db.session.scalars(select(PortAllocation).where(PortAllocation.cluster_id == cluster_id)):
        found.setdefault(row.instance_id, {})[row.name] = row.port
    return found


def sample_once(portal: Portal) -> int:
    """Measure everything that runs, one call per cluster."""
    samples = []
    for cluster in clusters.everything():
        try:
            runtime = clusters.connect(portal, cluster)
            if "metrics" in runtime.capabilities:
                samples += runtime.sample()
        except (Retry, Problem, OSError) as error:
            log.warning("cluster %s cannot be measured: %s", cluster.name, error)
        except Exception:
            log.exception("cluster %s cannot be measured", cluster.name)
    portal.samples.update(samples)
    return len(samples)


def resync_once(portal: Portal, limit: int = 500) -> Sequence[str]:
    """Hint what is due by the table: hints that were lost, and instances whose worker vanished."""
    found = converge.due(limit)
    for instance_id in found:
        portal.dispatcher.hint(instance_id)
    return found
