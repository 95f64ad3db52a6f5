"""What is asked for while a pass is at work: that pass ends what it began, the next does the rest, and every operation ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from clawportal import lifecycle
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import RunState, UnmanagedWorkload
from clawportal.db import db, transaction
from clawportal.errors import Retry
from clawportal.lifecycle import Phase
from clawportal.messages import Message, _m
from clawportal.models import Cluster
from clawportal.services.fleet import unmanaged
from clawportal.services.reconcile import passes
from clawportal.testing.places import MemoryDriver, MemoryRuntime, QuietAdapter, YardRuntime
from tests.core.world import World, eventually


class Interrupted(MemoryRuntime):
    """While it is at work, somebody asks for something else; once for each thing that is set in `meanwhile`."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: dict[str, Callable[[], None]] = {}

    def _called(self, name: str) -> None:
        super()._called(name)
        ask_once(self.meanwhile, name)


class InterruptedYard(YardRuntime):
    def __init__(self, *items: UnmanagedWorkload) -> None:
        super().__init__(*items)
        self.meanwhile: dict[str, Callable[[], None]] = {}

    def _called(self, name: str) -> None:
        super()._called(name)
        ask_once(self.meanwhile, name)


def ask_once(meanwhile: dict[str, Callable[[], None]], name: str) -> None:
    """In a thread of its own, as a request is."""
    if ask := meanwhile.pop(name, None):
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(20)
        assert not asking.is_alive(), "the pass locks people out"


class Busy:
    def __init__(self, world: World) -> None:
        self.world, self.runtime = world, Interrupted()
        world.portal.registry.adapters["quiet"] = QuietAdapter()
        world.add_cluster("memory", MemoryDriver(self.runtime))
        world.start()

    def create(self, **more: Any) -> str:
        return self.world.create("q1", adapter="quiet", cluster="memory", **more)

    def during(self, call: str, ask: Callable[[], None]) -> None:
        self.runtime.meanwhile[call] = ask

    def told(self, instance_id: str) -> list[tuple[str, str, str]]:
        """How each operation ended, once all did."""
        eventually(lambda: not self.world.open_ops(instance_id), f"no operation is open: {self.world.open_ops(instance_id)}")
        return [(row.kind.removeprefix("instance."), row.state, row.message) for row in self.world.ops(instance_id)]


@pytest.fixture
def busy(make_world: Callable[..., World]) -> Busy:
    return Busy(make_world(start=False))


def test_a_delete_while_it_is_started(busy: Busy) -> None:
    one = busy.create(start=False)
    busy.world.until(one, "stopped")
    busy.during("apply", lambda: busy.world.press("delete", one))
    busy.world.press("start", one)
    seen = busy.world.until(one, lambda s: s.destroyed_at)
    told = busy.told(one)[1:]
    assert told == [("start", "succeeded", "Running"), ("delete", "succeeded", "Deleted.")]
    assert seen.observed_generation == seen.generation and not busy.runtime.running()


def test_a_stop_while_it_is_started(busy: Busy) -> None:
    one = busy.create(start=False)
    busy.world.until(one, "stopped")
    busy.during("apply", lambda: busy.world.press("stop", one))
    busy.world.press("start", one)
    busy.world.until(one, lambda s: s.phase == "stopped" and s.settled and s.generation == 3)
    assert busy.told(one)[1:] == [("start", "succeeded", "Running"), ("stop", "succeeded", "Stopped")]
    assert busy.runtime.calls["apply"] == 1 and not busy.runtime.running()


def test_a_start_that_is_taken_back_before_it_began(busy: Busy) -> None:
    """It did not succeed, although nothing is left to do."""
    one = busy.create(start=False)
    busy.world.until(one, "stopped")
    busy.during("check", lambda: busy.world.press("stop", one))
    busy.world.press("start", one)
    busy.world.until(one, lambda s: s.phase == "stopped" and s.settled and s.generation == 3)
    assert busy.told(one)[1:] == [("start", "cancelled", "Replaced by a later request"), ("stop", "succeeded", "Stopped")]
    assert busy.runtime.calls["apply"] == 0


def test_a_start_while_it_is_stopped(busy: Busy) -> None:
    one = busy.create()
    busy.world.until(one, "running")
    busy.during("stop", lambda: busy.world.press("start", one))
    busy.world.press("stop", one)
    busy.world.until(one, lambda s: s.phase == "running" and s.settled and s.generation == 3)
    assert busy.told(one)[1:] == [("stop", "succeeded", "Stopped"), ("start", "succeeded", "Running")]
    assert busy.runtime.calls["apply"] == 2


def test_a_change_of_the_configuration_while_it_is_started(busy: Busy) -> None:
    one = busy.create(settings={"word": "old"})
    busy.world.until(one, "running")
    busy.world.press("stop", one)
    busy.world.until(one, "stopped")
    busy.during("apply", lambda: busy.world.update(one, settings={"word": "new"}))
    busy.world.press("start", one)
    seen = busy.world.until(one, lambda s: s.phase == "running" and s.settled and s.generation == 4)
    assert busy.told(one)[2:] == [("start", "succeeded", "Running"), ("update", "succeeded", "Running")]
    assert seen.workload is not None and '"new"' in str(seen.workload) and busy.runtime.calls["apply"] == 2


def test_a_second_delete_while_its_files_are_removed(busy: Busy) -> None:
    """Nothing follows what was removed, so that has to answer everything that was asked for."""
    one = busy.create()
    busy.world.until(one, "running")
    busy.during("remove", lambda: busy.world.press("delete", one, force=True))
    busy.world.press("delete", one)
    seen = busy.world.until(one, lambda s: s.destroyed_at)
    assert busy.told(one)[1:] == [("delete", "cancelled", "Replaced by a later request"), ("delete", "succeeded", "Deleted.")]
    assert seen.observed_generation == seen.generation


def test_a_failed_start_that_was_to_be_stopped(busy: Busy) -> None:
    """The failure is that of the start; what the next pass brings about is the stop."""
    one = busy.create(start=False)
    busy.world.until(one, "stopped")
    busy.runtime.character.check_refuses = "no such word"
    busy.during("check", lambda: busy.world.press("stop", one))
    busy.world.press("start", one)
    busy.world.until(one, lambda s: s.phase == "stopped" and s.settled and s.generation == 3)
    (kind, state, _), *rest = busy.told(one)[1:]
    assert (kind, state) == ("start", "failed") and rest == [("stop", "succeeded", "Stopped")]


def test_what_is_asked_of_an_adopted_one_outlives_a_look_at_it(make_world: Callable[..., World]) -> None:
    """The pass that began while it was only observed must not say what is wanted of it by now."""
    world = make_world(start=False)
    runtime = InterruptedYard(UnmanagedWorkload("c0ffee", "theirs", "quiet:1.0", RunState.RUNNING))
    world.portal.registry.adapters["quiet"] = QuietAdapter()
    world.add_cluster("yard", MemoryDriver(runtime, kind="yard"))
    with world.context() as portal:
        with transaction():
            cluster = db.session.get_one(Cluster, world.cluster("yard").id)
            cluster.capabilities = ["import"]
        wanted = unmanaged.Import(name="theirs", adapter="quiet", version="1.0")
        one = unmanaged.import_one(portal, SYSTEM, cluster.id, "theirs", wanted).id

    def adopt_and_stop() -> None:
        with world.context() as portal:
            unmanaged.adopt(portal, SYSTEM, one)
        world.press("stop", one)

    runtime.meanwhile["inspect"] = adopt_and_stop
    world.start()
    seen = world.until(one, lambda s: s.phase == "stopped" and s.settled and s.generation == 3)
    assert seen.desired == "stopped" and not runtime.unmanaged_runs["c0ffee"].running
    assert [row.state for row in world.ops(one)] == ["succeeded", "cancelled", "succeeded"]


# ---- a phase that takes too long


def test_each_phase_with_a_deadline_says_that_it_took_too_long() -> None:
    assert passes.TIMED_OUT.keys() == lifecycle.TRANSITIONAL == lifecycle.DEADLINES.keys()
    for phase, (reason, words) in passes.TIMED_OUT.items():
        assert reason == f"{Phase(phase).capitalize()}TimedOut" and isinstance(words, Message)


def test_the_cause_of_a_timeout_stays_a_message() -> None:
    cause = Retry("ClusterUnreachable", _m("%(name)s does not answer.", name="east"))
    told = passes.timed_out(Phase.PENDING, cause)
    assert told.reason == "PendingTimedOut" and "The cause: east does not answer." in told.message
    assert isinstance(told.message, Message) and isinstance(told.message.parameters["cause"], Message)
