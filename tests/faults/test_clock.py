"""A clock that jumps by hours ends no deadline and puts off no start."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from clawportal import clock
from clawportal.contracts.adapters import Health, HealthState
from tests.core.conftest import Memory
from tests.core.world import World, eventually

JUMPS = [timedelta(hours=5), timedelta(hours=-5)]


def told(memory: Memory) -> bool:
    from sqlalchemy import select

    from clawportal.db import db
    from clawportal.models import EventRow

    with memory.world.context():
        return db.session.scalar(select(EventRow.seq).where(EventRow.kind == "portal.clock_jumped")) is not None


@pytest.mark.parametrize("by", JUMPS)
def test_while_a_claw_starts(memory: Memory, travel: Callable[[timedelta], None], by: timedelta) -> None:
    memory.adapter.answer = Health(HealthState.UNHEALTHY, "Booting", "It boots.")
    one = memory.create()
    before = memory.until(one, lambda s: s.phase == "starting" and s.incarnation)
    travel(by)
    eventually(lambda: told(memory), "the jump is noticed")
    seen = memory.world.see(one)
    assert seen.phase == "starting" and memory.runtime.calls["kill"] == 0
    assert abs((seen.phase_deadline - before.phase_deadline) - by) < timedelta(seconds=2), "the deadline moved along"
    memory.adapter.answer = Health(HealthState.HEALTHY)
    memory.until(one, "running")


@pytest.mark.parametrize("by", JUMPS)
def test_in_back_off(world: World, travel: Callable[[timedelta], None], by: timedelta) -> None:
    one = world.create(settings={"exit_after": 0.05})
    before = world.until(one, lambda s: s.crashes == 3 and s.not_before, 30)
    travel(by)
    seen = world.until(one, lambda s: s.crashes > before.crashes, 15)
    assert seen.phase in ("starting", "creating", "running") and seen.desired == "running"
    seen = world.until(one, lambda s: s.not_before is not None)
    assert abs((seen.not_before - clock.now()).total_seconds()) < 60, "no wait of hours"
    world.press("delete", one, force=True)
    world.until(one, lambda s: s.destroyed_at)


@pytest.mark.parametrize("by", JUMPS)
def test_while_it_runs(memory: Memory, travel: Callable[[timedelta], None], by: timedelta) -> None:
    one = memory.create()
    memory.until(one, "running")
    travel(by)
    memory.world.press("restart", one)
    memory.until(one, lambda s: s.phase == "running" and s.settled and s.restarts_done == 1)
    eventually(lambda: told(memory), "the jump is noticed")
    memory.world.press("stop", one)
    memory.until(one, "stopped")


def test_a_slow_drift_is_no_jump() -> None:
    clock.take_jump()
    time.sleep(0.01)
    assert not clock.jumped() and clock.take_jump() == 0.0
