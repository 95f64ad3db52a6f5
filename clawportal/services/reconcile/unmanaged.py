"""One pass over an instance that somebody else made: seen as it is and, once it was adopted, started and ended as it is.

Nothing is planned, written or made anew: the portal does not know all that its maker put in.
"""

from __future__ import annotations

from typing import Any

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Observed, RunState, Runtime
from clawportal.errors import GiveUp, Retry
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.models.operations import SUCCEEDED
from clawportal.runtime_helpers import ALIVE
from clawportal.services.events import event_log
from clawportal.services.fleet import plans
from clawportal.services.reconcile.converge import APPLY_MAX, Pass

GONE = "Gone"
GONE_WORDS = "It no longer exists in its cluster."
GONE_REMEDY = "Forget it here. If another one took its place there, import that one."
_HEALTH = {True: HealthState.HEALTHY, False: HealthState.UNHEALTHY, None: HealthState.UNKNOWN}
_WELL = {
    HealthState.HEALTHY: "It runs, and its own check says that it is well.",
    HealthState.UNHEALTHY: "It runs, but its own check says that it is not well.",
    HealthState.UNKNOWN: "It runs. It has no check of its own that would say whether it is well.",
}
UNWELL = "Look into its log."


def news(row: Any, seen: Observed | None) -> bool:
    """Whether a cluster shows something else than its row says, beside what is looked at of every instance."""
    if seen is None:
        return bool(row.reason != GONE)
    return bool(row.phase == Phase.RUNNING and seen.state is RunState.RUNNING and row.health != _HEALTH[seen.healthy])


class GuestPass(Pass):
    def step(self) -> None:
        if self.row.managed:
            super().step()
        else:
            self.look()

    def seen(self, runtime: Runtime) -> Observed:
        found = runtime.inspect(plans.ref_of(self.row))
        if found.state is RunState.UNKNOWN:
            raise Retry("ClusterUnreachable", found.message or "The cluster does not answer.")
        return found

    # ---- only observed

    def look(self) -> None:
        """What it does is what is wanted of it: the portal wants nothing."""
        found = self.seen(self.runtime())
        if found.state is RunState.ABSENT:
            self.note(Phase.FAILED, Sync.OUT_OF_SYNC, GONE, GONE_WORDS, GONE_REMEDY)
        elif found.state is RunState.EXITED:
            self.tell_end(found)
            self.note(Phase.STOPPED, Sync.SYNCED, found.reason or "Exited", _ended(found))
        else:
            self.shown(found)

    def note(self, phase: Phase, sync: Sync, reason: str, message: str, remedy: str = "") -> None:
        self.write(
            phase, sync=sync, health=HealthState.UNKNOWN, reason=reason, message=message, next_action=remedy, incarnation="",
            desired=Desired.STOPPED, observed_generation=self.generation, restarts_done=self.restarts, attempts=0, conditions=[],
        )  # fmt: skip
        self.close(SUCCEEDED, message=message)
        self.rest()

    def tell_end(self, found: Observed) -> None:
        if self.row.phase != Phase.RUNNING or not self.row.incarnation:
            return
        level = "info" if found.exit_code == 0 else "warning"
        event_log.record(
            self.portal, "instance.exited", actor=SYSTEM, instance=self.row, level=level, reason=found.reason or "Exited",
            message=_ended(found), data={"exit_code": found.exit_code, "signal": found.exit_signal},
        )  # fmt: skip

    def shown(self, found: Observed) -> None:
        """It is there: as it is, and whether it was started again meanwhile."""
        again = bool(self.row.incarnation) and self.row.phase == Phase.RUNNING and found.incarnation != self.row.incarnation
        if again:
            event_log.record(
                self.portal, "instance.exited", actor=SYSTEM, instance=self.row, level="warning", reason="RestartedOutside",
                message=f"{self.row.name} was started again, and not by this portal.",
            )  # fmt: skip
        told: dict[str, Any] = {
            "incarnation": found.incarnation, "started_at": found.started_at or self.row.started_at,
            "restart_count": self.row.restart_count + again, "restarts_seen": found.restarts,
        }  # fmt: skip
        if not self.row.managed:
            told["desired"] = Desired.RUNNING
        if found.state is RunState.PENDING:
            self.write(Phase.STARTING, reason=found.reason or "Pending", message=found.message, phase_deadline=None, **told)
            return self.rest(after=2.0)
        health = _HEALTH[found.healthy]
        message = found.message or _WELL[health]
        # by our own note: the clock of the place may be another
        stable = self.row.phase == Phase.RUNNING and clock.now() - self.row.phase_since > lifecycle.STABLE_AFTER
        self.write(
            Phase.RUNNING, sync=Sync.SYNCED, health=health, reason=found.reason or "Running", message=message,
            next_action=UNWELL if health is HealthState.UNHEALTHY else "", observed_generation=self.generation, attempts=0,
            applied_generation=self.generation,
            restarts_done=self.restarts, not_before=None, crashes=0 if stable else self.row.crashes, turn_at=None,
            conditions=self.check(health, message), **told,
        )  # fmt: skip
        self.close(SUCCEEDED, message="Running")
        self.rest(after=lifecycle.STABLE_AFTER.total_seconds() + 1 if self.row.crashes else None)

    def check(self, health: HealthState, message: str) -> list[dict[str, Any]]:
        """One thing is known of it: what its own check says or, without one, that it runs."""
        kind = "Seen" if health is HealthState.UNKNOWN else "Healthy"
        return [entry for entry in self.condition(kind, health is not HealthState.UNHEALTHY, "Checked", message)
                if entry["type"] == kind]  # fmt: skip

    # ---- adopted

    def run(self) -> None:
        runtime = self.runtime()
        found = self.seen(runtime)
        if found.state is RunState.ABSENT:
            raise _gone()
        if found.state in ALIVE:
            if self.row.phase == Phase.STOPPING or self.restarts > self.row.restarts_done:
                return self.end_for(runtime, "Restarting", "Ending the old process before the restart.")
            return self.shown(found)
        if self.row.phase in (Phase.FAILED, Phase.STOPPED) and not self.fresh:
            if self.row.sync == Sync.UNKNOWN:  # the cluster did not answer for a while
                self.write(self.row.phase, sync=Sync.SYNCED if self.row.phase == Phase.STOPPED else Sync.OUT_OF_SYNC)
            return self.rest()
        if self.exited_by_itself(found):
            return self.after_exit(runtime, found)
        self.launch(runtime)

    def launch(self, runtime: Runtime) -> None:
        """Start it as it is."""
        self.wait_for_backoff()
        self.wait_for_turn()
        self.give_way()
        self.write(
            Phase.STARTING, reason="Starting", message="Starting the claw.", health=HealthState.STARTING, incarnation="",
            crashes=0 if self.fresh else self.row.crashes,
        )  # fmt: skip
        self.hold(APPLY_MAX)
        found = runtime.resume(plans.ref_of(self.row))
        again = self.row.restart_count + self.starts_again
        self.write(
            Phase.STARTING, incarnation=found.incarnation, started_at=found.started_at or clock.now(), restart_count=again,
            restarts_done=self.restarts, restarts_seen=found.restarts,
        )  # fmt: skip
        if found.state in ALIVE:
            return self.shown(found)
        self.rest(after=0.0)  # it ended at once: the next pass says so

    def halt(self) -> None:
        if self.seen(self.runtime()).state is RunState.ABSENT:
            raise _gone()
        super().halt()

    def grace(self) -> float:
        return 20.0


def _gone() -> GiveUp:
    return GiveUp(GONE, GONE_WORDS, GONE_REMEDY)


def _ended(found: Observed) -> str:
    if found.message:
        return found.message
    if found.exit_signal:
        return f"It was ended by signal {found.exit_signal}."
    return f"It ended with code {found.exit_code}." if found.exit_code is not None else "It ended with an unknown code."
