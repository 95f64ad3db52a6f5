"""The life of an instance with the real process runtime: each step with its counters, words, operations and events."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from clawportal.errors import Conflict, Problem
from tests.core.world import World, eventually, phases


def alive(pid: int | None) -> bool:
    try:
        return pid is not None and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_from_create_to_delete_with_its_data(world: World) -> None:
    one = world.create(settings={"greeting": "Hello"})
    assert world.see(one).generation == 1
    seen = world.until(one, "running")
    assert (seen.sync, seen.health, seen.reason, seen.observed_generation) == ("synced", "healthy", "Answering", 1)
    assert seen.phase_deadline is None and seen.next_action == ""
    assert phases(world.events(one)) == ["creating", "starting", "running"]
    assert [(row.kind, row.state) for row in world.ops(one)] == [("instance.create", "succeeded")]
    assert world.counts(one)["starts"] == 1
    first = world.pid(one)

    world.press("stop", one)
    seen = world.until(one, "stopped")
    assert (seen.sync, seen.health, seen.generation, seen.observed_generation) == ("synced", "unknown", 2, 2)
    assert not alive(first) and "kept" in seen.message

    world.press("start", one)
    seen = world.until(one, "running")
    assert world.counts(one)["starts"] == 2, "its data is still there"
    assert seen.generation == 3 and seen.restart_count == 0, "nobody counts what people ask for"

    world.press("restart", one)
    seen = world.until(one, lambda s: s.phase == "running" and s.restarts_done == 1 and s.settled)
    assert world.counts(one)["starts"] == 3

    second = world.pid(one)
    world.press("kill", one)
    world.until(one, "stopped")
    assert not alive(second)
    assert "killing" in [row.reason.lower() for row in world.events(one)]

    world.press("delete", one)
    seen = world.until(one, lambda s: s.destroyed_at)
    assert (seen.phase, seen.sync, seen.observed_generation, seen.lease_holder) == ("destroyed", "synced", 6, "")
    assert seen.workload is None and seen.due_at is None
    assert not (world.folder / "clusters/local/instances" / one).exists()
    verbs = ["create", "stop", "start", "restart", "kill", "delete"]
    assert [(row.kind, row.state) for row in world.ops(one)] == [(f"instance.{verb}", "succeeded") for verb in verbs]
    requested = [row.kind for row in world.events(one) if row.kind.endswith("requested")]
    assert requested == [f"instance.{verb}_requested" for verb in ("stop", "start", "restart", "kill", "delete")]

    two = world.create()  # the name is free again
    world.until(two, "running")
    with pytest.raises(Problem):
        world.create()


def test_delete_that_keeps_the_data(world: World) -> None:
    one = world.create()
    world.until(one, "running")
    world.press("delete", one, keep_data=True)
    seen = world.until(one, lambda s: s.destroyed_at)
    assert "kept" in seen.message
    folder = world.folder / "clusters/local/instances" / one
    assert (folder / "state/counter.json").exists() and not (folder / "run").exists()


def test_created_stopped(world: World) -> None:
    one = world.create(start=False)
    seen = world.until(one, "stopped")
    assert seen.sync == "synced" and world.pid(one) is None and [row.state for row in world.ops(one)] == ["succeeded"]
    world.press("start", one)
    world.until(one, "running")


def test_a_deleted_instance_is_never_looked_at_again(world: World) -> None:
    one = world.create()
    world.until(one, "running")
    world.press("delete", one)
    world.until(one, lambda s: s.destroyed_at)
    world.portal.dispatcher.hint(one)
    world.portal.dispatcher.hint("no-such-instance")
    eventually(lambda: len(world.portal.dispatcher) == 0, "the queue is empty")
    time.sleep(0.8)  # a pass that met nothing would have come back by now
    assert len(world.portal.dispatcher) == 0


def test_update_hot_or_by_a_restart(world: World) -> None:
    one = world.create(settings={"greeting": "Hello"})
    world.until(one, "running")
    pid = world.pid(one)
    world.update(one, settings={"greeting": "Good day"})
    seen = world.until(one, "running")
    assert world.pid(one) == pid and seen.sync == "synced" and world.counts(one)["starts"] == 1
    assert "Good day" in str(seen.workload)

    world.update(one, settings={"greeting": "Good day", "log_every": 5})
    world.until(one, lambda s: s.phase == "running" and s.settled and world.counts(one)["starts"] == 2)
    assert world.pid(one) != pid
    assert [row.state for row in world.ops(one)] == ["succeeded"] * 3
    assert any(row.reason == "Reconfiguring" and "log_every" in row.message for row in world.events(one))


def test_update_while_it_starts(world: World) -> None:
    one = world.create(settings={"startup_delay": 600})
    world.until(one, lambda s: s.phase == "starting" and s.incarnation)
    world.update(one, settings={"startup_delay": 0})
    seen = world.until(one, "running")
    assert seen.generation == 2 and not world.open_ops(one)
    assert [row.state for row in world.ops(one)] == ["cancelled", "succeeded"]


def test_start_while_it_stops(world: World) -> None:
    one = world.create(settings={"ignore_sigterm": True})
    world.until(one, "running")
    world.press("stop", one)
    world.until(one, lambda s: s.phase == "stopping")
    world.press("start", one)
    seen = world.until(one, "running", 30)
    assert seen.desired == "running" and world.counts(one)["starts"] == 2 and not world.open_ops(one)


def test_kill_while_it_stops(world: World) -> None:
    one = world.create(settings={"ignore_sigterm": True})
    world.until(one, "running")
    pid = world.pid(one)
    world.press("stop", one)
    world.until(one, lambda s: s.phase == "stopping")
    began = time.monotonic()
    world.press("kill", one)
    world.until(one, "stopped")
    assert time.monotonic() - began < 4, "it does not wait for the grace of five seconds"
    assert not alive(pid)


def test_delete_while_it_starts(world: World) -> None:
    one = world.create(settings={"startup_delay": 600})
    world.until(one, lambda s: s.phase == "starting" and s.incarnation)
    pid = world.pid(one)
    world.press("delete", one, force=True)
    world.until(one, lambda s: s.destroyed_at)
    assert not alive(pid) and not world.open_ops(one)


def test_pressing_what_is_already_so(world: World) -> None:
    one = world.create()
    world.until(one, "running")
    with pytest.raises(Conflict, match="already running"):
        world.press("start", one)
    world.press("stop", one)
    with pytest.raises(Conflict, match="already"):
        world.press("stop", one)
    world.until(one, "stopped")
    with pytest.raises(Conflict, match="not running"):
        world.press("kill", one)
    world.press("delete", one)
    with pytest.raises(Conflict, match="deleted"):
        world.press("start", one)


def test_a_restart_of_a_start_in_progress_does_not_start_twice(world: World) -> None:
    one = world.create(settings={"startup_delay": 1})
    world.until(one, lambda s: s.phase == "starting" and s.incarnation)
    with pytest.raises(Conflict, match="being started"):
        world.press("start", one)
    world.until(one, "running")
    assert world.counts(one)["starts"] == 1


@pytest.mark.slow
def test_two_people_press_different_buttons(world: World) -> None:
    """Whatever comes in which order: at the end it is as the last request wanted, and nothing is left behind."""
    one = world.create()
    world.until(one, "running")
    last: list[tuple[int, str]] = []
    lock = threading.Lock()

    def person(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(20):
            action = dice.choice(["start", "stop", "restart", "kill", "restart"])
            try:
                with lock:  # so that the test knows which was the last; the reconciler runs all the while
                    world.press(action, one)
                    last.append((world.see(one).generation, world.see(one).desired))
            except Conflict:
                pass
            time.sleep(dice.random() * 0.15)

    people = [threading.Thread(target=person, args=(seed,)) for seed in (1, 2)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join(60)
    generation, desired = max(last)
    seen = world.until(one, lambda s: s.settled and s.phase == desired, 30)
    assert seen.generation == generation and seen.restarts_done == seen.restarts_wanted
    eventually(lambda: not world.open_ops(one), "no operation is left open")
    pid = world.pid(one)
    assert (pid is not None) == (desired == "running")
    assert pid is None or os.path.exists(f"/proc/{pid}")
