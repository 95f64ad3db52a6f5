"""Places that do not answer, cannot write, do not end things, or lost their plugin; hints and workers that are lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from clawportal import clock
from clawportal.contracts.adapters import Health, HealthState
from clawportal.db import db, transaction
from clawportal.errors import Retry
from clawportal.models import Instance
from clawportal.services.reconcile import facts, leases, passes
from tests.core.conftest import Memory
from tests.core.world import World, eventually


def test_an_unreachable_place_is_unknown_not_stopped(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.reachable = False
    seen = memory.until(one, lambda s: s.sync == "unknown")
    assert (seen.phase, seen.health, seen.reason) == ("running", "unknown", "ClusterUnreachable")
    assert "does not answer" in seen.message
    asked = memory.runtime.calls.total()
    memory.world.press("stop", one)
    eventually(lambda: memory.runtime.calls.total() > asked + 1, "the place was asked again")
    assert memory.world.see(one).phase == "running" and memory.world.open_ops(one) == ["instance.stop"]
    memory.runtime.character.reachable = True
    memory.until(one, "stopped")
    assert memory.runtime.running() == []


def test_an_unreachable_place_comes_back_with_its_claws(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.reachable = False
    memory.until(one, lambda s: s.sync == "unknown")
    memory.runtime.character.reachable = True
    seen = memory.until(one, lambda s: s.sync == "synced")
    assert seen.health == "healthy" and memory.runtime.calls["apply"] == 1 and seen.restart_count == 0


def test_a_place_that_cannot_tell_starts_nothing_twice(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.blind = True
    memory.world.press("restart", one)
    memory.until(one, lambda s: s.sync == "unknown")
    assert memory.runtime.calls["apply"] == 1 and memory.runtime.calls["stop"] == 0
    memory.runtime.character.blind = False
    memory.until(one, lambda s: s.phase == "running" and s.settled and s.restarts_done == 1)


def test_a_start_while_unreachable_ends_at_its_deadline(memory: Memory, travel: Callable[[timedelta], None]) -> None:
    memory.runtime.character.reachable = False
    one = memory.create()
    seen = memory.until(one, lambda s: s.reason == "ClusterUnreachable")
    assert seen.phase == "pending" and seen.phase_deadline is not None
    with memory.world.context(), transaction():  # five minutes pass; they are not waited for here
        db.session.execute(update(Instance).values(phase_deadline=clock.now() - timedelta(seconds=1), due_at=clock.now()))
    seen = memory.until(one, "failed")
    assert seen.reason == "PendingTimedOut" and "does not answer" in seen.message and "start it again" in seen.next_action
    memory.runtime.character.reachable = True
    memory.world.press("start", one)
    memory.until(one, "running")


def test_a_full_disk_is_told_and_tried_again(memory: Memory) -> None:
    memory.runtime.character.apply_fails = Retry("DiskFull", "No space left on device. Free some space.", timedelta(seconds=0.2))
    one = memory.create()
    seen = memory.until(one, lambda s: s.reason == "DiskFull" and s.attempts > 1)
    assert seen.phase == "starting" and seen.phase_deadline is not None and "Free some space" in seen.message
    memory.runtime.character.apply_fails = None
    memory.until(one, "running")
    assert memory.world.see(one).attempts == 0


def test_a_place_that_breaks_in_an_unforeseen_way(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    memory.runtime.character.apply_fails = ZeroDivisionError("surprise")
    one = memory.create()
    seen = memory.until(one, lambda s: s.reason == "InternalError")
    assert "surprise" in seen.message and one in caplog.text
    memory.runtime.character.apply_fails = None
    memory.until(one, "running")


def test_a_claw_that_cannot_be_ended(memory: Memory) -> None:
    memory.adapter.stop_grace = 0.1
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.immortal = True
    memory.world.press("stop", one)
    memory.until(one, lambda s: s.phase == "stopping")
    with memory.world.context(), transaction():
        db.session.execute(update(Instance).values(phase_deadline=clock.now() - facts.KILL_LIMIT - timedelta(seconds=1)))
    seen = memory.until(one, lambda s: s.phase == "failed")
    assert seen.reason == "StopTimedOut" and "reboot" in seen.next_action and seen.due_at is not None
    assert memory.runtime.calls["kill"] >= 1 or memory.runtime.calls["stop"] >= 1
    memory.runtime.character.immortal = False
    memory.until(one, "stopped")  # it is tried again by itself


def test_a_delete_that_failed_can_be_asked_for_again(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.immortal = True
    memory.world.press("delete", one)
    memory.until(one, lambda s: s.phase == "stopping")
    with memory.world.context(), transaction():
        db.session.execute(update(Instance).values(phase_deadline=clock.now() - facts.KILL_LIMIT - timedelta(seconds=1)))
    memory.until(one, lambda s: s.phase == "failed")
    memory.runtime.character.immortal = False
    memory.world.press("delete", one)
    memory.until(one, lambda s: s.destroyed_at)


def test_the_adapter_is_missing_after_a_restart(world: World) -> None:
    one, two = world.create("one"), world.create("two", start=False)
    world.until(one, "running")
    world.until(two, "stopped")
    pid = world.pid(one)
    poor = world.again(plugins="clawportal_process,clawportal_localfiles")
    try:
        seen = poor.until(one, lambda s: s.reason == "AdapterMissing")
        assert seen.phase == "running" and seen.sync == "out-of-sync" and seen.health == "unknown" and poor.pid(one) == pid
        assert "'echo'" in seen.message and "Install the plugin" in seen.next_action
        poor.press("start", two)
        assert poor.until(two, "failed").reason == "AdapterMissing"
        poor.press("delete", two)  # needs no adapter
        poor.until(two, lambda s: s.destroyed_at)
    finally:
        poor.end()
    rich = poor.again(plugins="")
    try:
        seen = rich.until(one, lambda s: s.sync == "synced")
        assert seen.health == "healthy" and rich.pid(one) == pid
    finally:
        rich.end()


def test_the_runtime_is_missing_after_a_restart(world: World) -> None:
    one = world.create()
    world.until(one, "running")
    pid = world.pid(one)
    poor = world.again(plugins="clawportal_echo")
    try:
        seen = poor.until(one, lambda s: s.sync == "unknown")
        assert seen.reason == "RuntimeMissing" and seen.phase == "running"
    finally:
        poor.end()
    rich = poor.again(plugins="")
    try:
        rich.until(one, lambda s: s.sync == "synced")
        assert rich.pid(one) == pid
    finally:
        rich.end()


def test_a_lost_hint_costs_one_resync(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.silent = True
    real = memory.world.portal.dispatcher

    lost: list[str] = []

    class Deaf:
        def hint(self, instance_id: str, delay: float = 0.0, **_more: str) -> None:
            lost.append(instance_id)

    memory.world.portal.dispatcher = Deaf()  # type: ignore[assignment]  # while the request is made
    memory.world.press("stop", one)
    memory.world.portal.dispatcher = real
    assert lost == [one]
    memory.until(one, "stopped")


def test_an_exit_that_nobody_watched(memory: Memory) -> None:
    memory.runtime.character.silent = True
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.exit(one, 1)
    seen = memory.until(one, lambda s: s.phase == "running" and s.restart_count == 1)
    assert seen.crashes == 1


@pytest.mark.parametrize("due", [True, False])
def test_the_lease_of_a_dead_worker_ends(memory: Memory, due: bool) -> None:
    """A worker of another process took the instance and was never heard of again."""
    one = memory.create(start=False)
    memory.until(one, "stopped")
    with memory.world.context():
        memory.world.portal.holder, mine = "dead:1:beef", memory.world.portal.holder
        assert leases.claim(memory.world.portal, one)
        memory.world.portal.holder = mine
    memory.world.press("start", one)
    time.sleep(1.0)
    assert memory.world.see(one).lease_holder.startswith("dead:1:beef"), "it is not taken away while the lease lasts"
    with memory.world.context(), transaction():
        late = clock.now() - timedelta(seconds=1)
        db.session.execute(update(Instance).values(lease_until=late, **({"due_at": late} if due else {})))
    memory.until(one, "running")


def test_a_pass_that_lost_its_lease_writes_nothing(still: World) -> None:
    one = still.create()
    with still.context() as portal:
        holder = leases.claim(portal, one)
        assert holder and leases.claim(portal, one) is None
        work = passes.Pass(portal, one, holder)
        with transaction():
            db.session.execute(update(Instance).values(lease_holder=f"{portal.holder}:other"))  # another thread of this process
        with pytest.raises(leases.LeaseLost):
            work.write("running")
        work.retry(Retry("Some"))
    assert still.see(one).phase == "pending"


def test_many_start_at_a_time_but_not_too_many(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(concurrent_starts=2, reconcile_workers=2)
    memory.adapter.answer = Health(HealthState.UNHEALTHY, "Booting", "It boots.")
    ids = [memory.create(f"q{number}") for number in range(6)]
    eventually(lambda: sum(memory.world.see(one).reason == "WaitingForTurn" for one in ids) == 4, "four wait for their turn")
    assert len(memory.runtime.running()) == 2 and memory.runtime.calls["check"] == 2, "who waits is not checked again and again"
    memory.adapter.answer = Health(HealthState.HEALTHY)
    for one in ids:
        memory.until(one, "running")
