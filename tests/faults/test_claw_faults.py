"""Claws that refuse, crash, ignore, flood or never get well: each ends in a state with a reason and a way out."""

from __future__ import annotations

import time

from clawportal.contracts.adapters import ExitVerdict, Health, HealthState
from tests.core.conftest import Memory
from tests.core.world import World, eventually


def test_a_refused_configuration_at_create(world: World) -> None:
    one = world.create(settings={"refuse": "always"})
    seen = world.until(one, "failed")
    assert seen.reason == "ConfigRefused" and "refuse is set" in seen.message, "the claw's own words"
    assert "Correct" in seen.next_action and seen.sync == "out-of-sync"
    assert [row.state for row in world.ops(one)] == ["failed"] and "refuse is set" in world.ops(one)[0].error
    assert world.pid(one) is None

    world.update(one, settings={"refuse": "no"})
    world.until(one, "running")


def test_a_refused_configuration_of_a_running_claw(world: World) -> None:
    one = world.create(settings={"greeting": "Hello"})
    world.until(one, "running")
    pid, good = world.pid(one), world.see(one).workload
    world.update(one, settings={"greeting": "Hello", "refuse": "always"})
    seen = world.until(one, lambda s: s.sync == "out-of-sync" and s.settled)
    assert seen.phase == "running" and seen.reason == "ConfigRefused" and "refuse is set" in seen.message
    assert world.pid(one) == pid and seen.workload == good and seen.health == "healthy"
    assert [row.state for row in world.ops(one)] == ["succeeded", "failed"]

    time.sleep(1.5)  # resync and health rounds go by
    assert world.see(one).sync == "out-of-sync" and world.pid(one) == pid

    world.press("restart", one)  # would end the one that runs for one that cannot start
    seen = world.until(one, lambda s: s.settled and s.generation == 3)
    assert seen.sync == "out-of-sync" and world.pid(one) == pid

    world.update(one, settings={"greeting": "Hello again"})
    seen = world.until(one, lambda s: s.phase == "running" and s.sync == "synced" and s.settled)
    assert not world.open_ops(one) and seen.restarts_done == seen.restarts_wanted


def test_a_refused_update_while_it_starts(world: World) -> None:
    one = world.create(settings={"startup_delay": 2})
    world.until(one, lambda s: s.phase == "starting" and s.incarnation)
    world.update(one, settings={"startup_delay": 2, "refuse": "always"})
    seen = world.until(one, lambda s: s.sync == "out-of-sync")
    assert seen.phase == "starting", "it does not run yet, whatever the configuration"
    seen = world.until(one, lambda s: s.phase == "running")
    assert seen.sync == "out-of-sync" and seen.reason == "ConfigRefused"


def test_a_new_secret_with_a_refused_configuration(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.check_refuses = "no such word; the secrets are {secrets}"
    memory.world.update(one, settings={"word": "x"}, secrets={"password": "correct-horse"})
    seen = memory.until(one, lambda s: s.sync == "out-of-sync" and s.settled)
    assert seen.phase == "running" and memory.runtime.calls["stop"] == 0
    told = [seen.message, *(str(row.lines) + row.error for row in memory.world.ops(one))]
    assert "no such word" in seen.message and "correct-horse" not in "".join(told)
    memory.runtime.character.check_refuses = ""
    memory.world.update(one, settings={"word": "y"})
    memory.until(one, lambda s: s.phase == "running" and s.sync == "synced" and s.settled)
    assert memory.runtime.calls["apply"] == 2, "the new secret reaches the claw by a restart"


def test_a_claw_that_exits_at_once(world: World) -> None:
    one = world.create(settings={"exit_after": 0.05, "exit_code": 3})
    seen = world.until(one, lambda s: s.reason == "CrashLoop" and s.not_before, 30)
    assert seen.phase == "starting" and seen.health == "unhealthy" and seen.crashes >= 3
    assert "exits in a row" in seen.message and "correct the cause" in seen.next_action
    assert seen.not_before > seen.phase_since
    exits = [row for row in world.events(one) if row.kind == "instance.exited"]
    assert exits[0].data["exit_code"] == 3 and "exit_after says" in str(exits[0].data["lines"])
    assert not world.open_ops(one), "the create says how it went"

    world.press("restart", one)
    seen = world.until(one, lambda s: s.generation == 2 and s.not_before and s.settled)
    assert seen.crashes <= 2, "asking for a restart forgives, so it does not wait long"

    world.update(one, settings={"exit_after": 0})
    seen = world.until(one, "running")
    assert seen.health == "healthy" and not world.open_ops(one)


def test_exit_zero_is_not_restarted_where_the_policy_says_so(world: World) -> None:
    one = world.create("on-failure", restart="on-failure", settings={"exit_after": 0.3, "exit_code": 0})
    two = world.create("never", restart="never", settings={"exit_after": 0.3, "exit_code": 0})
    three = world.create("broken", restart="never", settings={"exit_after": 0.3, "exit_code": 4})
    for each in (one, two):
        seen = world.until(each, "stopped")
        assert seen.reason == "Completed" and seen.sync == "synced" and "restart policy" in seen.message
    seen = world.until(three, "failed")
    assert "restart policy" in seen.next_action and "code 4" in seen.message
    starts = world.counts(one)["starts"]
    world.portal.dispatcher.hint(one)
    world.quiet()
    assert world.counts(one)["starts"] == starts, "a second look does not start it again"

    world.press("start", one)
    world.until(one, lambda s: s.phase == "stopped" and s.settled and world.counts(one)["starts"] == starts + 1)


def test_a_completed_claw_stays_so_over_a_restart_of_the_portal(world: World) -> None:
    one = world.create(restart="never", settings={"exit_after": 0.3, "exit_code": 0})
    world.until(one, "stopped")
    later = world.again()
    try:
        later.quiet()
        assert later.see(one).reason == "Completed" and later.counts(one)["starts"] == 1
    finally:
        later.end()


def test_a_claw_that_ignores_being_asked_to_stop(world: World) -> None:
    one = world.create(settings={"ignore_sigterm": True})
    world.until(one, "running")
    world.press("stop", one)
    seen = world.until(one, lambda s: s.phase == "stopping")
    assert seen.phase_deadline is not None and "kill" in seen.next_action
    world.until(one, "stopped", 15)
    assert world.pid(one) is None


def test_a_claw_that_floods_its_log(world: World) -> None:
    one = world.create(settings={"flood": 20_000})
    world.until(one, "running")
    folder = world.folder / "clusters/local/instances" / one / "run"
    said = lambda: b"".join(file.read_bytes() for file in folder.glob("log*"))  # noqa: E731
    eventually(lambda: b"lines were dropped" in said(), "it writes more than may be kept")
    assert world.see(one).health == "healthy"
    assert sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) < 60_000_000
    world.press("stop", one)
    world.until(one, "stopped")


def test_a_claw_that_never_gets_well(memory: Memory) -> None:
    memory.adapter.answer = Health(HealthState.UNHEALTHY, "NotAnswering", "Its door is shut.")
    memory.adapter.startup_seconds = 1.0
    one = memory.create()
    seen = memory.until(one, "failed")
    assert seen.reason == "StartTimedOut" and "Its door is shut" in seen.message and "log" in seen.next_action
    eventually(lambda: not memory.runtime.running(), "it does not run on")
    memory.adapter.answer = Health(HealthState.HEALTHY)
    memory.world.press("start", one)
    memory.until(one, "running")


def test_half_well_is_well_enough_at_the_deadline(memory: Memory) -> None:
    memory.adapter.answer = Health(HealthState.DEGRADED, "NoChannel", "One channel does not connect.")
    memory.adapter.startup_seconds = 1.0
    one = memory.create()
    seen = memory.until(one, "running")
    assert seen.health == "degraded" and seen.reason == "NoChannel"


def test_an_adapter_that_fails_to_ask(memory: Memory) -> None:
    one, two = memory.create("one"), memory.create("two")
    for each in (one, two):
        memory.until(each, "running")
    memory.adapter.answer = KeyError("surprise")
    for each in (one, two):
        seen = memory.until(each, lambda s: s.health == "unhealthy")
        assert seen.phase == "running" and "surprise" in seen.message
    memory.adapter.answer = Health(HealthState.HEALTHY)
    for each in (one, two):
        memory.until(each, lambda s: s.health == "healthy")


def test_what_only_a_change_can_mend_is_not_tried_again(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.adapter.verdict = ExitVerdict("BadKey", "The provider refuses the key.", False, "Enter another key.")
    memory.runtime.exit(one, 1)
    seen = memory.until(one, "failed")
    assert (seen.reason, seen.next_action) == ("BadKey", "Enter another key.")
    assert memory.runtime.calls["apply"] == 1


def test_the_claws_last_words_are_kept_without_its_secrets(memory: Memory) -> None:
    memory.adapter.secret = "own_token"
    one = memory.create()
    memory.until(one, "running")
    with memory.world.context() as portal:
        from clawportal.services.configuration import secrets

        token = secrets.open_all(portal, one)["own_token"]
    memory.runtime.lines[one] = ["it begins", f"failed with token {token}"]
    memory.runtime.exit(one, 1)
    memory.until(one, lambda s: s.crashes == 1)
    told = str([(row.message, row.data) for row in memory.world.events(one)])
    assert "failed with token" in told and token not in told


def test_what_is_deleted_by_hand_is_no_crash(memory: Memory) -> None:
    """However often: it is made again, told as what it is, and the claw is not blamed."""
    one = memory.create()
    memory.until(one, "running")
    for times in range(1, 5):
        memory.runtime.vanish(one)
        memory.until(one, lambda s, n=times: s.phase == "running" and s.settled and s.restart_count == n, 30)
    seen = memory.until(one, "running")
    assert seen.crashes == 0 and seen.sync == "synced" and seen.health == "healthy"
    told = [row for row in memory.world.events(one) if row.kind == "instance.exited"]
    assert len(told) == 4 and {row.reason for row in told} == {"DeletedOutside"} and "deleted it" in told[0].message
    assert "CrashLoop" not in {row.reason for row in memory.world.events(one)}


def test_what_is_deleted_by_hand_stays_so_where_the_policy_says_never(memory: Memory) -> None:
    one = memory.create(restart="never")
    memory.until(one, "running")
    memory.runtime.vanish(one)
    seen = memory.until(one, "failed")
    assert seen.reason == "DeletedOutside" and "policy" in seen.message and memory.runtime.calls["apply"] == 1


def test_what_does_not_run_is_not_well(memory: Memory) -> None:
    """A claw that falls back to its start is not called healthy any more."""
    one = memory.create()
    memory.until(one, lambda s: s.phase == "running" and s.health == "healthy")
    memory.runtime.character.pending = "NoRoom"
    seen = memory.until(one, lambda s: s.reason == "NoRoom")
    assert (seen.phase, seen.health) == ("starting", "starting")
    memory.runtime.character.pending = ""
    memory.until(one, lambda s: s.phase == "running" and s.health == "healthy")


def test_a_machine_that_is_lost_is_told_and_left_by_a_kill(memory: Memory) -> None:
    """Nobody knows of the claw, and what is advised works."""
    one = memory.create()
    memory.until(one, "running")
    memory.runtime.character.lost = True
    seen = memory.until(one, lambda s: s.reason == "NodeLost")
    assert (seen.sync, seen.health) == ("unknown", "unknown") and "kill it" in seen.message
    memory.world.press("kill", one)
    memory.until(one, "stopped")
    assert memory.runtime.calls["kill"] == 1
    memory.runtime.character.lost = False
    memory.world.press("start", one)
    memory.until(one, lambda s: s.phase == "running" and s.health == "healthy")
