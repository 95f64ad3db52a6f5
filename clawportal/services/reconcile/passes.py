"""One pass over one instance: what it has learnt, and the short transactions in which it stores that."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import ExitVerdict, Health, HealthState
from clawportal.contracts.events import Event
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Observed, Ref, RunState, Runtime
from clawportal.contracts.workloads import Artifact
from clawportal.db import db, transaction
from clawportal.engine.dispatcher import ASKED, rank_of
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Retry
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.messages import _m, _n
from clawportal.models import Cluster, Instance
from clawportal.models.clusters import UNREACHABLE
from clawportal.models.operations import FAILED
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.fleet import operations, plans
from clawportal.services.fleet.storage import Use
from clawportal.services.reconcile import config_pickup, start_limiter
from clawportal.services.reconcile.facts import Config, Drift, Exit, Observation, Ownership, Pickup, Storage, Wanted
from clawportal.services.reconcile.leases import LEASE, LeaseLost
from clawportal.services.reconcile.planning import Planned

log = logging.getLogger(__name__)

QUICK_LOOK = 0.6
"""Seconds that a pass waits by itself for a claw to turn healthy or to end; slower ones are looked at again later."""
APPLY_MAX = 120.0
"""Seconds that a runtime may take to start something, before others believe that this worker is gone."""
GO_ON_EVERY = timedelta(minutes=5)
"""A stop or delete that failed is tried again so often: what is wanted has not changed."""
AGAIN = _m("The portal tries again by itself; what stands in the way is in the message.")

PLACED = _n("Placed")
DRIFTED = _n("Drifted")
ENDED = _n("Ended")
"""Condition of what its restart policy leaves down: how it ended, until it is down."""

_SILENT = ("Cluster", "Runtime", "NodeLost")
"""How reasons begin that say nothing of the claw, but that nobody knows of it."""
OF_WHAT_RUNS = frozenset({"Healthy", "Seen", PLACED, DRIFTED, ENDED, config_pickup.CONDITION})
"""Conditions that speak of a claw that runs."""
_SHOWN = frozenset({"health", "sync", "reason", "message", "next_action", "restart_count", "conditions", "incarnation"})
TIMED_OUT: dict[Phase, tuple[str, str]] = {
    Phase.PENDING: (_n("PendingTimedOut"), _m("It waited to be taken up for longer than it may.")),
    Phase.INSTALLING: (_n("InstallingTimedOut"), _m("Installing its software took longer than it may.")),
    Phase.CREATING: (_n("CreatingTimedOut"), _m("Preparing it took longer than it may.")),
    Phase.STARTING: (_n("StartingTimedOut"), _m("Its start took longer than it may.")),
    Phase.STOPPING: (_n("StoppingTimedOut"), _m("Ending it took longer than it may.")),
    Phase.DELETING: (_n("DeletingTimedOut"), _m("Deleting it took longer than it may.")),
}
"""Of each phase that has a deadline: the reason, and what is said."""
_PROGRESS = {Phase.PENDING: 0.02, Phase.INSTALLING: 0.1, Phase.CREATING: 0.6, Phase.STARTING: 0.75, Phase.STOPPING: 0.5,
             Phase.DELETING: 0.5}  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """An end that nobody asked for, as the cluster tells it if it knows, else the adapter."""

    reason: str
    message: str
    verdict: ExitVerdict
    lines: tuple[str, ...]


@dataclass
class Learnt:
    """What a pass has found out or done so far."""

    seen: Observed | None = None
    planned: Planned | None = None
    config: Config = Config.UNKNOWN
    refusal: GiveUp | None = None
    change: str | None = None
    change_reason: str = ""
    pickup_missed: bool = False
    drift: Drift | None = None
    """What this pass noted of it; None: nothing yet."""
    ended: Ended | None = None
    looked_at: datetime | None = None
    missing: tuple[Artifact, ...] | None = None
    """Software that has to be installed first; None: not asked for yet."""
    turn: start_limiter.Turn | None = None
    health: Health | None = None
    storage: Storage = Storage.UNKNOWN
    files: Use | None = None
    """What its files take, where that is more than they may."""
    just_applied: bool = False
    just_ended: bool = False


class Pass:
    """`row` is the instance as read last; only `write` changes it. `over` once the instance is released."""

    runtime: Runtime

    def __init__(self, portal: Portal, instance_id: str, holder: str) -> None:
        self.portal = portal
        self.holder = holder
        self.row = db.session.get_one(Instance, instance_id, populate_existing=True)
        self.generation = self.row.generation
        self.restarts = self.row.restarts_wanted
        self.asked = _asked(self.row)
        """What this pass works towards, until its end; a request that comes meanwhile raises the generation, and another pass
        follows. With a mixture of the two, a request would be answered by what another one brought about."""
        self.learnt = Learnt()
        self.over = False

    # ---- what is known

    def connect(self) -> None:
        self.runtime = clusters.connect(self.portal, self.cluster())

    def cluster(self) -> Cluster:
        self._cluster = db.session.get_one(Cluster, self.row.cluster_id)  # kept: the session forgets a row that nobody holds
        return self._cluster

    @property
    def ref(self) -> Ref:
        return plans.ref_of(self.row)

    @property
    def seen(self) -> Observed:
        """What the cluster showed last in this pass."""
        if self.learnt.seen is None:
            raise RuntimeError("nobody has looked yet")
        return self.learnt.seen

    @property
    def planned(self) -> Planned:
        if self.learnt.planned is None:
            raise RuntimeError("nothing is planned yet")
        return self.learnt.planned

    @property
    def changed(self) -> bool:
        """Whether something new is wanted since the last pass that came to an end."""
        return self.row.observed_generation != self.generation

    def wanted(self) -> Wanted:
        return replace(self.asked, changed=self.changed, restart=self.restarts > self.row.restarts_done)

    def observation(self) -> Observation:
        row, learnt = self.row, self.learnt
        seen = learnt.seen or Observed(self.ref, RunState.UNKNOWN)
        again = seen.incarnation != row.incarnation and seen.restarts > row.restarts_seen
        return Observation(
            Phase(row.phase), Sync(row.sync), row.reason, started=bool(row.incarnation), phase_since=row.phase_since,
            deadline=row.phase_deadline, not_before=row.not_before, clock_jumped=clock.jumped(),
            ends_by_policy=row.phase == Phase.STOPPING and self.marked(ENDED) is not None,
            state=learnt.seen.state if learnt.seen else None, explained=bool(seen.reason), exit_code=seen.exit_code,
            same_start=seen.incarnation == row.incarnation,
            restarted_in_place=again and "restarts" in self.runtime.capabilities,
            adapter_loaded=row.adapter in self.portal.registry.adapters, config=learnt.config, change=learnt.change,
            pickup=self._pickup(), drift=self._drift(seen), placed=self.marked(PLACED) is not False, exit=self._exit(seen),
            installed=None if learnt.missing is None else not learnt.missing, turn=learnt.turn.given if learnt.turn else None,
            health=learnt.health.state if learnt.health else None, storage=learnt.storage, just_applied=learnt.just_applied,
            just_ended=learnt.just_ended,
        )  # fmt: skip

    def _pickup(self) -> Pickup:
        if self.learnt.pickup_missed:
            return Pickup.MISSED
        return Pickup.DONE if config_pickup.written_at(self.row.conditions) is None else Pickup.WAITING

    def _drift(self, seen: Observed) -> Drift:
        if self.learnt.drift is not None:
            return self.learnt.drift
        if seen.drift:
            return Drift.SEEN
        return Drift.GONE if self.marked(DRIFTED) else Drift.NONE

    def _exit(self, seen: Observed) -> Exit:
        if self.learnt.ended is None:
            return Exit.UNKNOWN
        return Exit.TRANSIENT if self.learnt.ended.verdict.retry or seen.reason else Exit.FINAL

    def marked(self, kind: str) -> bool | None:
        """The status of a condition; None where there is none of that kind."""
        entry = self.stored_condition(kind)
        return None if entry is None else bool(entry["status"])

    def stored_condition(self, kind: str) -> dict[str, Any] | None:
        return next((entry for entry in self.row.conditions if entry["type"] == kind), None)

    def condition(
        self, kind: str, status: bool, reason: str, message: str, *, drop: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """The conditions with one of them set, and some dropped; `since` stays while the status stays."""
        before = self.stored_condition(kind)
        since = before["since"] if before and before["status"] == status else clock.now().isoformat()
        entry = {"type": kind, "status": status, "reason": reason, "message": message, "since": since}
        return sorted([*self.without(kind, *drop), entry], key=lambda item: str(item["type"]))

    def without(self, *kinds: str) -> list[dict[str, Any]]:
        """The conditions but for some."""
        return [entry for entry in self.row.conditions if entry["type"] not in kinds]

    def grace(self) -> float:
        return float((self.row.workload or {}).get("stop_grace", 20.0))

    def startup_limit(self) -> timedelta | None:
        return self._limit_of(Phase.STARTING)

    def _limit_of(self, phase: Phase) -> timedelta | None:
        adapter = self.portal.registry.adapters.get(self.row.adapter)
        startup = adapter.startup_seconds if adapter else 180.0
        return lifecycle.deadline_for(phase, startup_seconds=startup, stop_grace=self.grace())

    def overdue(self) -> bool:
        deadline = self.row.phase_deadline
        return deadline is not None and clock.now() > deadline and not clock.jumped()

    # ---- how a pass ends

    def retry(self, later: Retry) -> None:
        """Something does not work now; say so and try again, until the phase's deadline."""
        try:
            self.check_deadline(later)
            attempts = self.row.attempts + 1
            delay = later.delay or lifecycle.backoff(min(attempts, 7), random.random() * 0.2)
            told: dict[str, Any] = {"sync": Sync.PROGRESSING} if self.changed else {}
            if later.reason.startswith(_SILENT):
                told = {"sync": Sync.UNKNOWN, "health": HealthState.UNKNOWN}
            if self.row.phase == Phase.PENDING and self.row.phase_deadline is None:  # counts from the first look
                told["phase_deadline"] = clock.now() + lifecycle.DEADLINES[Phase.PENDING]
            if self.row.turn_at is not None and not self.row.incarnation:
                told["turn_at"] = None  # whoever cannot start now must not keep others from it
            self.write(self.row.phase, reason=later.reason, message=str(later), next_action=AGAIN, attempts=attempts, **told)
            self.rest(after=self._until_again(later, delay.total_seconds()))
        except LeaseLost:
            log.info("instance %s: taken over by another worker", self.row.id)
        except GiveUp as verdict:
            self.fail(verdict)

    def _until_again(self, later: Retry, seconds: float) -> float:
        """While its cluster is silent, a claw that has nothing pending is left alone: the cluster's return hints it."""
        settled = self.row.phase not in lifecycle.TRANSITIONAL and not self.changed
        silent = later.reason.startswith(("Cluster", "Runtime")) and self.cluster().health == UNREACHABLE
        return lifecycle.LONGEST_BACKOFF * (1 + random.random()) if settled and silent else seconds

    def fail(self, verdict: GiveUp) -> None:
        try:
            self.write(
                Phase.FAILED, sync=Sync.OUT_OF_SYNC, health=HealthState.UNHEALTHY, reason=verdict.reason, message=str(verdict),
                next_action=verdict.remedy or lifecycle.NEXT_ACTION[Phase.FAILED], observed_generation=self.generation,
                restarts_done=self.restarts, incarnation="", not_before=None, attempts=0,
                conditions=self.condition(_n("Healthy"), False, verdict.reason, str(verdict), drop=(ENDED,)),
                event_lines=verdict.lines,
            )  # fmt: skip
            self.close(FAILED, error=str(verdict), lines=verdict.lines)
            self.rest(after=None if self.asked.desired is Desired.RUNNING else GO_ON_EVERY.total_seconds())
        except LeaseLost:
            log.info("instance %s: taken over by another worker", self.row.id)

    def check_deadline(self, cause: Retry | GiveUp | None = None) -> None:
        """GiveUp when the phase takes longer than it may."""
        if self.overdue():
            raise timed_out(Phase(self.row.phase), cause)

    def rest(self, after: float | None = None) -> None:
        """Release the instance, due again in `after` seconds; None: when something changes. The pass is over."""
        self.over = True
        with transaction() as after_commit:
            row = self._reload()
            newer = row.generation != self.generation
            delay = 0.0 if newer else after
            row.due_at = None if delay is None else clock.now() + timedelta(seconds=delay)
            row.lease_holder, row.lease_until = "", None
            if delay is not None:
                rank = ASKED if self.changed or row.turn_at is not None else rank_of(row.priority)
                after_commit(
                    lambda: self.portal.dispatcher.hint(row.id, delay, rank=rank, cluster=row.cluster_id, tenant=row.tenant_id)
                )

    def close(self, state: str, *, message: str = "", error: str = "", lines: tuple[str, ...] = ()) -> None:
        """End the operations that asked for what this pass worked towards."""
        operations.close_for_instance(self.portal, self.row, self.generation, state, message=message, error=error, lines=lines)

    # ---- writing what was observed

    def write(self, phase: str, *, event_lines: tuple[str, ...] = (), **observed: Any) -> None:
        """Store what this pass found, with an event when the phase, or the reason within it, is another than before."""
        with transaction() as after_commit:
            row = self._reload()
            moved = row.phase != phase
            told = moved or (observed.get("reason", row.reason), observed.get("sync", row.sync)) != (row.reason, row.sync)
            shown = moved or any(getattr(row, name) != value for name, value in observed.items() if name in _SHOWN)
            had_turn = row.turn_at is not None
            if moved:
                self._enter(row, Phase(phase))
            if row.generation != self.generation:
                observed.pop("desired", None)  # of what is only observed; somebody asked for something meanwhile
            for name, value in observed.items():
                setattr(row, name, value)
            if phase != Phase.RUNNING and row.health == HealthState.HEALTHY:  # what does not run cannot be well
                row.health = HealthState.STARTING if phase == Phase.STARTING else HealthState.UNKNOWN
            row.lease_until = row.due_at = None if row.destroyed_at else clock.now() + LEASE
            if had_turn and row.turn_at is None:
                after_commit(start_limiter.call_next, self.portal, row.cluster_id)
            if told:
                self._record_change(row, event_lines)
            elif shown:
                after_commit(self.portal.publish, _shown_event(row))
            db.session.flush()
        if moved and phase in _PROGRESS:
            operations.advance_for_instance(self.portal, self.row, _PROGRESS[Phase(phase)], self.row.message)

    def _enter(self, row: Instance, phase: Phase) -> None:
        limit = self._limit_of(phase)
        row.phase, row.phase_since = phase, clock.now()
        row.phase_deadline = clock.now() + limit if limit else None
        row.next_action = lifecycle.NEXT_ACTION[phase]
        if phase not in (Phase.CREATING, Phase.STARTING):
            row.turn_at = None
        if phase in lifecycle.TRANSITIONAL:
            row.sync = Sync.PROGRESSING
        if phase in lifecycle.ENDING:  # what was seen of the one that runs does not hold any more
            row.health = HealthState.UNKNOWN
            row.conditions = [entry for entry in row.conditions if entry["type"] not in OF_WHAT_RUNS]

    def _record_change(self, row: Instance, lines: tuple[str, ...]) -> None:
        self.record(
            "instance.phase_changed", row.reason, row.message, level=_level(row),
            data={"phase": row.phase, "sync": row.sync, "health": row.health} | ({"lines": list(lines)} if lines else {}),
        )  # fmt: skip

    def record(self, kind: str, reason: str, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None:
        event_log.record(
            self.portal, kind, actor=SYSTEM, instance=self.row, level=level, reason=reason, message=message, data=data or {}
        )

    def hold(self, seconds: float) -> None:
        """Keep the lease over a call that may take so long."""
        with transaction():
            row = self._reload()
            row.lease_until = row.due_at = clock.now() + LEASE + timedelta(seconds=seconds)

    def abort_if_superseded(self) -> bool:
        """Whether something else is wanted by now: the pass ends, before anything is started for nothing."""
        with transaction():
            newer = self._reload().generation != self.generation
        if newer:
            self.rest(after=0.0)
        return newer

    def answer_all(self) -> None:
        """Work towards what is asked for by now as well: what was removed is the answer to every request, and no pass follows."""
        self.generation = self._reload().generation

    def _reload(self) -> Instance:
        """The row as it is now, locked; LeaseLost when it is no longer ours."""
        query = select(Instance).where(Instance.id == self.row.id).with_for_update().execution_options(populate_existing=True)
        row = db.session.scalars(query).one_or_none()
        if row is None or row.lease_holder != self.holder:
            raise LeaseLost
        self.row = row
        return row


def timed_out(phase: Phase, cause: Retry | GiveUp | None) -> GiveUp:
    """The end of a phase that took longer than it may."""
    reason, words = TIMED_OUT[phase]
    told = _m("%(words)s The cause: %(cause)s", words=words, cause=cause) if cause else words
    return GiveUp(reason, told, _m("Correct the cause, then start it again."))


def _asked(row: Instance) -> Wanted:
    ownership = Ownership.OURS
    if row.foreign_id:
        ownership = Ownership.ADOPTED if row.managed else Ownership.OBSERVED
    return Wanted(
        Desired(row.desired), kill=row.kill_wanted, keep_data=row.keep_data,
        restart_policy=(row.spec or {}).get("restart", "always"), ownership=ownership,
    )  # fmt: skip


def _level(row: Instance) -> str:
    if row.phase == Phase.FAILED:
        return "error"
    return "warning" if row.sync == Sync.OUT_OF_SYNC or row.reason == "CrashLoop" else "info"


def _shown_event(row: Instance) -> Event:
    return Event(0, "instance.observed", clock.now(), row.tenant_id, row.id, "info", row.reason, row.message, SYSTEM.name, {})
