"""Tenants share workers and places to start: nobody waits for the slow claws of somebody else."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from clawportal.contracts.adapters import AdapterIO, Health
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.workloads import Context
from clawportal.engine.dispatcher import Dispatcher
from clawportal.services.reconcile.start_limiter import Queue, Turn, allowed
from clawportal.services.tenancy import tenants
from clawportal.testing.places import QuietAdapter, healthy
from tests.core.conftest import Memory
from tests.core.world import eventually


def shared(workers: int) -> Dispatcher:
    queue = Dispatcher()
    queue.workers, queue.shared = workers, True
    return queue


def test_the_last_quarter_is_for_who_holds_none() -> None:
    queue = shared(4)
    for number in range(10):
        queue.hint(f"a{number}", cluster="c", tenant="a")
    assert [queue.take(0.05) for _ in range(4)] == ["a0", "a1", "a2", None]
    queue.hint("b0", cluster="c", tenant="b")
    queue.hint("b1", cluster="c", tenant="b")
    assert queue.take(0.5) == "b0" and queue.take(0.05) is None
    for name in ("a0", "a1", "a2"):
        queue.done(name)
    assert queue.take(0.5) == "a3", "who has fewer comes first"
    assert queue.take(0.5) == "b1", "and of equals who waits longer for a turn"


def test_in_each_cluster_too() -> None:
    queue = shared(8)
    queue.share = 3
    for number in range(4):
        queue.hint(f"a{number}", cluster="c", tenant="a")
    assert [queue.take(0.05) for _ in range(3)] == ["a0", "a1", None]
    queue.hint("b0", cluster="c", tenant="b")
    assert queue.take(0.5) == "b0"


def test_tenants_take_turns() -> None:
    queue = Dispatcher()
    for number in range(4):
        queue.hint(f"a{number}", tenant="a")
    for number in range(2):
        queue.hint(f"b{number}", tenant="b")
    found = []
    while (one := queue.take(0.05)) is not None:
        found.append(one)
        queue.done(one)
    assert found == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_rank_comes_before_turns() -> None:
    queue = Dispatcher()
    queue.hint("a0", rank=3, tenant="a")
    queue.hint("b0", rank=0, tenant="b")
    queue.hint("b1", rank=0, tenant="b")
    assert [queue.take(0.05) for _ in range(3)] == ["b0", "b1", "a0"]


def test_alone_a_tenant_has_all() -> None:
    queue = Dispatcher()
    queue.workers = 4
    for number in range(4):
        queue.hint(f"a{number}", tenant="a")
    assert [queue.take(0.05) for _ in range(4)] == ["a0", "a1", "a2", "a3"]


def test_whose_it_is_may_be_learned_late() -> None:
    queue = shared(4)
    for number in range(3):
        queue.hint(f"a{number}")
        assert queue.take(0.05) == f"a{number}"
        queue.learn(f"a{number}", "c", "a")
    queue.hint("a3", cluster="c", tenant="a")
    assert queue.take(0.05) is None
    queue.done("a1")
    assert queue.take(0.5) == "a3"


@pytest.mark.parametrize(
    ("mine", "others", "limit", "turn"),
    [
        (Queue(0, 0), {}, 8, Turn(True)),
        (Queue(6, 0), {"b": Queue(0, 0)}, 8, Turn(False, 1)),  # the last quarter is kept
        (Queue(5, 0), {"b": Queue(0, 0)}, 8, Turn(True)),
        (Queue(0, 0), {"a": Queue(6, 50, leads=True)}, 8, Turn(True)),  # fifty that wait earlier are in nobody's way
        (Queue(1, 0), {"a": Queue(4, 50, leads=True)}, 8, Turn(True)),
        (Queue(0, 2), {"a": Queue(6, 50, leads=True)}, 8, Turn(False, 3)),  # but its own come in order, and a quarter is kept
        (Queue(2, 0), {"a": Queue(2, 5, leads=True), "b": Queue(0, 9)}, 8, Turn(False, 2)),
        (Queue(0, 0), {"a": Queue(1, 0)}, 1, Turn(False, 1)),
        (Queue(0, 0), {"a": Queue(0, 3, leads=True)}, 1, Turn(False, 1)),
        (Queue(0, 0), {"a": Queue(0, 3)}, 1, Turn(True)),
    ],
)
def test_who_may_start(mine: Queue, others: dict[str, Queue], limit: int, turn: Turn) -> None:
    assert allowed(mine, others, limit, shared=True) == turn


class Stuck(QuietAdapter):
    """Leaves the question of some instances open until `free` is set: the slowest claw there can be."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.asked: set[str] = set()

    def health(self, io: AdapterIO, context: Context) -> Health:
        if context.name.startswith("slow"):
            self.asked.add(context.instance_id)
            self.free.wait(60)
        return healthy(True)


def test_slow_claws_delay_nobody_else(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(start=False, reconcile_workers=4, concurrent_starts=4)
    memory.world.portal.registry.adapters["quiet"] = adapter = Stuck()
    with memory.world.context() as portal:
        other = tenants.create(portal, SYSTEM, "other", "Other")
        project = tenants.projects_of(SYSTEM, other.id)[0].id
    memory.world.start()
    try:
        ready = memory.create("ready", project=project)
        memory.until(ready, "running")
        slow = [memory.create(f"slow-{number}") for number in range(12)]
        eventually(lambda: len(adapter.asked) >= 2, "the slow ones hold all that they get")
        mine = memory.create("mine", project=project)
        memory.until(mine, "running")
        memory.world.press("stop", ready)
        memory.until(ready, "stopped")
        assert not adapter.free.is_set() and memory.world.see(slow[0]).phase == "starting"
    finally:
        adapter.free.set()
    for one in slow:
        memory.until(one, "running", 30)
