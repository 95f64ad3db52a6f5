"""What a row says of an instance is so: nothing that ended is well, synced means read, restarts are restarts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from clawportal import clock
from clawportal.contracts.adapters import AdapterIO
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Ref, Sample
from clawportal.contracts.workloads import Workload
from clawportal.db import db, transaction
from clawportal.engine.live_samples import LiveSamples
from clawportal.lifecycle import Phase, Sync
from clawportal.models import Instance
from clawportal.services.fleet import instances
from clawportal.services.reconcile import config_pickup
from clawportal.testing.places import QuietAdapter
from tests.core.conftest import Memory
from tests.core.world import World


class SlowReader(QuietAdapter):
    """Reads a changed file when the test says so."""

    reads = False
    asked = 0

    def has_read(self, io: AdapterIO, workload: Workload, written: timedelta) -> bool:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionRefusedError("busy")
        return self.reads


def types(seen: Any) -> set[str]:
    return {entry["type"] for entry in seen.conditions}


def in_trouble(world: World) -> list[str]:
    with world.context():
        return [row.id for row in instances.lean_listing(SYSTEM, instances.Filters(trouble=True)).items]


@pytest.fixture
def reader(memory: Memory) -> SlowReader:
    adapter = SlowReader()
    memory.world.portal.registry.adapters["quiet"] = adapter
    return adapter


def test_what_was_stopped_or_deleted_is_not_well(world: World) -> None:
    one = world.create()
    assert "Healthy" in types(world.until(one, "running"))
    world.press("stop", one)
    seen = world.until(one, "stopped")
    assert seen.health == "unknown" and types(seen) == {"ConfigAccepted"}
    world.press("start", one)
    world.until(one, "running")
    world.press("delete", one)
    seen = world.until(one, lambda s: s.destroyed_at)
    assert seen.health == "unknown" and types(seen) == {"ConfigAccepted"}


@pytest.mark.parametrize(
    ("phase", "sync", "known"),
    [
        (Phase.RUNNING, Sync.SYNCED, True), (Phase.STARTING, Sync.PROGRESSING, True), (Phase.STOPPED, Sync.SYNCED, False),
        (Phase.DESTROYED, Sync.SYNCED, False), (Phase.FAILED, Sync.OUT_OF_SYNC, False), (Phase.RUNNING, Sync.UNKNOWN, False),
    ],
)  # fmt: skip
def test_only_what_is_known_to_run_uses_something_now(phase: Phase, sync: Sync, known: bool) -> None:
    samples = LiveSamples()
    samples.update([Sample(Ref("one"), 1.0, 1000, 1, clock.now())])
    assert (samples.now(Instance(id="one", phase=phase, sync=sync)) is not None) is known


def test_synced_means_read(memory: Memory, reader: SlowReader) -> None:
    one = memory.create(settings={"word": "old"})
    memory.until(one, "running")
    memory.world.update(one, settings={"word": "new"})
    seen = memory.until(one, lambda s: s.sync == "progressing" and s.reason == config_pickup.REASON)
    assert seen.phase == "running" and not seen.settled and types(seen) >= {config_pickup.CONDITION}
    assert memory.world.open_ops(one) == ["instance.update"]
    seen = memory.until(one, lambda s: reader.asked > 3)
    assert seen.sync == "progressing"
    reader.reads = True
    seen = memory.until(one, lambda s: s.settled and s.sync == "synced")
    assert config_pickup.CONDITION not in types(seen) and memory.runtime.calls["apply"] == 1


def test_a_claw_that_never_reads_is_restarted(memory: Memory, reader: SlowReader) -> None:
    one = memory.create(settings={"word": "old"})
    first = memory.until(one, "running")
    memory.world.update(one, settings={"word": "new"})
    memory.until(one, lambda s: config_pickup.CONDITION in types(s))
    with memory.world.context(), transaction():
        row = db.session.get_one(Instance, one, with_for_update=True)
        long_ago = (clock.now() - config_pickup.LIMIT - timedelta(seconds=1)).isoformat()
        row.conditions = [e | {"since": long_ago} if e["type"] == config_pickup.CONDITION else e for e in row.conditions]
    seen = memory.until(one, lambda s: s.settled and s.sync == "synced" and s.incarnation != first.incarnation)
    assert config_pickup.CONDITION not in types(seen) and seen.restart_count == 0, "the portal did that, the claw did not end"
    assert [row.reason for row in memory.world.events(one) if row.message == config_pickup.RESTART_WORDS] == ["Reconfiguring"]


def test_a_second_change_is_waited_for_from_its_own_time(memory: Memory, reader: SlowReader) -> None:
    one = memory.create(settings={"word": "old"})
    memory.until(one, "running")
    memory.world.update(one, settings={"word": "new"})
    first = memory.until(one, lambda s: config_pickup.CONDITION in types(s))
    memory.world.update(one, settings={"word": "newer"})
    since = config_pickup.written_at(first.conditions)
    assert isinstance(since, datetime)
    memory.until(one, lambda s: (config_pickup.written_at(s.conditions) or since) > since)


def test_a_refused_configuration_names_the_version_that_runs(memory: Memory) -> None:
    one = memory.create(settings={"word": "old"})
    seen = memory.until(one, "running")
    with memory.world.context():
        assert db.session.get_one(Instance, one).applied_generation == seen.generation
    memory.runtime.character.check_refuses = "no such word"
    memory.world.update(one, settings={"word": "bad"})
    seen = memory.until(one, lambda s: s.settled and s.sync == "out-of-sync")
    with memory.world.context():
        assert db.session.get_one(Instance, one).applied_generation == seen.generation - 1
    memory.runtime.character.check_refuses = ""
    memory.world.update(one, settings={"word": "good"})
    seen = memory.until(one, lambda s: s.settled and s.sync == "synced")
    with memory.world.context():
        assert db.session.get_one(Instance, one).applied_generation == seen.generation


def test_a_crash_loop_is_wrong_until_it_was_well_for_a_while(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    with memory.world.context(), transaction():
        db.session.get_one(Instance, one, with_for_update=True).crashes = 3
    assert in_trouble(memory.world) == [one]
    memory.world.portal.dispatcher.hint(one)
    seen = memory.until(one, lambda s: s.reason == "CrashLoop" and not s.lease_holder)
    assert (seen.phase, seen.health) == ("running", "healthy") and "3 times in a row" in seen.message and seen.next_action
    assert in_trouble(memory.world) == [one]
    with memory.world.context(), transaction():
        row = db.session.get_one(Instance, one, with_for_update=True)
        row.phase_since = clock.now() - timedelta(minutes=6)
    memory.world.portal.dispatcher.hint(one)
    memory.until(one, lambda s: s.crashes == 0 and s.reason != "CrashLoop")
    assert in_trouble(memory.world) == []


def test_restarts_are_ends_that_nobody_asked_for(memory: Memory) -> None:
    one = memory.create()
    memory.until(one, "running")
    memory.world.press("restart", one)
    seen = memory.until(one, lambda s: s.restarts_done == 1 and s.settled and s.phase == "running")
    assert seen.restart_count == 0
    memory.runtime.exit(one)
    seen = memory.until(one, lambda s: s.restart_count == 1 and s.phase == "running")
    memory.world.press("stop", one)
    memory.until(one, "stopped")
    memory.world.press("start", one)
    assert memory.until(one, "running").restart_count == 1
