"""Clusters that are dead, hang or come back: they slow nobody else, and their claws are unknown, never stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select, update

from clawportal.contracts.adapters import AdapterIO, Health
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Place, Runtime
from clawportal.contracts.specs import Strict
from clawportal.contracts.workloads import Context
from clawportal.db import db, transaction
from clawportal.engine.dispatcher import Dispatcher
from clawportal.models import Cluster, EventRow, Instance
from clawportal.services.clusters import clusters
from clawportal.services.clusters.clusters import ClusterChange, NewCluster
from clawportal.testing.places import MemoryDriver, MemoryRuntime, QuietAdapter, healthy
from tests.core.conftest import Memory
from tests.core.world import World, eventually


def row(world: World, name: str) -> Cluster:
    return world.cluster(name)


def kinds(world: World) -> list[str]:
    """What was told of clusters, oldest first."""
    with world.context():
        return list(db.session.scalars(select(EventRow.kind).where(EventRow.kind.like("cluster.%")).order_by(EventRow.seq)))


def test_a_dead_cluster_opens_its_breaker_and_comes_back(memory: Memory) -> None:
    ids = [memory.create(f"q{number}") for number in range(3)]
    for one in ids:
        memory.until(one, "running")
    idle = memory.create("idle", start=False)
    memory.until(idle, "stopped")
    eventually(lambda: row(memory.world, "memory").health == "healthy", "it is known to answer")
    memory.runtime.character.reachable = False
    eventually(lambda: row(memory.world, "memory").health == "unreachable", "its breaker opens")
    for one in ids:
        seen = memory.until(one, lambda s: s.sync == "unknown")
        assert (seen.phase, seen.health, seen.reason) == ("running", "unknown", "ClusterUnreachable")
        assert "nobody answers at this address" in seen.message and seen.next_action
    seen = memory.until(idle, lambda s: s.sync == "unknown")
    assert (seen.phase, seen.reason) == ("stopped", "Stopped"), "what it was is still shown"
    known = row(memory.world, "memory")
    assert known.health_reason == "ClusterUnreachable" and known.last_contact_at and known.health_since
    calls = memory.runtime.calls["inspect"]
    time.sleep(1.0)
    assert memory.runtime.calls["inspect"] == calls, "nobody but the probe asks"
    memory.runtime.character.reachable = True
    for one in (*ids, idle):
        memory.until(one, lambda s: s.sync == "synced", 30)
    assert memory.runtime.calls["apply"] == 3 and row(memory.world, "memory").health == "healthy"
    told = [kind for kind in kinds(memory.world) if kind != "cluster.created"]
    assert told == ["cluster.unreachable", "cluster.recovered"], "once each, not each round"


def test_a_hanging_cluster_slows_nobody_else(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(reconcile_workers=3, cluster_timeout_seconds=1.0)
    other = MemoryRuntime()
    memory.world.add_cluster("other", MemoryDriver(other, kind="other"))
    first = memory.create("first")
    memory.until(first, "running")
    hangs = memory.runtime.character.hangs = threading.Event()
    try:
        stuck = [memory.create(f"stuck-{number}") for number in range(8)]
        began = time.monotonic()
        free = [memory.world.create(f"free-{number}", adapter="quiet", cluster="other") for number in range(5)]
        for one in free:
            memory.until(one, "running", 20)
        assert time.monotonic() - began < 20
        eventually(lambda: row(memory.world, "memory").health == "unreachable", "its breaker opens")
        assert "open for" in row(memory.world, "memory").health_message
        seen = memory.until(first, lambda s: s.sync == "unknown")
        assert seen.phase == "running"
        late = memory.world.create("late", adapter="quiet", cluster="other")
        memory.until(late, "running", 20)
    finally:
        hangs.set()
    memory.until(first, lambda s: s.sync == "synced", 30)
    for one in stuck:
        memory.until(one, "running", 40)


@dataclass
class Counting:
    """A driver that makes a runtime for each connection and remembers all of them."""

    kind: str = "counting"
    title: str = "Counting"
    made: list[Any] = field(default_factory=list)

    def settings_model(self) -> type[BaseModel]:
        class Settings(Strict):
            address: str = ""

        return Settings

    def connect(self, place: Place) -> Runtime:
        class Counted(MemoryRuntime):
            closed = False

            def close(self) -> None:
                self.closed = True

        runtime = Counted()
        runtime.place = place  # type: ignore[attr-defined]
        self.made.append(runtime)
        return runtime


def test_rows_come_change_and_go_without_a_restart(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory()
    world, driver = memory.world, Counting()
    world.portal.registry.runtimes["counting"] = driver
    with world.context() as portal:
        made = clusters.create(portal, SYSTEM, NewCluster("new", "counting", settings={"address": "one"})).id
    eventually(lambda: driver.made and driver.made[0].calls["observe"], "it is looked after")
    with world.context() as portal:
        clusters.update(portal, SYSTEM, made, ClusterChange(title="New title"))
    with world.context() as portal:
        clusters.update(portal, SYSTEM, made, ClusterChange(settings={"address": "two"}))
    eventually(lambda: len(driver.made) > 1 and driver.made[1].calls["observe"], "it is connected anew")
    assert driver.made[0].closed and driver.made[1].place.settings == {"address": "two"} and len(driver.made) == 2
    with world.context() as portal:
        clusters.remove(portal, SYSTEM, made, confirm="new")
    eventually(lambda: driver.made[1].closed, "its connection is closed")
    threads = lambda: [thread.name for thread in threading.enumerate() if thread.name.endswith("-new")]  # noqa: E731
    eventually(lambda: not threads(), "nobody looks after it any more")


def test_a_paused_cluster_is_left_alone(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.world.quiet()
    with memory.world.context() as portal:
        clusters.pause(portal, SYSTEM, row(memory.world, "memory").id)
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "round-memory"], "its monitor ended")
    memory.runtime.exit(one, 1)
    memory.world.press("restart", one)
    calls = memory.runtime.calls.total()
    time.sleep(1.5)
    seen = memory.world.see(one)
    assert (seen.phase, seen.sync, seen.health) == ("running", "synced", "healthy"), "as it was last seen"
    assert memory.runtime.calls.total() == calls
    with memory.world.context() as portal:
        clusters.resume(portal, SYSTEM, row(memory.world, "memory").id)
    memory.until(one, lambda s: s.phase == "running" and s.settled and s.restarts_done == 1, 20)


# ---- many at once


class Slow(QuietAdapter):
    """Turns healthy a while after it was asked first, and notes how many are on their way at a time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.most = seconds, 0
        self._began: dict[str, float] = {}
        self._starting: set[str] = set()
        self._lock = threading.Lock()

    def health(self, io: AdapterIO, context: Context) -> Health:
        with self._lock:
            began = self._began.setdefault(context.instance_id, time.monotonic())
            well = time.monotonic() - began > self.seconds
            (self._starting.discard if well else self._starting.add)(context.instance_id)
            self.most = max(self.most, len(self._starting))
        return healthy(well)


def test_a_returning_herd_starts_in_order(make_memory: Callable[..., Memory]) -> None:
    """After an outage: never more at a time than allowed; first what somebody asked for, then by priority."""
    memory = make_memory(start=False, reconcile_workers=8)
    memory.world.portal.registry.adapters["quiet"] = memory.adapter = adapter = Slow(0.2)
    with memory.world.context() as portal:
        clusters.update(portal, SYSTEM, "memory", ClusterChange(policy={"max_concurrent_starts": 3}))
    low = [memory.create(f"low-{number}", priority="low") for number in range(10)]
    normal = [memory.create(f"normal-{number}") for number in range(20)]
    high = [memory.create(f"high-{number}", priority="high") for number in range(10)]
    with memory.world.context(), transaction():  # nobody has just asked for them
        db.session.execute(update(Instance).values(observed_generation=Instance.generation))
    asked = memory.create("asked", priority="low")
    memory.world.portal.dispatcher = Dispatcher()  # a portal that was just started has heard no hints
    memory.world.start()
    for one in (*high, *normal, *low, asked):
        memory.until(one, "running", 60)
    order = {instance_id: place for place, instance_id in enumerate(memory.runtime.order)}
    assert len(order) == 41 and adapter.most <= 3
    assert order[asked] < 8, "somebody waits for it"
    middle = [sorted(order[one] for one in group)[len(group) // 2] for group in (high, normal, low)]
    assert middle == sorted(middle), "by priority"
    assert max(order[one] for one in high) < min(order[one] for one in low)


# ---- what a cluster does by itself


def test_a_claw_that_waits_for_a_machine_says_why(memory: Memory) -> None:
    memory.runtime.character.pending = "Unschedulable"
    one = memory.create()
    seen = memory.until(one, lambda s: s.reason == "Unschedulable")
    assert seen.phase == "starting" and "No machine has room" in seen.message and seen.next_action == "Add a machine."
    memory.runtime.character.pending = ""
    memory.until(one, "running")


def test_what_somebody_changed_is_shown_or_put_back(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.drift = "memory limit: 1Gi instead of 64Mi"
    seen = memory.until(one, lambda s: s.sync == "out-of-sync")
    assert seen.phase == "running" and seen.health == "healthy" and seen.reason == "Drifted" and "1Gi" in seen.message
    assert [entry["message"] for entry in seen.conditions if entry["type"] == "Drifted" and entry["status"]]
    applied = memory.runtime.calls["apply"]
    with memory.world.context() as portal:
        clusters.update(portal, SYSTEM, "memory", ClusterChange(policy={"repair_drift": True}))
    seen = memory.until(one, lambda s: s.sync == "synced")
    assert memory.runtime.calls["apply"] == applied + 1 and not [e for e in seen.conditions if e["type"] == "Drifted"]
    told = [event.kind for event in memory.world.events(one)]
    assert told.count("instance.drifted") == 1 and told.count("instance.drift_repaired") == 1 and seen.restart_count == 0


def make_restarting(make_memory: Callable[..., Memory]) -> Memory:
    """A place that starts again by itself what ends there."""
    memory = make_memory(start=False)
    memory.runtime.capabilities = memory.runtime.capabilities | {"restarts"}
    memory.world.start()
    return memory


def test_restarts_in_place_are_noticed_and_counted(make_memory: Callable[..., Memory]) -> None:
    memory = make_restarting(make_memory)
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.restart_in_place(one, 137, "OutOfMemory")
    seen = memory.until(one, lambda s: s.restart_count == 1 and s.phase == "running" and s.settled)
    assert seen.crashes == 1 and memory.runtime.calls["apply"] == 1
    (told,) = [event for event in memory.world.events(one) if event.kind == "instance.exited"]
    assert told.reason == "OutOfMemory" and told.data["exit_code"] == 137


def test_a_restart_in_place_obeys_the_policy(make_memory: Callable[..., Memory]) -> None:
    memory = make_restarting(make_memory)
    never, failing = memory.create("never", restart="never"), memory.create("failing", restart="on-failure")
    for one in (never, failing):
        memory.until(one, "running")
    memory.runtime.restart_in_place(never, 1)
    memory.runtime.restart_in_place(failing, 0)
    assert memory.until(never, "failed").reason
    assert memory.until(failing, "stopped").reason == "Completed"
    assert memory.runtime.running() == []


def test_what_the_policy_leaves_down_stays_down_though_it_ends_slowly(make_memory: Callable[..., Memory]) -> None:
    memory = make_restarting(make_memory)
    one = memory.create("never", restart="never")
    memory.until(one, "running")
    memory.runtime.character.stubborn = True
    memory.runtime.restart_in_place(one, 1)
    asked = memory.runtime.calls["stop"]
    eventually(lambda: memory.runtime.calls["stop"] > asked + 2, "several passes ask it to end")
    assert memory.world.see(one).phase == "stopping"
    memory.runtime.character.stubborn = False
    seen = memory.until(one, "failed")
    assert "restart policy" in seen.next_action and memory.runtime.calls["apply"] == 1
    memory.world.press("start", one)
    memory.until(one, "running")
