"""One pass over one instance: compare what is wanted with what is there, and take the next steps towards it.

Runtime and claw are called outside transactions; each result is written in a short one that checks that the lease is still ours.
Killing the portal at any line loses nothing: every step can be taken again, and the next pass continues.
"""

from __future__ import annotations

import logging
import random
import secrets as random_words
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import Adapter, ExitVerdict, Health, HealthState
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Observed, RunState, Runtime
from clawportal.contracts.workloads import Artifact, Context, Workload
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.dispatcher import ASKED, rank_of
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Problem, Retry, Unavailable
from clawportal.keyring import KeyringError
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.models import Cluster, Instance
from clawportal.models.clusters import UNREACHABLE
from clawportal.models.operations import CANCELLED, FAILED, SUCCEEDED
from clawportal.runtime_helpers import ALIVE
from clawportal.services.clusters import clusters, ports, reachability
from clawportal.services.configuration import layers, secrets
from clawportal.services.events import event_log
from clawportal.services.fleet import operations, plans, storage
from clawportal.services.reconcile import config_pickup, start_limiter
from clawportal.services.reconcile.start_limiter import WAITING

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=90)
QUICK_LOOK = 0.6
"""Seconds that a pass waits by itself for a claw to turn healthy; slower ones are looked at again later."""
LAST_WORDS = 20
INSIST = timedelta(minutes=1)
"""How long after its deadline a process that does not even end when killed is waited for."""
GO_ON_EVERY = timedelta(minutes=5)
"""A stop or delete that failed is tried again so often: what is wanted has not changed."""
QUEUE_LIMIT = timedelta(hours=1)
"""How long a start may wait for its turn; others leave the queue by their own deadlines long before."""

PLACED = "Placed"
REMOVED = "DeletedOutside"
DRIFTED = "Drifted"
CRASHED_REMEDY = "Read its log and correct the cause. It counts as well again once it has run for five minutes."
UNWELL_REMEDY = "Look into its log; restart it if it does not recover."
DRIFT_REMEDY = "Restart it, so that it is made anew; or have the cluster's settings say that such changes are repaired."
PENDING_KEEPS_TURN = timedelta(seconds=20)
"""A claw that its cluster cannot place for longer gives its place among those that start to others."""
PLACE_LIMIT = timedelta(minutes=15)
"""How long a cluster may take to fetch the image and to find a machine."""

APPLY_MAX = 120.0
"""Seconds that a runtime may take to start something, before others believe that this worker is gone."""
AGAIN = "The portal tries again by itself; what stands in the way is in the message."
UNREADABLE = "Restore keyring.json from a backup or from the portal that rotated the keys, or enter the secrets again."

_MOST_WORDS = 1_000
"""Of what is said about the health of a claw, characters."""
HELD = (*ALIVE, RunState.UNKNOWN)
"""States in which something of it may still run."""
_SILENT = ("Cluster", "Runtime", "NodeLost")
"""How reasons begin that say nothing of the claw, but that nobody knows of it."""

_PROGRESS = {Phase.PENDING: 0.02, Phase.INSTALLING: 0.1, Phase.CREATING: 0.6, Phase.STARTING: 0.75, Phase.STOPPING: 0.5,
             Phase.DELETING: 0.5}  # fmt: skip


class LeaseLost(Exception):
    """Another worker has the instance now, or it is gone."""


class PassEnds(Exception):
    """Nothing more to do now; when to look again is already noted."""


def claim(portal: Portal, instance_id: str) -> str | None:
    """Take the instance for one pass. Returns the name it was taken by, None when somebody else works on it or it is gone.

    Each pass has a name of its own: with that of the process alone, a pass that outlived its lease would not notice.
    """
    now = clock.now()
    holder = f"{portal.holder}:{random_words.token_hex(4)}"
    with transaction():
        taken = changed_rows(
            update(Instance)
            .where(
                Instance.id == instance_id,
                Instance.destroyed_at.is_(None),
                or_(Instance.lease_until.is_(None), Instance.lease_until < now),
            )
            # due again when the lease ends: if this worker vanishes, the next resync takes the instance up
            .values(lease_holder=holder, lease_until=now + LEASE, due_at=now + LEASE)
            .execution_options(synchronize_session=False)
        )
    return holder if taken else None


@dataclass(frozen=True)
class Whereabouts:
    cluster_id: str
    tenant_id: str
    paused: bool
    foreign: bool
    """Whether somebody else made it."""


def whereabouts(instance_id: str) -> Whereabouts | None:
    """Where an instance is. None when there is nothing left to do for it, ever."""
    query = (
        select(Instance.cluster_id, Instance.tenant_id, Cluster.paused_at, Instance.foreign_id)
        .join(Cluster, Cluster.id == Instance.cluster_id)
        .where(Instance.id == instance_id, Instance.destroyed_at.is_(None))
    )
    row = db.session.execute(query).one_or_none()
    return Whereabouts(row.cluster_id, row.tenant_id, row.paused_at is not None, bool(row.foreign_id)) if row else None


@dataclass(frozen=True)
class Due:
    instance_id: str
    cluster_id: str
    tenant_id: str
    rank: int


def due(limit: int) -> list[Due]:
    """Instances whose time has come; with those whose worker vanished. First what was asked for, then by priority and age."""
    asked = Instance.generation != Instance.observed_generation
    query = (
        select(Instance.id, Instance.cluster_id, Instance.tenant_id, Instance.priority, asked.label("asked"))
        .join(Cluster, Cluster.id == Instance.cluster_id)
        .where(Instance.due_at <= clock.now(), Cluster.paused_at.is_(None))
        .order_by(asked.desc(), Instance.priority.desc(), Instance.due_at)
        .limit(limit)
    )
    return [
        Due(row.id, row.cluster_id, row.tenant_id, ASKED if row.asked else rank_of(row.priority))
        for row in db.session.execute(query)
    ]


def run_pass(portal: Portal, instance_id: str) -> None:
    """Claim, one pass, release. Every end has a reason that is stored and shown."""
    where = whereabouts(instance_id)
    if where is None:  # a hint may speak of what was deleted meanwhile, or of a workload that is not ours
        return portal.dispatcher.forget(instance_id)
    portal.dispatcher.learn(instance_id, where.cluster_id, where.tenant_id)
    if where.paused:  # it stays due, and is taken up when somebody resumes the cluster
        return
    holder = claim(portal, instance_id)
    if holder is None:
        return portal.dispatcher.hint(instance_id, 0.5, cluster=where.cluster_id, tenant=where.tenant_id)
    work = _pass(where.foreign)(portal, instance_id, holder)
    try:
        work.step()
    except PassEnds:
        pass
    except LeaseLost:
        log.info("instance %s: taken over by another worker", instance_id)
    except GiveUp as verdict:
        work.fail(verdict)
    except KeyringError as error:
        work.fail(GiveUp("SecretUnreadable", f"A secret cannot be opened: {error}.", UNREADABLE))
    except Exception as error:
        work.retry(_as_retry(instance_id, error))


def _pass(foreign: bool) -> type[Pass]:
    from clawportal.services.reconcile.unmanaged import GuestPass

    return GuestPass if foreign else Pass


def _as_retry(instance_id: str, error: Exception) -> Retry:
    """What cannot go on now, in words; only what nobody expected needs the portal's log."""
    if isinstance(error, Retry):
        return error
    if isinstance(error, (Unavailable, ConnectionError, TimeoutError)):
        return reachability.unreachable(str(error))
    if isinstance(error, Problem):
        return Retry(type(error).__name__, error.detail)
    log.error("instance %s: a pass failed", instance_id, exc_info=error)
    if isinstance(error, OSError):
        return Retry("MachineError", f"The machine refuses: {error}")
    return Retry("InternalError", f"The portal met an error it did not expect: {error!r}. Its log has the details.")


def nobody_knows(seen: Observed) -> Retry:
    """Of what cannot be seen just now: the place does not answer, or a part of it."""
    words = f"{seen.message} {seen.remedy}".strip() or "The cluster does not answer."
    return Retry(seen.reason or "ClusterUnreachable", words)


class Pass:
    """The story of one pass. `self.row` is the instance as read last; only `write` changes it."""

    def __init__(self, portal: Portal, instance_id: str, holder: str) -> None:
        self.portal = portal
        self.holder = holder
        self.row = db.session.get_one(Instance, instance_id, populate_existing=True)
        self.generation = self.row.generation
        self.restarts = self.row.restarts_wanted
        """What this pass works towards; a request that comes meanwhile raises these, and another pass follows."""
        self.refused = False
        """Whether the claw runs on with its last good configuration, because the new one was refused."""

    # ---- the decision

    def step(self) -> None:
        if self.row.desired == Desired.DELETED:
            self.delete()
        elif self.row.desired == Desired.STOPPED:
            self.halt()
        else:
            self.run()

    @property
    def fresh(self) -> bool:
        """Whether something new is wanted since the last pass that came to an end."""
        return self.row.observed_generation != self.generation

    def runtime(self) -> Runtime:
        return clusters.connect(self.portal, self.cluster())

    # ---- towards running

    def run(self) -> None:
        runtime = self.runtime()
        seen = runtime.inspect(plans.ref_of(self.row))
        if seen.state is RunState.UNKNOWN:
            raise nobody_knows(seen)
        if self.row.phase in (Phase.FAILED, Phase.STOPPED) and not self.fresh:  # stopped: it completed, and may stay so
            if seen.state in ALIVE:
                runtime.kill(plans.ref_of(self.row))  # the rest of a start that failed
            if self.row.sync == Sync.UNKNOWN:  # the cluster did not answer for a while
                self.write(self.row.phase, sync=Sync.SYNCED if self.row.phase == Phase.STOPPED else Sync.OUT_OF_SYNC)
            return self.rest()
        if seen.state in ALIVE:
            self.keep(runtime, seen)
        elif self.exited_by_itself(seen):
            if seen.state is RunState.ABSENT:
                self.after_removal(runtime)
            else:
                self.after_exit(runtime, seen)
        else:
            self.launch(runtime)

    def exited_by_itself(self, seen: Observed) -> bool:
        mine = self.row.phase in (Phase.STARTING, Phase.RUNNING) and bool(self.row.incarnation)
        return mine and self.restarts == self.row.restarts_done

    def keep(self, runtime: Runtime, seen: Observed) -> None:
        """It runs: is it the right thing, and is it well?"""
        if self.row.phase == Phase.STOPPING:
            return self.end_for(runtime, "Restarting", "Ending the old process before the restart.")
        if self.restarted_in_place(runtime, seen) and self.after_restart_in_place(runtime, seen):
            return None
        try:
            adapter = plans.adapter_of(self.portal, self.row)
            context, workload = self.plan(runtime, adapter)
            secret_values = self.secret_values()
            differs = workload.digest() != (seen.digest if seen.incarnation != self.row.incarnation else self.row.applied_digest)
            self.refused = differs and self.row.sync == Sync.OUT_OF_SYNC and self.row.reason != DRIFTED and not self.fresh
            if differs and not self.refused:
                # before anything is ended: what the claw refuses must not cost the one that runs
                self.judge(runtime, workload, secret_values)
        except GiveUp as verdict:
            return self.refuse(verdict)
        if self.refused:
            return self.await_health(runtime, adapter, context, seen)
        if self.restarts > self.row.restarts_done:
            return self.end_for(runtime, "Restarting", "Ending the old process before the restart.")
        if seen.incarnation != self.row.incarnation:  # started, but the portal was killed before it could note so
            self.write(Phase.STARTING, incarnation=seen.incarnation, applied_digest=seen.digest, started_at=seen.started_at)
        if differs and not self.follow(runtime, adapter, workload):
            return None
        if not self.taken_up(runtime, adapter, context, workload):
            return None
        seen = self.look_for_drift(runtime, workload, secret_values, seen)
        self.await_health(runtime, adapter, context, seen)

    def restarted_in_place(self, runtime: Runtime, seen: Observed) -> bool:
        mine = self.row.phase in (Phase.STARTING, Phase.RUNNING) and bool(self.row.incarnation)
        again = seen.incarnation != self.row.incarnation and seen.restarts > self.row.restarts_seen
        return mine and again and "restarts" in runtime.capabilities and self.restarts == self.row.restarts_done

    def after_restart_in_place(self, runtime: Runtime, seen: Observed) -> bool:
        """The claw ended and its cluster started it again by itself. True when the pass ends here, by the restart policy."""
        lines = self.last_words(runtime, previous="logs.previous" in runtime.capabilities)
        reason, message, _verdict = self.explain(seen, lines)
        again = seen.restarts - self.row.restarts_seen
        self.tell_exit(seen, reason, message, lines, again)
        if not lifecycle.wants_restart(self.row.spec.get("restart", "always"), seen.exit_code):
            if not self.down(runtime):
                return True
            self.write(self.row.phase, restarts_seen=seen.restarts)
            self.stay_down(seen, reason, message, lines)
            return True
        ran = clock.now() - (self.row.started_at or clock.now())
        crashes = again if ran > lifecycle.STABLE_AFTER else self.row.crashes + again
        looping = crashes >= lifecycle.CRASH_LOOP_AFTER
        self.write(
            Phase.STARTING, reason="CrashLoop" if looping else reason, message=f"{message} Its cluster started it again.",
            next_action="Read its log, correct the cause and restart it." if looping else "", crashes=crashes,
            health=HealthState.STARTING, incarnation=seen.incarnation, started_at=seen.started_at or clock.now(),
            restart_count=self.row.restart_count + again, restarts_seen=seen.restarts,
        )  # fmt: skip
        return False

    def look_for_drift(self, runtime: Runtime, workload: Workload, secret_values: Mapping[str, str], seen: Observed) -> Observed:
        """What somebody changed by hand is shown and, if the cluster's policy says so, put back."""
        known = any(entry["type"] == DRIFTED and entry["status"] for entry in self.row.conditions)
        if not seen.drift:
            if known:
                self.drift_is_gone(seen)
            return seen
        if not known:
            event_log.record(
                self.portal, "instance.drifted", actor=SYSTEM, instance=self.row, level="warning", reason=DRIFTED,
                message=f"Somebody changed {self.row.name} in its cluster: {seen.drift}",
            )  # fmt: skip
        self.write(self.row.phase, conditions=self.condition(DRIFTED, True, DRIFTED, seen.drift))
        if not self.policy().repair_drift:
            return seen
        self.hold(APPLY_MAX)
        put_back = runtime.apply(plans.whole_ref(self.portal, self.row), workload, secret_values)
        if not put_back.drift:  # otherwise what runs is still being made anew
            self.drift_is_gone(put_back)
        return put_back

    def drift_is_gone(self, seen: Observed) -> None:
        """By a repair, a restart, or the hand that made it."""
        event_log.record(
            self.portal, "instance.drift_repaired", actor=SYSTEM, instance=self.row, reason="Repaired",
            message=f"{self.row.name} is again as it was applied.",
        )  # fmt: skip
        gone = [entry for entry in self.row.conditions if entry["type"] != DRIFTED]
        self.write(self.row.phase, conditions=gone, incarnation=seen.incarnation, restarts_seen=seen.restarts)

    def cluster(self) -> Cluster:
        return db.session.get_one(Cluster, self.row.cluster_id)

    def policy(self) -> clusters.ClusterPolicy:
        return clusters.policy_of(self.cluster())

    def secret_values(self) -> dict[str, str]:
        try:
            return layers.secrets_for(self.portal, self.row)
        except KeyringError as error:
            raise GiveUp("SecretUnreadable", f"A secret cannot be opened: {error}.", UNREADABLE) from error

    def judge(self, runtime: Runtime, workload: Workload, secret_values: Mapping[str, str]) -> None:
        """The claw's own opinion of a configuration; GiveUp, without secrets in its words, when it refuses."""
        if workload.check is None:
            return
        self.hold(workload.check.timeout)
        try:
            # the whole of it: a place that makes the tenant's surroundings for a check must not make them poorer
            runtime.check(plans.whole_ref(self.portal, self.row), workload, secret_values)
        except GiveUp as verdict:
            message, *lines = secrets.masked([str(verdict), *verdict.lines], secret_values.values())
            raise GiveUp(verdict.reason, message, verdict.remedy, tuple(lines)) from verdict

    def follow(self, runtime: Runtime, adapter: Adapter, workload: Workload) -> bool:
        """Bring a running claw to a new configuration that it accepts. False when the pass ends here."""
        old = plans.workload_from(self.row.workload) if self.row.workload else None
        change = adapter.change(old, workload) if old and old.digest() == self.row.applied_digest else None
        if change is None or change.action == "restart":
            words = change.reason if change else "its former configuration is not known"
            self.end_for(runtime, "Reconfiguring", f"A restart is needed: {words.rstrip('.')}.")
            return False
        if change.action == "hot":
            try:
                runtime.write_files(plans.ref_of(self.row), workload)
            except GiveUp as verdict:
                self.refuse(verdict)
                return False
        told: dict[str, Any] = {}
        if change.action == "hot" and config_pickup.waits(adapter):
            told = {"sync": Sync.PROGRESSING, "reason": config_pickup.REASON, "message": config_pickup.WORDS, "next_action": "",
                    "conditions": config_pickup.unread(self.row.conditions)}  # fmt: skip
        self.write(
            self.row.phase, workload=plans.as_stored(workload), applied_digest=workload.digest(),
            applied_generation=self.generation, **told,
        )  # fmt: skip
        return True

    def taken_up(self, runtime: Runtime, adapter: Adapter, context: Context, workload: Workload) -> bool:
        """Whether it works by its files, which some claws read a while after they were written. False: the pass ends here."""
        written = config_pickup.written_at(self.row.conditions)
        if written is None:
            return True
        if written > clock.now() or clock.jumped():  # nobody knows how long ago that was
            self.write(self.row.phase, conditions=config_pickup.unread(self.row.conditions))
            written = clock.now()
        io = plans.InstanceIO(self.portal, self.row.id, plans.ref_of(self.row), runtime, context.ports)
        end = time.monotonic() + QUICK_LOOK
        while not config_pickup.has_read(adapter, io, workload, clock.now() - written):
            if time.monotonic() > end:
                self.read_later(runtime, clock.now() - written)
                return False
            time.sleep(0.1)
        self.write(self.row.phase, conditions=config_pickup.read(self.row.conditions))
        return True

    def read_later(self, runtime: Runtime, waited: timedelta) -> None:
        if waited > config_pickup.LIMIT:
            return self.end_for(runtime, "Reconfiguring", config_pickup.RESTART_WORDS)
        self.rest(after=0.3)

    def refuse(self, verdict: GiveUp) -> None:
        """The new configuration cannot be used: the running one stays untouched."""
        starting = self.row.phase == Phase.STARTING
        if starting:
            self.check_deadline(verdict)
        nobody: dict[str, Any] = {"health": HealthState.UNKNOWN} if verdict.reason == "AdapterMissing" else {}
        self.write(
            Phase.STARTING if starting else Phase.RUNNING,
            sync=Sync.OUT_OF_SYNC, reason=verdict.reason, message=str(verdict),
            next_action=verdict.remedy or "Correct the configuration; the last good one keeps running.",
            observed_generation=self.generation, conditions=self.condition("ConfigAccepted", False, verdict.reason, str(verdict)),
            **nobody,
        )  # fmt: skip
        self.close(FAILED, error=str(verdict), lines=verdict.lines)
        self.rest(after=1.0 if starting else None)

    def end_for(self, runtime: Runtime, reason: str, message: str) -> None:
        """Stop it in order to start it again."""
        if self.row.phase != Phase.STOPPING:
            self.write(Phase.STOPPING, reason=reason, message=message)
        if self.overdue():
            self.insist(runtime)
        else:
            runtime.stop(plans.ref_of(self.row), self.grace())  # each time: the portal may have been killed before the first call
        if self.await_exit(runtime):
            self.launch(runtime)

    def insist(self, runtime: Runtime) -> None:
        """It did not end in time: kill it; GiveUp when not even that ends it."""
        if self.overdue(INSIST):
            raise GiveUp(
                "StopTimedOut", "The claw does not end, not even when it is killed.",
                "Look at its processes on the machine; one that hangs in the kernel ends with a reboot only.",
            )  # fmt: skip
        runtime.kill(plans.ref_of(self.row))

    def launch(self, runtime: Runtime) -> None:
        """It does not run: install what it needs, plan, check, start."""
        adapter = plans.adapter_of(self.portal, self.row)
        self.wait_for_backoff()
        self.install(runtime, adapter)
        self.wait_for_turn()
        if self.row.phase != Phase.CREATING or self.row.reason == WAITING:
            self.write(Phase.CREATING, reason="Creating", message="Preparing files, ports and secrets.")
        ports.give_up_taken(self.portal, runtime, self.row)
        context, workload = self.plan(runtime, adapter)
        secret_values = self.secret_values()
        if workload.check and workload.digest() != self.row.applied_digest:
            self.write(Phase.CREATING, reason="Checking", message="The claw checks its configuration.")
            self.judge(runtime, workload, secret_values)
        self.give_way()
        self.write(
            Phase.STARTING, reason="Starting", message="Starting the claw.", health=HealthState.STARTING, incarnation="",
            workload=plans.as_stored(workload), applied_digest=workload.digest(), applied_generation=self.generation,
            crashes=0 if self.fresh else self.row.crashes,  # somebody changed something: forgiven
            conditions=[
                entry for entry in self.condition("ConfigAccepted", True, "Accepted", "The claw accepts its configuration.")
                if entry["type"] not in (PLACED, config_pickup.CONDITION)
            ],
        )  # fmt: skip
        self.hold(APPLY_MAX)
        seen = runtime.apply(plans.whole_ref(self.portal, self.row), workload, secret_values)
        again = self.row.restart_count + self.starts_again
        self.write(
            Phase.STARTING, incarnation=seen.incarnation, started_at=seen.started_at or clock.now(),
            restarts_done=self.restarts, restart_count=again, restarts_seen=seen.restarts,
        )  # fmt: skip
        self.await_health(runtime, adapter, context, seen)

    @property
    def starts_again(self) -> bool:
        """Whether this start follows an end that nobody asked for; what people ask for is no restart that counts."""
        return self.row.not_before is not None and not self.fresh

    def give_way(self) -> None:
        """Something else is wanted by now: end here, before anything is started for nothing."""
        with transaction():
            newer = self._reload().generation != self.generation
        if newer:
            self.rest(after=0.0)
            raise PassEnds

    def hold(self, seconds: float) -> None:
        """Keep the lease over a call that may take so long."""
        with transaction():
            row = self._reload()
            row.lease_until = row.due_at = clock.now() + LEASE + timedelta(seconds=seconds)

    def wait_for_backoff(self) -> None:
        wait = (self.row.not_before - clock.now()).total_seconds() if self.row.not_before else 0.0
        if wait > 0 and not self.fresh:
            self.rest(after=min(wait, lifecycle.LONGEST_BACKOFF))  # never longer: the clock may be the one that is wrong
            raise PassEnds

    def install(self, runtime: Runtime, adapter: Adapter) -> None:
        """Returns when everything is there; otherwise waits for the operation that installs it."""
        looked_at, needed = clock.now(), plans.software(adapter, self.row.version, runtime, self.policy())
        missing = [artifact for artifact in needed if not runtime.prepared(artifact)]
        if not missing:
            return
        self.check_deadline()
        artifact = missing[0]
        title = f"{artifact.name} {artifact.version}"
        if self.row.phase != Phase.INSTALLING:
            self.write(Phase.INSTALLING, reason="Installing", message=f"Installing {title}: waiting to begin")
        elif not operations.open_install(self.row.cluster_id, artifact.key):
            self.check_install(artifact)
        payload = {"adapter": adapter.kind, "version": self.row.version, "artifact": artifact.key}
        operation = operations.ensure_install(self.portal, self.row.cluster_id, artifact.key, title, payload, looked_at)
        words = f"Installing {title}: {operation.message or 'waiting to begin'}"
        if self.row.message != words:
            self.write(Phase.INSTALLING, reason="Installing", message=words)
        share = 0.05 + 0.5 * (operation.progress or 0) / 100
        operations.advance_for_instance(self.portal, self.row, share, words)
        self.rest(after=1.0)
        raise PassEnds

    def check_install(self, artifact: Artifact) -> None:
        """GiveUp when the install that was waited for has failed since."""
        last = operations.last_install(self.row.cluster_id, artifact.key)
        if last is None or last.state not in (FAILED, CANCELLED) or (last.finished_at or last.created_at) < self.row.phase_since:
            return
        raise GiveUp(
            "InstallFailed" if last.state == FAILED else "InstallCancelled",
            f"{last.subject} could not be installed: {last.error or last.message}",
            "Correct the cause, then start the instance again.",
            tuple(last.lines),
        )

    def plan(self, runtime: Runtime, adapter: Adapter) -> tuple[Context, Workload]:
        """Context and workload; a spec that the adapter no longer accepts (after an upgrade of the plugin) is said so."""
        version = self.row.version
        given = ports.ensure(self.portal, runtime, self.row.cluster_id, self.row.id, adapter.ports(version))
        secrets.generate_missing(self.portal, self.row.id, adapter.generated_secrets(version))
        try:
            context = plans.context_of(self.portal, self.row, adapter, runtime, given)
            return context, plans.workload_of(adapter, context, runtime, self.policy())
        except (ValueError, Problem) as error:
            raise GiveUp(
                "ConfigInvalid", f"The configuration cannot be used: {error}", "Edit the instance and correct it."
            ) from error

    def wait_for_turn(self) -> None:
        """Starts are limited per cluster, so that a returning machine is not overrun."""
        turn = start_limiter.take(self.portal, self.row, fresh=self.fresh)
        self.row = db.session.get_one(Instance, self.row.id)
        if turn.given:
            return
        if self.row.phase != Phase.CREATING or self.row.reason != WAITING:
            self.write(Phase.CREATING, reason=WAITING, message="Other claws are starting; this one waits for its turn.",
                       phase_deadline=clock.now() + QUEUE_LIMIT)  # fmt: skip
        self.check_deadline()
        self.rest(after=start_limiter.pause(turn.ahead))
        raise PassEnds

    def await_health(self, runtime: Runtime, adapter: Adapter, context: Context, seen: Observed) -> None:
        """Ask the claw; a quick one is waited for here, a slow one in later passes."""
        if seen.state is RunState.PENDING:
            return self.await_place(runtime, seen)
        if any(entry["type"] == PLACED and not entry["status"] for entry in self.row.conditions):
            # only now does the claw itself begin to start, so that its own time begins here
            limit = lifecycle.deadline_for(Phase.STARTING, startup_seconds=self._startup(self.row), stop_grace=self.grace())
            self.write(
                self.row.phase, reason="Starting", message="Starting the claw.",
                next_action=lifecycle.NEXT_ACTION[Phase.STARTING],
                phase_deadline=clock.now() + limit if limit and self.row.phase == Phase.STARTING else self.row.phase_deadline,
                conditions=self.condition(PLACED, True, "Placed", "The cluster runs it."),
            )  # fmt: skip
        io = plans.InstanceIO(self.portal, self.row.id, plans.ref_of(self.row), runtime, context.ports)
        end, pause = time.monotonic() + QUICK_LOOK, 0.02
        while True:
            health = ask(adapter, io, context)
            if health.state is HealthState.HEALTHY or self.row.phase == Phase.RUNNING:
                self.look_at_storage(runtime, context)
                return self.well(health)
            if time.monotonic() + pause > end:
                break
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
            if runtime.inspect(plans.ref_of(self.row)).state is not RunState.RUNNING:
                return self.rest(after=0.0)
        self.not_yet(runtime, health)

    def look_at_storage(self, runtime: Runtime, context: Context) -> None:
        """What its files take is told when it is more than they may, and ends the claw when it is far more."""
        limit = storage.limit_of(context.spec, runtime)
        found, told = storage.use(self.portal, self.row.id, limit), storage.is_told(self.row.conditions)
        if found is None and limit is not None:
            return  # not measured yet: what is known stays
        if found is None or not found.over:
            if told:
                self.write(
                    self.row.phase, conditions=[entry for entry in self.row.conditions if entry["type"] != storage.CONDITION]
                )
            return
        used, allowed = storage.readable(found.used), storage.readable(found.limit)
        if not told:
            event_log.record(
                self.portal, "instance.storage_exceeded", actor=SYSTEM, instance=self.row, level="warning",
                reason=storage.EXCEEDED, message=f"The files of {self.row.name} take {used}, more than its limit of {allowed}.",
            )  # fmt: skip
        message = (
            f"Its files take {used}, more than its limit of {allowed}. Delete some or raise it; at 110 percent it is stopped."
        )
        self.write(self.row.phase, conditions=self.condition(storage.CONDITION, False, storage.EXCEEDED, message))
        if found.far_over and clock.now() - (self.row.started_at or clock.now()) > storage.TIME_TO_TIDY:
            runtime.stop(plans.ref_of(self.row), self.grace())
            raise GiveUp(
                storage.EXCEEDED, f"It was stopped: its files take {used}, far more than its limit of {allowed}.", storage.REMEDY
            )

    def await_place(self, runtime: Runtime, seen: Observed) -> None:
        """The place has taken it on, but fetches its image or looks for a machine: that has a time of its own."""
        reason, message = seen.reason or "Pending", seen.message or "The cluster prepares the claw."
        health = HealthState.UNHEALTHY if seen.exit_code not in (None, 0) else HealthState.STARTING
        told = (Phase.STARTING, reason, message, health)
        if (self.row.phase, self.row.reason, self.row.message, self.row.health) != told:
            self.write(
                Phase.STARTING, reason=reason, message=message, next_action=seen.remedy, health=health,
                conditions=self.condition(PLACED, False, reason, message),
            )  # fmt: skip
        if self.row.turn_at is not None and clock.now() > self.row.turn_at + PENDING_KEEPS_TURN:
            self.write(Phase.STARTING, turn_at=None)
        if clock.now() > self.row.phase_since + PLACE_LIMIT and not clock.jumped():
            runtime.kill(plans.ref_of(self.row))
            raise GiveUp(
                reason,
                f"The cluster could not run it in time: {message}",
                seen.remedy or "Correct the cause, then start it again.",
            )
        operations.advance_for_instance(self.portal, self.row, 0.8, message)
        waits = clock.now() - self.row.phase_since
        self.rest(after=2.0 if waits < PENDING_KEEPS_TURN else 10.0)  # news come by themselves; this is for those that got lost

    def well(self, health: Health) -> None:
        words = health.message or ("The claw is running and well." if health.state is HealthState.HEALTHY else "")
        # by our own note, not by the runtime's: that may come from another clock
        stable = self.row.phase == Phase.RUNNING and clock.now() - self.row.phase_since > lifecycle.STABLE_AFTER
        drifted = next((entry for entry in self.row.conditions if entry["type"] == DRIFTED and entry["status"]), None)
        if drifted and not self.refused and health.state is HealthState.HEALTHY:
            health = Health(health.state, DRIFTED, f"Somebody changed it in its cluster: {drifted['message']}")
            words = health.message
        remedy = DRIFT_REMEDY if drifted else "" if health.state is HealthState.HEALTHY else UNWELL_REMEDY
        crashes = 0 if stable else self.row.crashes
        told: dict[str, Any] = {"reason": health.reason or "Running", "message": words, "next_action": remedy}
        if crashes >= lifecycle.CRASH_LOOP_AFTER and health.state is HealthState.HEALTHY and not drifted:
            told = {"reason": "CrashLoop", "message": _runs_again(crashes), "next_action": CRASHED_REMEDY}
        if self.refused:
            told = {}
        self.write(
            Phase.RUNNING, sync=Sync.OUT_OF_SYNC if self.refused or drifted else Sync.SYNCED, health=health.state, **told,
            observed_generation=self.generation, attempts=0, not_before=None,
            restarts_done=self.row.restarts_done if self.refused else self.restarts, crashes=crashes,
            applied_generation=self.row.applied_generation if self.refused else self.generation,
            conditions=self.condition("Healthy", health.state is HealthState.HEALTHY, health.reason or "Answers", words),
        )  # fmt: skip
        self.close(SUCCEEDED, message="Running")
        # a claw that crashed lately is looked at once more, to forgive it
        self.rest(after=lifecycle.STABLE_AFTER.total_seconds() + 1 if self.row.crashes else None)

    def not_yet(self, runtime: Runtime, health: Health) -> None:
        if self.row.phase != Phase.STARTING:
            self.write(Phase.STARTING, reason="Starting", message="Waiting until the claw answers.")
        if self.overdue():
            if health.state is HealthState.DEGRADED:
                return self.well(health)  # it does part of its work, so it may go on
            runtime.kill(plans.ref_of(self.row))
            words = health.message.rstrip(".") or "it does not answer"
            raise GiveUp(
                "StartTimedOut",
                f"The claw did not turn healthy in time: {words}.",
                "Read its log. If it only needs longer, start it again.",
                self.last_words(runtime),
            )
        operations.advance_for_instance(self.portal, self.row, 0.85, health.message or "Waiting until the claw answers")
        age = (clock.now() - self.row.phase_since).total_seconds()
        self.rest(after=0.25 if age < 5 else 1.0)

    # ---- after an exit nobody asked for

    def after_exit(self, runtime: Runtime, seen: Observed) -> None:
        lines = self.last_words(runtime)
        reason, message, verdict = self.explain(seen, lines)
        self.tell_exit(seen, reason, message, lines)
        if not verdict.retry and not seen.reason:
            raise GiveUp(reason, message, verdict.remedy, lines)
        if not lifecycle.wants_restart(self.row.spec.get("restart", "always"), seen.exit_code):
            return self.stay_down(seen, reason, message, lines)
        self.back_off(seen, reason, message)

    def after_removal(self, runtime: Runtime) -> None:
        """Somebody took it away behind the portal's back: no exit, and no fault of the claw. What is missing is made again."""
        again = self.row.spec.get("restart", "always") != "never"
        message = (
            "Somebody deleted it in its cluster. It is made again."
            if again
            else "Somebody deleted it in its cluster; its restart policy leaves it so."
        )
        event_log.record(
            self.portal, "instance.exited", actor=SYSTEM, instance=self.row, level="warning", reason=REMOVED, message=message,
            data={"exit_code": None, "signal": None, "lines": []},
        )  # fmt: skip
        if not again:
            raise GiveUp(REMOVED, message, "Start it again if it is needed.")
        times = self.row.attempts + 1  # until it is well again: whoever deletes it again and again is not chased
        self.write(
            Phase.STARTING, reason=REMOVED, message=message, health=HealthState.STARTING, incarnation="", turn_at=None,
            observed_generation=self.generation, phase_deadline=clock.now() + lifecycle.DEADLINES[Phase.STARTING],
            attempts=times, not_before=clock.now() + (lifecycle.backoff(times - 1) if times > 1 else timedelta()),
        )  # fmt: skip
        self.launch(runtime)

    def explain(self, seen: Observed, lines: tuple[str, ...]) -> tuple[str, str, ExitVerdict]:
        """Reason and message of an exit, by the cluster if it knows, and what the adapter thinks of it."""
        verdict = plans.adapter_of(self.portal, self.row).explain_exit(seen.exit_code, seen.exit_signal, lines)
        return seen.reason or verdict.reason, seen.message or verdict.message, verdict

    def tell_exit(self, seen: Observed, reason: str, message: str, lines: tuple[str, ...], times: int = 1) -> None:
        event_log.record(
            self.portal, "instance.exited", actor=SYSTEM, instance=self.row, level="warning", reason=reason, message=message,
            data={
                "exit_code": seen.exit_code, "signal": seen.exit_signal, "lines": list(lines),
                **({"times": times} if times > 1 else {}),
            },
        )  # fmt: skip

    def stay_down(self, seen: Observed, reason: str, message: str, lines: tuple[str, ...]) -> None:
        if seen.exit_code != 0:
            raise GiveUp(reason, message, "The restart policy says not to restart it; start it when the cause is mended.", lines)
        self.write(
            Phase.STOPPED, reason="Completed", incarnation="", message="The claw ended; its restart policy leaves it so.",
            health=HealthState.UNKNOWN, sync=Sync.SYNCED, observed_generation=self.generation, restarts_done=self.restarts,
        )  # fmt: skip
        self.close(SUCCEEDED, message="Completed")
        self.rest()

    def back_off(self, seen: Observed, reason: str, message: str) -> None:
        ran = (seen.exited_at or clock.now()) - (self.row.started_at or clock.now())
        crashes = 1 if ran > lifecycle.STABLE_AFTER else self.row.crashes + 1
        delay = lifecycle.backoff(crashes, random.random() * 0.1)
        looping = crashes >= lifecycle.CRASH_LOOP_AFTER
        words = f"{message} It is started again in {delay.total_seconds():.0f} s"
        words += f"; {crashes} exits in a row." if looping else "."
        self.write(
            Phase.STARTING, reason="CrashLoop" if looping else reason, message=words, health=HealthState.UNHEALTHY,
            next_action="Read its log, correct the cause and restart it." if looping else "", incarnation="", crashes=crashes,
            not_before=clock.now() + delay, observed_generation=self.generation, turn_at=None,
            phase_deadline=clock.now() + delay + lifecycle.DEADLINES[Phase.STARTING],
            conditions=self.condition("Healthy", False, reason, message),
        )  # fmt: skip
        if looping:
            self.close(FAILED, error=words)
        self.rest(after=delay.total_seconds())

    # ---- towards stopped and gone

    def halt(self) -> None:
        runtime = self.runtime()
        if self.down(runtime):
            self.write(
                Phase.STOPPED, sync=Sync.SYNCED, health=HealthState.UNKNOWN, reason="Stopped", incarnation="", crashes=0,
                message="Stopped; its data is kept.", observed_generation=self.generation, restarts_done=self.restarts,
                not_before=None, attempts=0, next_action=lifecycle.NEXT_ACTION[Phase.STOPPED],
            )  # fmt: skip
            self.close(SUCCEEDED, message="Stopped")
            self.rest()

    def delete(self) -> None:
        runtime = self.runtime()
        if self.row.phase not in (Phase.DELETING, Phase.STOPPING):
            self.write(Phase.DELETING, reason="Deleting", message="Ending the claw before its data is removed.")
        if not self.down(runtime):
            return
        self.write(Phase.DELETING, reason="Removing", message="Removing its files.")
        runtime.remove(plans.ref_of(self.row), keep_data=self.row.keep_data)
        with transaction():
            ports.release(self.row.id)
            secrets.forget(self.row.id)
            kept = " Its data was kept." if self.row.keep_data else ""
            self.write(
                Phase.DESTROYED, sync=Sync.SYNCED, health=HealthState.UNKNOWN, reason="Deleted", message=f"Deleted.{kept}",
                observed_generation=self.generation, destroyed_at=clock.now(), workload=None, lease_holder="",
            )  # fmt: skip
            self.close(SUCCEEDED, message="Deleted")

    def down(self, runtime: Runtime) -> bool:
        """Whether it has ended; asks it to, and insists when it does not."""
        ref = plans.ref_of(self.row)
        seen = runtime.inspect(ref)
        if seen.state is RunState.UNKNOWN and not (self.row.kill_wanted and seen.reason):
            raise nobody_knows(seen)  # a kill may be meant for just that, where the place itself answers
        if seen.state not in HELD:
            return True
        if self.row.kill_wanted and not (self.row.reason == "Killing" and self.overdue()):
            if self.row.phase != Phase.STOPPING or self.row.reason != "Killing":
                self.write(Phase.STOPPING, reason="Killing", message="Ending the whole process tree.")
            runtime.kill(ref)
        elif self.row.phase == Phase.STOPPING and self.overdue():
            log.warning("instance %s did not end in time and is killed", self.row.id)
            self.insist(runtime)
        else:
            if self.row.phase != Phase.STOPPING:
                self.write(Phase.STOPPING, reason="Stopping", message="Asked the claw to end.")
            runtime.stop(ref, self.grace())
        return self.await_exit(runtime)

    def await_exit(self, runtime: Runtime) -> bool:
        end, pause = time.monotonic() + QUICK_LOOK, 0.02
        while time.monotonic() < end:
            if runtime.inspect(plans.ref_of(self.row)).state not in HELD:
                return True
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
        self.rest(after=0.4)
        return False

    # ---- how a pass ends

    def retry(self, later: Retry) -> None:
        """Something does not work now; say so and try again, until the phase's deadline."""
        try:
            self.check_deadline(later)
            attempts = self.row.attempts + 1
            delay = later.delay or lifecycle.backoff(min(attempts, 7), random.random() * 0.2)
            told: dict[str, Any] = {"sync": Sync.PROGRESSING} if self.fresh else {}
            if later.reason.startswith(_SILENT):
                told = {"sync": Sync.UNKNOWN, "health": HealthState.UNKNOWN}
            if self.row.phase == Phase.PENDING and self.row.phase_deadline is None:  # counts from the first look
                told["phase_deadline"] = clock.now() + lifecycle.DEADLINES[Phase.PENDING]
            if self.row.turn_at is not None and not self.row.incarnation:
                told["turn_at"] = None  # whoever cannot start now must not keep others from it
            self.write(self.row.phase, reason=later.reason, message=str(later), next_action=AGAIN, attempts=attempts, **told)
            self.rest(after=self.until_again(later, delay.total_seconds()))
        except LeaseLost:
            log.info("instance %s: taken over by another worker", self.row.id)
        except GiveUp as verdict:
            self.fail(verdict)

    def until_again(self, later: Retry, seconds: float) -> float:
        """While its cluster is silent, a claw that has nothing pending is left alone: the cluster's return hints it."""
        settled = self.row.phase not in lifecycle.TRANSITIONAL and not self.fresh
        silent = later.reason.startswith(("Cluster", "Runtime")) and self.cluster().health == UNREACHABLE
        return lifecycle.LONGEST_BACKOFF * (1 + random.random()) if settled and silent else seconds

    def fail(self, verdict: GiveUp) -> None:
        try:
            self.write(
                Phase.FAILED, sync=Sync.OUT_OF_SYNC, health=HealthState.UNHEALTHY, reason=verdict.reason, message=str(verdict),
                next_action=verdict.remedy or lifecycle.NEXT_ACTION[Phase.FAILED], observed_generation=self.generation,
                restarts_done=self.restarts, incarnation="", not_before=None, attempts=0,
                conditions=self.condition("Healthy", False, verdict.reason, str(verdict)), event_lines=verdict.lines,
            )  # fmt: skip
            self.close(FAILED, error=str(verdict), lines=verdict.lines)
            self.rest(after=None if self.row.desired == Desired.RUNNING else GO_ON_EVERY.total_seconds())
        except LeaseLost:
            log.info("instance %s: taken over by another worker", self.row.id)

    def check_deadline(self, cause: Retry | GiveUp | None = None) -> None:
        if self.overdue():
            phase = self.row.phase
            why = f": {cause}" if cause else "."
            raise GiveUp(
                f"{phase.capitalize()}TimedOut",
                f"{phase.capitalize()} took longer than it may{why}",
                "Correct the cause, then start it again.",
            )

    def overdue(self, by: timedelta = timedelta()) -> bool:
        """Whether the phase took longer than it may. Just after a clock jump nobody can tell: deadlines move along soon."""
        deadline = self.row.phase_deadline
        return deadline is not None and clock.now() > deadline + by and not clock.jumped()

    def rest(self, after: float | None = None) -> None:
        """Release the instance, due again in `after` seconds; None: when something changes."""
        with transaction() as after_commit:
            row = self._reload()
            newer = row.generation != self.generation
            delay = 0.0 if newer else after
            row.due_at = None if delay is None else clock.now() + timedelta(seconds=delay)
            row.lease_holder, row.lease_until = "", None
            if delay is not None:
                rank = ASKED if self.fresh or row.turn_at is not None else rank_of(row.priority)
                after_commit(
                    lambda: self.portal.dispatcher.hint(row.id, delay, rank=rank, cluster=row.cluster_id, tenant=row.tenant_id)
                )

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
            for name, value in observed.items():
                setattr(row, name, value)
            if phase != Phase.RUNNING and row.health == HealthState.HEALTHY:  # what does not run cannot be well
                row.health = HealthState.STARTING if phase == Phase.STARTING else HealthState.UNKNOWN
            row.lease_until = row.due_at = None if row.destroyed_at else clock.now() + LEASE
            if had_turn and row.turn_at is None:
                after_commit(start_limiter.call_next, self.portal, row.cluster_id)
            if told:
                self._tell(row, event_lines)
            elif shown:
                after_commit(self.portal.publish, _shown_event(row))
            db.session.flush()
        if moved and phase in _PROGRESS:
            operations.advance_for_instance(self.portal, self.row, _PROGRESS[Phase(phase)], self.row.message)

    def _enter(self, row: Instance, phase: Phase) -> None:
        limit = lifecycle.deadline_for(phase, startup_seconds=self._startup(row), stop_grace=self.grace())
        row.phase, row.phase_since = phase, clock.now()
        row.phase_deadline = clock.now() + limit if limit else None
        row.next_action = lifecycle.NEXT_ACTION[phase]
        if phase not in (Phase.CREATING, Phase.STARTING):
            row.turn_at = None
        if phase in lifecycle.TRANSITIONAL:
            row.sync = Sync.PROGRESSING
        if phase in lifecycle.ENDING:  # what was seen of the one that runs does not hold any more
            row.health = HealthState.UNKNOWN
            row.conditions = [entry for entry in row.conditions if entry["type"] not in _OF_WHAT_RUNS]

    def _startup(self, row: Instance) -> float:
        adapter = self.portal.registry.adapters.get(row.adapter)
        return adapter.startup_seconds if adapter else 180.0

    def grace(self) -> float:
        return float((self.row.workload or {}).get("stop_grace", 20.0))

    def _tell(self, row: Instance, lines: tuple[str, ...]) -> None:
        level = (
            "error"
            if row.phase == Phase.FAILED
            else "warning"
            if row.sync == Sync.OUT_OF_SYNC or row.reason == "CrashLoop"
            else "info"
        )
        event_log.record(
            self.portal, "instance.phase_changed", actor=SYSTEM, instance=row, level=level, reason=row.reason,
            message=row.message,
            data={"phase": row.phase, "sync": row.sync, "health": row.health} | ({"lines": list(lines)} if lines else {}),
        )  # fmt: skip

    def _reload(self) -> Instance:
        """The row as it is now, locked; LeaseLost when it is no longer ours."""
        query = select(Instance).where(Instance.id == self.row.id).with_for_update().execution_options(populate_existing=True)
        row = db.session.scalars(query).one_or_none()
        if row is None or row.lease_holder != self.holder:
            raise LeaseLost
        self.row = row
        return row

    def close(self, state: str, *, message: str = "", error: str = "", lines: tuple[str, ...] = ()) -> None:
        operations.close_for_instance(self.portal, self.row, self.generation, state, message=message, error=error, lines=lines)

    def condition(self, kind: str, status: bool, reason: str, message: str) -> list[dict[str, Any]]:
        """The conditions with one of them set; `since` stays while the status stays."""
        kept = [entry for entry in self.row.conditions if entry["type"] != kind]
        before = next((entry for entry in self.row.conditions if entry["type"] == kind), None)
        since = before["since"] if before and before["status"] == status else clock.now().isoformat()
        entry = {"type": kind, "status": status, "reason": reason, "message": message, "since": since}
        return sorted([*kept, entry], key=lambda item: str(item["type"]))

    def last_words(self, runtime: Runtime, *, previous: bool = False) -> tuple[str, ...]:
        try:
            found = runtime.logs(plans.ref_of(self.row), tail=LAST_WORDS, previous=previous)
            lines = [line.text for line in found if line is not None]
        except (OSError, Problem):
            return ()
        # they are kept in the open: a claw may have said its own token
        return secrets.masked(lines, self.secret_values().values())


_OF_WHAT_RUNS = frozenset({"Healthy", "Seen", PLACED, DRIFTED, config_pickup.CONDITION})
"""Conditions that speak of a claw that runs."""

_SHOWN = frozenset({"health", "sync", "reason", "message", "next_action", "restart_count", "conditions", "incarnation"})


def _shown_event(row: Instance) -> Any:
    from clawportal.contracts.events import Event

    return Event(0, "instance.observed", clock.now(), row.tenant_id, row.id, "info", row.reason, row.message, SYSTEM.name, {})


def _runs_again(crashes: int) -> str:
    return f"It runs and answers, but it ended by itself {crashes} times in a row before."


def ask(adapter: Adapter, io: plans.InstanceIO, context: Context) -> Health:
    """The adapter's opinion; a claw that does not answer is a finding, not an error."""
    try:
        health = adapter.health(io, context)
        # a claw's own words may stand in it, and each look is stored
        return replace(health, reason=health.reason[:80], message=health.message[:_MOST_WORDS])
    except (OSError, Problem) as error:
        return Health(HealthState.UNHEALTHY, "NoAnswer", f"The claw does not answer: {error}")
    except Exception as error:
        log.exception("adapter %s failed to ask for health", adapter.kind)
        return Health(HealthState.UNHEALTHY, "ProbeFailed", f"The adapter failed when it asked for health: {error!r}.")


def release_all(portal: Portal) -> None:
    """After a restart with the data folder to ourselves: all leases are of the dead, and everything is looked at once."""
    with transaction():
        db.session.execute(
            update(Instance).where(Instance.destroyed_at.is_(None)).values(lease_holder="", lease_until=None, due_at=clock.now())
        )


def release_of(holder: str) -> int:
    """What a process that is gone had taken is due at once, and not when its leases end. Returns how many there were.

    Should it only have slept, its passes notice with the next thing that they write.
    """
    with transaction():
        mine = Instance.lease_holder.startswith(f"{holder}:", autoescape=True)
        return changed_rows(
            update(Instance)
            .where(Instance.destroyed_at.is_(None), mine)
            .values(lease_holder="", lease_until=None, due_at=clock.now())
            .execution_options(synchronize_session=False)
        )


def shift_times(by: timedelta) -> int:
    """The clock jumped: move what is measured against it, so that no deadline passes or is put off by the jump alone."""
    columns = ("phase_deadline", "phase_since", "started_at", "not_before", "due_at", "lease_until")
    with transaction():
        rows = list(db.session.scalars(select(Instance).where(Instance.destroyed_at.is_(None))))
        for row in rows:
            for column in columns:
                value: datetime | None = getattr(row, column)
                if value is not None:
                    setattr(row, column, value + by)
    return len(rows)
