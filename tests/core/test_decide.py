"""The decision of a pass as a table: every combination that can be is matched by a rule, and comes out as the rule says.

A rule gives values of the axes that it speaks of, and holds whatever the others are. Rules have no order: where several match,
all of them have to be right. Beside the table stand the promises that no combination may break.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawportal.contracts.adapters import HealthState
from clawportal.contracts.runtimes import RunState
from clawportal.lifecycle import Desired, Phase
from clawportal.services.reconcile.converge import MOST_STEPS
from clawportal.services.reconcile.decide import decide
from clawportal.services.reconcile.facts import (
    KILL_LIMIT,
    KILLING,
    PLACE_LIMIT,
    WAITING,
    Config,
    Drift,
    Exit,
    Observation,
    Ownership,
    Pickup,
    Step,
    Storage,
    Wanted,
)
from clawportal.services.reconcile.steps import STEPS

Point = Mapping[str, Any]
"""One combination: a value for each axis."""

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOTH = (False, True)
ALIVE, DOWN = (RunState.RUNNING, RunState.PENDING), (RunState.EXITED, RunState.ABSENT)
HELD = (*ALIVE, RunState.UNKNOWN)
OURS, ADOPTED, OBSERVED = Ownership
IN_TIME, LATE = ("in time", "unsure"), ("late", "hopeless")

AXES: dict[str, tuple[Any, ...]] = {
    "desired": tuple(Desired),
    "ownership": tuple(Ownership),
    "changed": BOTH,
    "restart": BOTH,
    "kill": BOTH,
    "keep_data": BOTH,
    "policy": ("always", "on-failure", "never"),
    "phase": tuple(phase for phase in Phase if phase is not Phase.DESTROYED),
    "reason": ("", KILLING, WAITING),
    "started": BOTH,
    # the deadline of the phase; unsure: it is over by a clock that has just jumped
    "deadline": ("in time", "late", "hopeless", "unsure"),
    "backs_off": BOTH,
    "ends_by_policy": BOTH,
    "long_unplaced": BOTH,
    "state": (None, *RunState),
    "explained": BOTH,
    "same_start": BOTH,
    "in_place": BOTH,
    "exit_code": (0, 1, None),
    "adapter": BOTH,
    "config": tuple(Config),
    "change": (None, "none", "hot", "call", "restart"),
    "pickup": tuple(Pickup),
    "drift": tuple(Drift),
    "placed": BOTH,
    "exit": tuple(Exit),
    "installed": (None, False, True),
    "turn": (None, False, True),
    "health": (None, *HealthState),
    "storage": tuple(Storage),
    "applied": BOTH,
    "ended": BOTH,
}
USUAL: Point = {
    **{axis: values[0] for axis, values in AXES.items()},
    "phase": Phase.RUNNING, "started": True, "state": RunState.RUNNING, "same_start": True, "adapter": True,
    "config": Config.CURRENT, "placed": True, "installed": True, "turn": True,
}  # fmt: skip


def can_be(point: Point) -> bool:
    return not point["ends_by_policy"] or (point["phase"] is Phase.STOPPING and point["ownership"] is OURS)


def decided(point: Point) -> Step:
    over = {"in time": timedelta(minutes=1), "late": -KILL_LIMIT / 2, "hopeless": -2 * KILL_LIMIT, "unsure": -2 * KILL_LIMIT}
    observed = Observation(
        point["phase"], reason=point["reason"], started=point["started"], clock_jumped=point["deadline"] == "unsure",
        phase_since=NOW - 2 * PLACE_LIMIT if point["long_unplaced"] else NOW, deadline=NOW + over[point["deadline"]],
        not_before=NOW + timedelta(seconds=9) if point["backs_off"] else NOW - timedelta(seconds=9),
        ends_by_policy=point["ends_by_policy"], state=point["state"], explained=point["explained"],
        same_start=point["same_start"], restarted_in_place=point["in_place"], exit_code=point["exit_code"],
        adapter_loaded=point["adapter"], config=point["config"], change=point["change"], pickup=point["pickup"],
        drift=point["drift"], placed=point["placed"], exit=point["exit"], installed=point["installed"], turn=point["turn"],
        health=point["health"], storage=point["storage"], just_applied=point["applied"], just_ended=point["ended"],
    )  # fmt: skip
    wanted = Wanted(
        point["desired"], changed=point["changed"], restart=point["restart"], kill=point["kill"], keep_data=point["keep_data"],
        restart_policy=point["policy"], ownership=point["ownership"],
    )  # fmt: skip
    return decide(observed, wanted, NOW)


# ---- the rules


@dataclass(frozen=True)
class Rule:
    step: Step
    given: Mapping[str, tuple[Any, ...]]
    where: tuple[Callable[[Point], bool], ...] = ()

    def matches(self, point: Point) -> bool:
        return all(point[axis] in values for axis, values in self.given.items()) and all(test(point) for test in self.where)


class Case:
    """Some axes with the values they may have; `case(...)` narrows it, `>>` names the step that follows from it."""

    def __init__(self, given: Mapping[str, tuple[Any, ...]], where: tuple[Callable[[Point], bool], ...] = ()) -> None:
        self.given, self.where = given, where

    def __call__(self, *where: Callable[[Point], bool], **values: Any) -> Case:
        given = dict(self.given)
        for axis, value in values.items():
            allowed = value if isinstance(value, tuple) else (value,)
            given[axis] = tuple(item for item in given.get(axis, AXES[axis]) if item in allowed)
        return Case(given, (*self.where, *where))

    def __rshift__(self, step: Step) -> Rule:
        return Rule(step, self.given, self.where)


def other(axis: str, *values: Any) -> tuple[Any, ...]:
    return tuple(value for value in AXES[axis] if value not in values)


def settled(p: Point) -> bool:
    """It failed or completed, and nothing else is wanted."""
    return p["phase"] in (Phase.FAILED, Phase.STOPPED) and not p["changed"]


def left_down(p: Point) -> bool:
    """Its policy leaves it down, and nobody wants anything else."""
    return p["ends_by_policy"] and not p["changed"] and not p["restart"]


def by_itself(p: Point) -> bool:
    """What ended, ended although nobody asked for that."""
    return p["phase"] in (Phase.STARTING, Phase.RUNNING) and p["started"] and not p["restart"]


def again(p: Point) -> bool:
    """The restart policy asks for another start."""
    return p["policy"] == "always" or (p["policy"] == "on-failure" and p["exit_code"] != 0)


def no(test: Callable[[Point], bool]) -> Callable[[Point], bool]:
    return lambda point: not test(point)


def killed_in_vain(p: Point) -> bool:
    return p["reason"] == KILLING and p["deadline"] in LATE


def asking(case: Case, step: Step) -> list[Rule]:
    """It is asked to end as long as there is time, then killed, and at last given up."""
    stopping = case(phase=Phase.STOPPING)
    return [
        case(phase=other("phase", Phase.STOPPING)) >> step,
        stopping(deadline=IN_TIME) >> step,
        stopping(deadline="late") >> Step.FORCE_KILL,
        stopping(deadline="hopeless") >> Step.FAIL_STOP,
    ]


def ending(case: Case, done: Step) -> list[Rule]:
    """It is to end, whoever made it."""
    unknown = case(state=RunState.UNKNOWN)
    killable = [case(state=ALIVE), unknown(explained=True)]
    return [
        case(state=None) >> Step.LOOK,
        unknown(kill=False) >> Step.WAIT_FOR_CLUSTER,
        unknown(explained=False) >> Step.WAIT_FOR_CLUSTER,
        *(held(no(killed_in_vain), kill=True) >> Step.KILL for held in killable),
        *(rule for held in killable for rule in asking(held(killed_in_vain, kill=True), Step.STOP)),
        *asking(case(state=ALIVE, kill=False), Step.STOP),
        case(state=DOWN) >> done,
    ]


def deleting() -> list[Rule]:
    case = Case({})(desired=Desired.DELETED, ownership=(OURS, ADOPTED))
    ends = case(phase=(Phase.DELETING, Phase.STOPPING))
    return [
        case(phase=other("phase", Phase.DELETING, Phase.STOPPING)) >> Step.ANNOUNCE_DELETE,
        *ending(ends(keep_data=True), Step.REMOVE_KEEPING_DATA),
        *ending(ends(keep_data=False), Step.REMOVE_WITH_DATA),
    ]


def stopping() -> list[Rule]:
    ours, adopted = Case({})(desired=Desired.STOPPED, ownership=OURS), Case({})(desired=Desired.STOPPED, ownership=ADOPTED)
    return [
        *ending(ours, Step.NOTE_STOPPED),
        *ending(adopted(state=other("state", RunState.ABSENT)), Step.NOTE_STOPPED),
        *ending(adopted(state=RunState.ABSENT, ended=True), Step.NOTE_STOPPED),
        *ending(adopted(state=RunState.ABSENT, applied=True), Step.NOTE_STOPPED),
        adopted(state=RunState.ABSENT, ended=False, applied=False) >> Step.FAIL_GONE,
    ]


def health(case: Case) -> list[Rule]:
    """The right thing runs: is it well?"""
    pending, runs = case(state=RunState.PENDING), case(state=RunState.RUNNING)
    asked = runs(placed=True)
    unwell = asked(phase=other("phase", Phase.RUNNING), health=other("health", None, HealthState.HEALTHY))
    starting = unwell(phase=Phase.STARTING, deadline=LATE)
    return [
        pending(phase=Phase.STARTING, long_unplaced=True, deadline=other("deadline", "unsure")) >> Step.FAIL_PLACE,
        pending(phase=Phase.STARTING, long_unplaced=True, deadline="unsure") >> Step.AWAIT_PLACE,
        pending(long_unplaced=False) >> Step.AWAIT_PLACE,
        pending(phase=other("phase", Phase.STARTING)) >> Step.AWAIT_PLACE,
        runs(placed=False) >> Step.NOTE_PLACED,
        asked(health=None) >> Step.ASK_HEALTH,
        *(
            well(storage=found) >> step
            for well in (asked(health=HealthState.HEALTHY), asked(phase=Phase.RUNNING, health=other("health", None)))
            for found, step in (
                (Storage.UNKNOWN, Step.CHECK_STORAGE),
                (Storage.FINE, Step.MARK_HEALTHY),
                (Storage.FAR_OVER, Step.FAIL_STORAGE),
            )
        ),
        starting(health=HealthState.DEGRADED) >> Step.MARK_HEALTHY,
        starting(health=other("health", None, HealthState.HEALTHY, HealthState.DEGRADED)) >> Step.FAIL_START,
        unwell(phase=other("phase", Phase.RUNNING, Phase.STARTING)) >> Step.WAIT_READY,
        unwell(deadline=IN_TIME) >> Step.WAIT_READY,
    ]


def keeping(case: Case) -> list[Rule]:
    """It runs, and is meant to."""
    in_place = case(by_itself, in_place=True)
    kept = case(lambda p: not (p["in_place"] and by_itself(p)), phase=other("phase", Phase.STOPPING))
    usable = kept(config=(Config.CURRENT, Config.ACCEPTED))
    mine = usable(restart=False, same_start=True)
    accepted, current = mine(config=Config.ACCEPTED), mine(config=Config.CURRENT)
    read = current(pickup=Pickup.DONE)
    return [
        *asking(case(phase=Phase.STOPPING), Step.STOP_TO_RESTART),
        in_place(exit=Exit.UNKNOWN) >> Step.LEARN_EXIT,
        in_place(again, exit=other("exit", Exit.UNKNOWN)) >> Step.COUNT_RESTART,
        in_place(no(again), exit=other("exit", Exit.UNKNOWN)) >> Step.STOP_BY_POLICY,
        kept(config=Config.UNKNOWN) >> Step.PLAN,
        kept(config=Config.NEW) >> Step.CHECK,
        kept(config=Config.REFUSED) >> Step.REFUSE,
        *health(kept(config=Config.REFUSED_BEFORE)),
        usable(restart=True) >> Step.STOP_TO_RESTART,
        usable(restart=False, same_start=False) >> Step.NOTE_START,
        accepted(change=None) >> Step.COMPARE,
        accepted(change=("none", "call")) >> Step.NOTE_CONFIG,
        accepted(change="hot") >> Step.UPDATE_FILES,
        accepted(change="restart") >> Step.STOP_TO_RECONFIGURE,
        current(pickup=Pickup.WAITING) >> Step.AWAIT_PICKUP,
        current(pickup=Pickup.MISSED) >> Step.STOP_TO_RECONFIGURE,
        read(drift=Drift.SEEN) >> Step.NOTE_DRIFT,
        read(drift=Drift.REPAIRABLE) >> Step.REPAIR_DRIFT,
        read(drift=Drift.GONE) >> Step.NOTE_DRIFT_GONE,
        *health(read(drift=(Drift.NONE, Drift.STANDS))),
    ]


def exits(case: Case) -> list[Rule]:
    return [
        case(exit=Exit.UNKNOWN) >> Step.LEARN_EXIT,
        case(exit=Exit.FINAL) >> Step.FAIL_EXIT,
        case(again, exit=Exit.TRANSIENT) >> Step.BACK_OFF,
        case(no(again), exit=Exit.TRANSIENT) >> Step.STAY_DOWN,
    ]


def turns(case: Case) -> list[Rule]:
    refused = case(turn=False)
    queued = refused(phase=Phase.CREATING, reason=WAITING)
    return [
        case(turn=None) >> Step.TAKE_TURN,
        queued(deadline=LATE) >> Step.FAIL_OVERDUE,
        queued(deadline=IN_TIME) >> Step.QUEUE,
        refused(phase=other("phase", Phase.CREATING)) >> Step.QUEUE,
        refused(reason=other("reason", WAITING)) >> Step.QUEUE,
    ]


def starting(case: Case) -> list[Rule]:
    due = [case(adapter=True, backs_off=False), case(adapter=True, changed=True)]
    rules = [
        case(adapter=False) >> Step.FAIL_ADAPTER_MISSING,
        case(adapter=True, backs_off=True, changed=False) >> Step.WAIT_BACKOFF,
    ]
    for may in due:
        rules += [
            may(installed=None) >> Step.FIND_SOFTWARE,
            may(installed=False, deadline=LATE) >> Step.FAIL_OVERDUE,
            may(installed=False, deadline=IN_TIME) >> Step.INSTALL,
            *turns(may(installed=True)),
            may(installed=True, turn=True, config=Config.UNKNOWN) >> Step.CREATE,
            may(installed=True, turn=True, config=Config.NEW) >> Step.CHECK_START,
            may(installed=True, turn=True, config=other("config", Config.UNKNOWN, Config.NEW)) >> Step.START,
        ]
    return rules


def running() -> list[Rule]:
    """The portal made it, and it is meant to run."""
    case = Case({})(desired=Desired.RUNNING, ownership=OURS)
    found = case(applied=False)
    rests, goes = found(settled), found(no(settled), no(left_down))
    down = goes(state=DOWN)
    gone = down(by_itself, state=RunState.ABSENT)
    return [
        case(state=None) >> Step.LOOK,
        *health(case(applied=True)),
        case(applied=True, state=(*DOWN, RunState.UNKNOWN)) >> Step.LOOK_AGAIN,
        found(state=RunState.UNKNOWN) >> Step.WAIT_FOR_CLUSTER,
        rests(state=ALIVE) >> Step.KILL_REMAINS,
        rests(state=DOWN) >> Step.SETTLE,
        *ending(found(left_down, no(settled), state=(*ALIVE, *DOWN)), Step.STAY_DOWN),
        *keeping(goes(state=ALIVE)),
        gone(policy="never") >> Step.FAIL_REMOVED,
        gone(policy=other("policy", "never")) >> Step.REMAKE,
        *exits(down(by_itself, state=RunState.EXITED)),
        *starting(down(no(by_itself))),
    ]


def running_as_it_is() -> list[Rule]:
    """Somebody else made it, it was adopted, and it is meant to run."""
    case = Case({})(desired=Desired.RUNNING, ownership=ADOPTED)
    found = case(applied=False)
    alive, down = found(state=ALIVE), found(lambda p: p["state"] is RunState.EXITED or p["ended"], state=DOWN)
    goes = down(no(settled))
    due = [goes(no(by_itself), backs_off=False), goes(no(by_itself), changed=True)]
    return [
        case(state=None) >> Step.LOOK,
        case(applied=True, state=ALIVE) >> Step.SHOW,
        case(applied=True, state=(*DOWN, RunState.UNKNOWN)) >> Step.LOOK_AGAIN,
        found(state=RunState.UNKNOWN) >> Step.WAIT_FOR_CLUSTER,
        found(state=RunState.ABSENT, ended=False) >> Step.FAIL_GONE,
        *asking(alive(phase=Phase.STOPPING), Step.STOP_TO_RESTART),
        alive(phase=other("phase", Phase.STOPPING), restart=True) >> Step.STOP_TO_RESTART,
        alive(phase=other("phase", Phase.STOPPING), restart=False) >> Step.SHOW,
        down(settled) >> Step.SETTLE,
        *exits(goes(by_itself)),
        goes(no(by_itself), backs_off=True, changed=False) >> Step.WAIT_BACKOFF,
        *(rule for may in due for rule in turns(may)),
        *(may(turn=True) >> Step.RESUME for may in due),
    ]


def observing() -> list[Rule]:
    """Somebody else made it, and the portal only looks."""
    case = Case({})(ownership=OBSERVED)
    return [
        case(state=None) >> Step.LOOK,
        case(state=RunState.UNKNOWN) >> Step.WAIT_FOR_CLUSTER,
        case(state=ALIVE) >> Step.SHOW,
        case(state=RunState.EXITED) >> Step.NOTE_EXITED,
        case(state=RunState.ABSENT) >> Step.NOTE_GONE,
    ]


RULES = [*deleting(), *stopping(), *running(), *running_as_it_is(), *observing()]
INDEX = ("desired", "ownership", "state", "phase", "config")
RULES_AT: dict[tuple[Any, ...], list[Rule]] = {
    values: [
        rule for rule in RULES
        if all(value in rule.given.get(axis, AXES[axis]) for axis, value in zip(INDEX, values, strict=True))
    ]
    for values in itertools.product(*(AXES[axis] for axis in INDEX))
}  # fmt: skip

# ---- the combinations

GROUPS: dict[str, dict[str, tuple[Any, ...]]] = {
    "what is wanted and what is seen": {
        "desired": (), "ownership": (), "phase": (), "state": (), "kill": (), "explained": (), "reason": (), "deadline": (),
        "keep_data": (), "applied": (),
    },
    "what ended": {
        "ownership": (OURS, ADOPTED), "state": DOWN, "phase": (), "changed": (), "restart": (), "started": (), "policy": (),
        "exit": (), "exit_code": (), "backs_off": (), "adapter": (), "ends_by_policy": (), "ended": (),
    },
    "on the way to a start": {
        "ownership": (OURS, ADOPTED), "state": (RunState.EXITED,), "started": (False,), "phase": (), "reason": (),
        "deadline": (), "installed": (), "turn": (), "config": (), "adapter": (), "backs_off": (), "changed": (),
    },
    "what runs": {
        "state": ALIVE, "phase": (), "config": (), "change": (), "restart": (), "changed": (), "same_start": (), "pickup": (),
        "drift": (), "ends_by_policy": (),
    },
    "what the cluster started again": {
        "state": ALIVE, "in_place": (), "phase": (), "started": (), "restart": (), "changed": (), "policy": (), "exit": (),
        "exit_code": (), "deadline": (), "ends_by_policy": (),
    },
    "how it is": {
        "ownership": (), "state": ALIVE, "phase": (), "placed": (), "health": (), "storage": (), "deadline": (), "applied": (),
        "long_unplaced": (), "config": (Config.CURRENT, Config.REFUSED_BEFORE),
    },
}  # fmt: skip
"""Axes that bear upon each other, every combination of which is tried; an empty list of values stands for all of them."""


def combinations(group: str) -> Iterator[Point]:
    axes = {axis: values or AXES[axis] for axis, values in GROUPS[group].items()}
    for values in itertools.product(*axes.values()):
        point = {**USUAL, **dict(zip(axes, values, strict=True))}
        if can_be(point):
            yield point


def anything(count: int, seed: int = 7) -> Iterator[Point]:
    """Combinations of all axes at once, drawn from all that there are."""
    draw = random.Random(seed)
    while count:
        point = {axis: draw.choice(values) for axis, values in AXES.items()}
        if can_be(point):
            count -= 1
            yield point


def check(point: Point) -> Step:
    step = decided(point)
    said = {rule.step for rule in RULES_AT[tuple(point[axis] for axis in INDEX)] if rule.matches(point)}
    assert said == {step}, f"{step} for {point}, and the rules say {said or 'nothing'}"
    return step


@pytest.mark.parametrize("group", GROUPS)
def test_each_combination_comes_out_as_the_rules_say(group: str) -> None:
    for point in combinations(group):
        check(point)


def test_the_rules_hold_whatever_else_is_the_case() -> None:
    reached = {check(point) for point in anything(60_000)}
    reached |= {check(point) for rule in RULES for point in _of(rule, 20)}
    assert reached == set(Step), "every step is reached, and has its rules"


def _of(rule: Rule, count: int) -> Iterator[Point]:
    """Combinations that a rule speaks of."""
    draw = random.Random(str(rule.given))
    for _ in range(count * 200):
        point = {axis: draw.choice(rule.given.get(axis) or AXES[axis]) for axis in AXES}
        if rule.matches(point) and can_be(point):
            count -= 1
            yield point
            if not count:
                return


# ---- promises

STARTS = {Step.START, Step.RESUME, Step.REPAIR_DRIFT}
ENDS = {
    Step.STOP, Step.KILL, Step.FORCE_KILL, Step.STOP_TO_RESTART, Step.STOP_TO_RECONFIGURE, Step.STOP_BY_POLICY,
    Step.KILL_REMAINS, Step.FAIL_PLACE, Step.FAIL_START, Step.FAIL_STORAGE,
}  # fmt: skip
REMOVALS = {Step.REMOVE_WITH_DATA, Step.REMOVE_KEEPING_DATA}
TIMED_OUT = {Step.FORCE_KILL, Step.FAIL_STOP, Step.FAIL_OVERDUE, Step.FAIL_START, Step.FAIL_PLACE}

PROMISES: dict[str, Callable[[Point, Step], bool]] = {
    "nothing is done to what nobody has looked at": lambda p, s: p["state"] is not None or s in {Step.LOOK, Step.ANNOUNCE_DELETE},
    "nothing that may still run is removed": lambda p, s: s not in REMOVALS or p["state"] in DOWN,
    "data goes only where it is not to be kept": lambda p, s: s is not Step.REMOVE_WITH_DATA or not p["keep_data"],
    "only what is to be deleted is removed": lambda p, s: s not in REMOVALS or p["desired"] is Desired.DELETED,
    "nothing is started that is not meant to run": lambda p, s: s not in STARTS or p["desired"] is Desired.RUNNING,
    "nothing is started twice": lambda p, s: s not in {Step.START, Step.RESUME} or p["state"] in DOWN,
    "nothing is started out of turn": lambda p, s: s not in {Step.START, Step.RESUME} or p["turn"] is True,
    "what failed stays so until somebody wants something": (
        lambda p, s: s not in STARTS or p["changed"] or p["phase"] not in (Phase.FAILED, Phase.STOPPED) or p["applied"]
    ),
    "what is only observed is left alone": (
        lambda p, s: p["ownership"] is not OBSERVED or s not in STARTS | ENDS | REMOVALS | {Step.UPDATE_FILES}
    ),
    "what somebody else made is never made anew": (
        lambda p, s: p["ownership"] is OURS or s not in {Step.START, Step.REMAKE, Step.UPDATE_FILES, Step.REPAIR_DRIFT}
    ),
    "a configuration that was refused ends nothing": (
        lambda p, s: p["desired"] is not Desired.RUNNING or p["config"] is not Config.REFUSED or s is not Step.STOP_TO_RECONFIGURE
    ),
    "a jump of the clock ends nothing": lambda p, s: p["deadline"] != "unsure" or s not in TIMED_OUT,
    "nothing in time is given up": lambda p, s: p["deadline"] != "in time" or s not in TIMED_OUT - {Step.FAIL_PLACE},
    "what is well is not ended for its health": (
        lambda p, s: s is not Step.FAIL_START or p["health"] not in (HealthState.HEALTHY, HealthState.DEGRADED)
    ),
    "nobody calls well what was not asked": lambda p, s: s is not Step.MARK_HEALTHY or p["health"] is not None,
    "what its policy leaves down is not started again": (
        lambda p, s: not left_down(p) or p["applied"] or s not in STARTS | {Step.STOP_TO_RESTART}
    ),
}  # fmt: skip


@pytest.mark.parametrize("promise", PROMISES)
def test_no_combination_breaks_a_promise(promise: str) -> None:
    holds = PROMISES[promise]
    for point in anything(25_000, seed=11):
        step = decided(point)
        assert holds(point, step), f"{step} for {point}"


def test_each_step_is_carried_out_by_something() -> None:
    assert set(STEPS) == set(Step)


# ---- a pass ends

LEARNS: dict[Step, tuple[str, ...]] = {
    Step.LOOK: ("state",), Step.PLAN: ("config",), Step.CHECK: ("config",), Step.COMPARE: ("change",), Step.LEARN_EXIT: ("exit",),
    Step.FIND_SOFTWARE: ("installed",), Step.TAKE_TURN: ("turn",), Step.ASK_HEALTH: ("health",), Step.CHECK_STORAGE: ("storage",),
}  # fmt: skip
LEARNT: dict[Step, dict[str, tuple[Any, ...]]] = {
    Step.CHECK: {"config": (Config.ACCEPTED, Config.REFUSED)},
    Step.UPDATE_FILES: {"config": (Config.CURRENT, Config.REFUSED), "pickup": (Pickup.DONE, Pickup.WAITING)},
    Step.NOTE_CONFIG: {"config": (Config.CURRENT,)},
    Step.NOTE_START: {"phase": (Phase.STARTING,), "same_start": (True,), "in_place": (False,)},
    Step.NOTE_DRIFT: {"drift": (Drift.REPAIRABLE, Drift.STANDS)},
    Step.NOTE_DRIFT_GONE: {"drift": (Drift.NONE,), "same_start": (True,)},
    Step.REPAIR_DRIFT: {"drift": (Drift.STANDS,), "applied": (True,), "state": tuple(RunState)},
    Step.NOTE_PLACED: {"placed": (True,)},
    Step.COUNT_RESTART: {"phase": (Phase.STARTING,), "same_start": (True,), "in_place": (False,)},
    Step.ANNOUNCE_DELETE: {"phase": (Phase.DELETING,)},
    Step.REMAKE: {"phase": (Phase.STARTING,), "started": (False,), "changed": (False,)},
    Step.AWAIT_PICKUP: {"pickup": (Pickup.DONE, Pickup.MISSED)},
    Step.CREATE: {"phase": (Phase.CREATING,), "config": (Config.NEW, Config.ACCEPTED)},
    Step.CHECK_START: {"phase": (Phase.CREATING,), "config": (Config.ACCEPTED,)},
    Step.START: {"applied": (True,), "state": tuple(RunState), "phase": (Phase.STARTING,), "config": (Config.CURRENT,)},
    Step.RESUME: {"applied": (True,), "state": tuple(RunState), "phase": (Phase.STARTING,)},
    **{
        step: {"phase": (Phase.STOPPING,), "state": DOWN, "ended": (True,), "config": (Config.UNKNOWN,), "change": (None,)}
        for step in (Step.STOP, Step.KILL, Step.FORCE_KILL, Step.STOP_TO_RESTART, Step.STOP_TO_RECONFIGURE)
    },
    Step.STOP_BY_POLICY: {"phase": (Phase.STOPPING,), "state": DOWN, "ended": (True,), "ends_by_policy": (True,)},
}  # fmt: skip
"""What may be known after a step that does not end the pass."""


def test_a_pass_ends_whatever_it_meets() -> None:
    """Walks through passes in which every answer may be any answer."""
    draw = random.Random(3)
    longest = 0
    for point in anything(20_000, seed=5):
        walk: list[Step] = []
        known: dict[str, Any] = dict(point)
        while (step := decided(known)) in LEARNS or step in LEARNT:
            walk.append(step)
            assert len(walk) < MOST_STEPS, walk
            learnt = {axis: other(axis, None, Config.UNKNOWN, Exit.UNKNOWN, Storage.UNKNOWN) for axis in LEARNS.get(step, ())}
            for axis, values in (learnt | LEARNT.get(step, {})).items():
                known[axis] = draw.choice(values)
        longest = max(longest, len(walk))
    assert longest <= MOST_STEPS // 2
