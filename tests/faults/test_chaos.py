"""People press, claws exit, the place goes and comes back, all at once: when it is calm again, everything is as wanted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from clawportal.contracts.adapters import Health, HealthState
from clawportal.errors import Problem
from tests.core.conftest import Memory
from tests.core.world import eventually


def press(memory: Memory, dice: random.Random, one: str) -> None:
    try:
        if dice.random() < 0.3:
            memory.world.update(one, settings={dice.choice(["word", "cold"]): str(dice.random())})
        else:
            memory.world.press(dice.choice(["start", "stop", "restart", "kill"]), one)
    except Problem:
        pass  # refused with words: what is wanted stays


def trouble(memory: Memory, dice: random.Random, ids: list[str]) -> None:
    character = memory.runtime.character
    match dice.randrange(6):
        case 0:
            character.reachable = not character.reachable
        case 1:
            character.stubborn = not character.stubborn
        case 2:
            character.apply_fails = None if character.apply_fails else OSError("out of something")
        case 3:
            memory.adapter.answer = Health(dice.choice(list(HealthState)), "Odd", "It is odd.")
        case 4:
            character.check_refuses = "" if character.check_refuses else "not like this"
        case _:
            running = memory.runtime.running()
            if running:
                memory.runtime.exit(dice.choice(running), dice.choice([0, 1, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4])
def test_when_it_is_calm_again(make_memory: Callable[..., Memory], seed: int) -> None:
    memory = make_memory()
    memory.adapter.stop_grace = 0.2
    ids = [memory.create(f"q{number}") for number in range(6)]
    until = time.monotonic() + 6

    def person(number: int) -> None:
        dice = random.Random(seed * 100 + number)
        while time.monotonic() < until:
            press(memory, dice, dice.choice(ids))
            time.sleep(dice.random() * 0.1)

    def weather() -> None:
        dice = random.Random(seed)
        while time.monotonic() < until:
            trouble(memory, dice, ids)
            time.sleep(dice.random() * 0.3)

    people = [threading.Thread(target=person, args=(number,)) for number in range(3)]
    people.append(threading.Thread(target=weather))
    for thread in people:
        thread.start()
    for thread in people:
        thread.join(60)

    memory.runtime.character.reachable = True
    memory.runtime.character.stubborn = False
    memory.runtime.character.apply_fails = None
    memory.runtime.character.check_refuses = ""
    memory.adapter.answer = Health(HealthState.HEALTHY, "Fine", "It is fine.")
    for one in ids:
        seen = memory.until(one, lambda s: s.settled and (s.phase == "failed" or s.sync in ("synced", "out-of-sync")), 90)
        if seen.sync == "out-of-sync":  # with a reason and a way out; taken here
            assert seen.reason and seen.message and seen.next_action
            memory.world.update(one, settings={"word": "calm"})
    for one in ids:
        seen = memory.until(one, lambda s: s.settled and s.phase == s.desired and s.sync == "synced", 90)
        assert (one in memory.runtime.running()) == (seen.desired == "running")
        eventually(lambda one=one: not memory.world.open_ops(one), "no operation is left open")  # type: ignore[misc]  # bound early
        assert seen.workload is None or seen.desired == "stopped" or _digest(memory, one) == _planned(memory, one)
    for one in ids:
        memory.world.press("delete", one)
    for one in ids:
        memory.until(one, lambda s: s.destroyed_at, 30)
    assert memory.runtime.running() == []


def _digest(memory: Memory, one: str) -> str:
    from clawportal.contracts.runtimes import Ref

    return memory.runtime.inspect(Ref(one)).digest


def _planned(memory: Memory, one: str) -> str:
    from clawportal.services.fleet import plans

    return plans.workload_from(memory.world.see(one).workload or {}).digest()
