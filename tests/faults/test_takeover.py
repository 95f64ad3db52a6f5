"""Between two portals, and between a comparison and a watch, nothing is missed: each gap is opened on purpose here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import update

from clawportal import clock
from clawportal.app import start_jobs
from clawportal.db import db, transaction
from clawportal.engine import leader
from clawportal.models import Instance, Lease
from clawportal.services.reconcile import leases
from clawportal.testing.places import MemoryDriver
from tests.core.conftest import Memory
from tests.core.world import World, eventually


def test_a_change_between_the_comparison_and_the_watch_is_not_lost(make_memory: Callable[..., Memory]) -> None:
    """The watch listens late, and the claw ends before: whoever begins to listen compares once more."""
    memory = make_memory(resync_seconds=600, health_seconds=600)
    one = memory.create()
    memory.until(one, "running")
    memory.world.end()
    runtime = memory.runtime
    runtime.character.deaf = threading.Event()
    world = World(memory.world.folder, start=False, create=False, resync_seconds=600, health_seconds=600)
    world.portal.registry.adapters["quiet"] = memory.adapter
    world.portal.registry.runtimes["memory"] = MemoryDriver(runtime)
    compared = runtime.calls["observe"]
    world.start()
    try:
        eventually(lambda: runtime.calls["observe"] > compared, "it compares")
        runtime.exit(one, 1)
        runtime.character.deaf.set()
        world.until(one, lambda s: s.phase == "running" and s.settled and s.restart_count == 1, 20)
    finally:
        world.end()


def test_what_a_dead_leader_held_is_taken_up_with_its_place(make_memory: Callable[..., Memory]) -> None:
    """Its passes may have been under way when it was killed; their leases run on for longer than anybody wants to wait."""
    memory = make_memory(start=False, lease_seconds=3)
    with memory.world.context():
        leader.take("leader", "dead:1", timedelta(seconds=1))
    one, other = memory.create("one"), memory.create("other")
    with memory.world.context(), transaction():
        for held, holder in ((one, "dead:1:abcd"), (other, "alive:2:abcd")):
            values = {"lease_holder": holder, "lease_until": clock.now() + leases.LEASE, "due_at": clock.now() + leases.LEASE}
            db.session.execute(update(Instance).where(Instance.id == held).values(**values))
        db.session.execute(update(Lease).values(expires_at=clock.now() - timedelta(seconds=1)))
    start_jobs(memory.world.app, exclusive=False)
    memory.until(one, "running", 20)
    assert memory.world.see(other).lease_holder == "alive:2:abcd", "whoever lives keeps what it has"


def test_an_orderly_end_gives_back_what_is_under_way(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory()
    memory.runtime.character.apply_seconds = 8.0
    one = memory.create()
    memory.until(one, lambda s: s.phase == "starting")
    memory.world.end()
    assert memory.world.see(one).lease_holder == ""
