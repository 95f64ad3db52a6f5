"""After an end that nobody asked for: find out why, tell, and start again later, stay down or fail."""

from __future__ import annotations

import random

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import HealthState
from clawportal.errors import GiveUp
from clawportal.lifecycle import Phase, Sync
from clawportal.messages import Message, _m, _n
from clawportal.models.operations import FAILED, SUCCEEDED
from clawportal.runtime_helpers import ALIVE
from clawportal.services.fleet import plans
from clawportal.services.reconcile.passes import ENDED, Ended, Pass
from clawportal.services.reconcile.steps.last_words import last_words

LOOP_REMEDY = _m("Read its log, correct the cause and restart it.")
_AGAIN = _n("%(message)s It is started again in %(seconds)s s.")
_AGAIN_LOOPING = _n("%(message)s It is started again in %(seconds)s s; %(crashes)s exits in a row.")
POLICY_REMEDY = _m("The restart policy says not to restart it; start it when the cause is mended.")


def learn(work: Pass) -> None:
    """Reason and message by the cluster if it knows them, and what the adapter thinks of it."""
    seen = work.seen
    in_place = seen.state in ALIVE
    lines = last_words(work, previous=in_place and "logs.previous" in work.runtime.capabilities)
    verdict = plans.adapter_of(work.portal, work.row).explain_exit(seen.exit_code, seen.exit_signal, lines)
    ended = Ended(seen.reason or verdict.reason, seen.message or verdict.message, verdict, lines)
    times = seen.restarts - work.row.restarts_seen if in_place else 1
    work.record(
        "instance.exited", ended.reason, ended.message, level="warning",
        data={
            "exit_code": seen.exit_code, "signal": seen.exit_signal, "lines": list(lines),
            **({"times": times} if times > 1 else {}),
        },
    )  # fmt: skip
    work.learnt.ended = ended


def count_restart(work: Pass) -> None:
    """Its cluster started it again by itself."""
    ended, seen, row = _ended(work), work.seen, work.row
    again = seen.restarts - row.restarts_seen
    ran = clock.now() - (row.started_at or clock.now())
    crashes = again if ran > lifecycle.STABLE_AFTER else row.crashes + again
    looping = crashes >= lifecycle.CRASH_LOOP_AFTER
    work.write(
        Phase.STARTING,
        reason=_n("CrashLoop") if looping else ended.reason,
        message=_m("%(message)s Its cluster started it again.", message=ended.message),
        next_action=LOOP_REMEDY if looping else "",
        crashes=crashes,
        health=HealthState.STARTING,
        incarnation=seen.incarnation,
        started_at=seen.started_at or clock.now(),
        restart_count=row.restart_count + again,
        restarts_seen=seen.restarts,
    )


def back_off(work: Pass) -> None:
    """It is started again, each time later."""
    ended, seen = _ended(work), work.seen
    ran = (seen.exited_at or clock.now()) - (work.row.started_at or clock.now())
    crashes = 1 if ran > lifecycle.STABLE_AFTER else work.row.crashes + 1
    delay = lifecycle.backoff(crashes, random.random() * 0.1)
    looping = crashes >= lifecycle.CRASH_LOOP_AFTER
    values = {"message": ended.message, "seconds": f"{delay.total_seconds():.0f}", "crashes": crashes}
    words = Message(_AGAIN_LOOPING if looping else _AGAIN, values)
    work.write(
        Phase.STARTING, reason=_n("CrashLoop") if looping else ended.reason, message=words, health=HealthState.UNHEALTHY,
        next_action=LOOP_REMEDY if looping else "", incarnation="", crashes=crashes, not_before=clock.now() + delay,
        observed_generation=work.generation, turn_at=None,
        phase_deadline=clock.now() + delay + lifecycle.DEADLINES[Phase.STARTING],
        conditions=work.condition(_n("Healthy"), False, ended.reason, ended.message),
    )  # fmt: skip
    if looping:
        work.close(FAILED, error=words)
    work.rest(after=delay.total_seconds())


def stay_down(work: Pass) -> None:
    """Its restart policy leaves it so: it completed, or it failed."""
    good, reason, message, lines = _kept(work)
    if not good:
        raise GiveUp(reason, message, POLICY_REMEDY, lines)
    work.write(
        Phase.STOPPED, reason=_n("Completed"), incarnation="", message=_m("The claw ended; its restart policy leaves it so."),
        health=HealthState.UNKNOWN, sync=Sync.SYNCED, observed_generation=work.generation, restarts_done=work.restarts,
    )  # fmt: skip
    work.close(SUCCEEDED, message=_m("Completed"))
    work.rest()


def fail(work: Pass) -> None:
    """Another start would end in the same way."""
    ended = _ended(work)
    raise GiveUp(ended.reason, ended.message, ended.verdict.remedy, ended.lines)


def _ended(work: Pass) -> Ended:
    if work.learnt.ended is None:
        raise RuntimeError("nobody knows how it ended")
    return work.learnt.ended


def _kept(work: Pass) -> tuple[bool, str, str, tuple[str, ...]]:
    """How it ended: whether well, why, and its last words; from the note where the portal had to end it once more."""
    if entry := work.stored_condition(ENDED):
        return bool(entry["status"]), entry["reason"], entry["message"], work.learnt.ended.lines if work.learnt.ended else ()
    ended = _ended(work)
    return work.seen.exit_code == 0, ended.reason, ended.message, ended.lines
