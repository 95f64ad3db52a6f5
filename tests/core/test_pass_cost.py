"""What a create and the passes over one instance cost in statements and in calls to its runtime: figures that never rise."""

from __future__ import annotations

from collections.abc import Callable

from clawportal.contracts.permissions import SYSTEM
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.reconcile import converge
from tests.core.conftest import Memory
from tests.core.world import World

MOST: dict[str, tuple[int, dict[str, int]]] = {
    "create": (69, {"inspect": 1, "check": 1, "apply": 1}),
    "look": (24, {"inspect": 1}),
    "restart": (77, {"inspect": 2, "stop": 1, "apply": 1}),
    "restarted in place": (37, {"inspect": 1}),
    "stop": (23, {"inspect": 2, "stop": 1}),
    "start": (59, {"inspect": 1, "apply": 1}),
    "delete": (45, {"inspect": 2, "stop": 1, "remove": 1}),
}


def cost(memory: Memory, one: str) -> tuple[int, dict[str, int]]:
    """Of passes until nothing is left to do, with one look at the row after each: statements, and calls by name."""
    before = memory.runtime.calls.copy()
    with memory.world.statements() as told, memory.world.context() as portal:
        for _ in range(5):
            converge.run_pass(portal, one)
            if (seen := memory.world.see(one)).settled:
                break
    assert seen.settled
    called = {name: count - before[name] for name, count in memory.runtime.calls.items() if count != before[name]}
    return len([text for text in told if not text.startswith(("BEGIN", "PRAGMA"))]), called


def test_a_life_costs_no_more_than_it_did(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(start=False)
    memory.runtime.capabilities = memory.runtime.capabilities | {"restarts"}
    one = memory.create()
    found = {"create": cost(memory, one), "look": cost(memory, one)}
    memory.world.press("restart", one)
    found["restart"] = cost(memory, one)
    memory.runtime.restart_in_place(one, 137, "OutOfMemory")
    found["restarted in place"] = cost(memory, one)
    for action in ("stop", "start", "delete"):
        memory.world.press(action, one)
        found[action] = cost(memory, one)
    assert memory.world.see(one).phase == "destroyed"
    assert found.keys() == MOST.keys()
    for what, (statements, calls) in found.items():
        most, allowed = MOST[what]
        assert calls == allowed, what
        assert statements <= most, what


def test_a_create_looks_up_where_to_once(still: World) -> None:
    with still.context() as portal:
        wanted = NewInstance(name="once", adapter="echo")
        assert instances.check_new(portal, SYSTEM, wanted) == []
        with still.statements() as told:
            instances.create(portal, SYSTEM, wanted)
    asked = {
        "the project": sum("JOIN tenant" in text and "ORDER BY tenant.name, project.name" in text for text in told),
        "the clusters": sum("FROM cluster" in text and "cordoned" in text for text in told),
        "the default cluster": sum(text.startswith("SELECT tenant.default_cluster_id") for text in told),
    }
    assert asked == dict.fromkeys(asked, 1), told
