"""A storage limit where no volume holds it: told when files take more, stopped when far more, forgiven when they do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from clawportal import clock
from clawportal.catalogues import CORE, Catalogues
from clawportal.contracts.runtimes import Ref, Sample
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db, transaction
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.services.fleet import storage
from clawportal.testing.places import MemoryRuntime
from clawportal_process.disk import DiskUse
from tests.core.conftest import Memory
from tests.core.world import eventually

MIB = 1 << 20


def test_what_is_too_much() -> None:
    told = [(storage.Use(used, 100).over, storage.Use(used, 100).far_over) for used in (99, 100, 101, 110, 111)]
    assert told == [(False, False), (False, False), (True, False), (True, False), (True, True)]
    assert [storage.readable(size) for size in (0, 1023, 1536, 5 * MIB, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5 MiB",
        "3 TiB",
    ]


def test_volumes_hold_their_own() -> None:
    spec = InstanceSpec.model_validate({"resources": {"storage": "1Gi"}})
    assert storage.limit_of(spec, MemoryRuntime()) == 1 << 30
    assert storage.limit_of(spec, MemoryRuntime(None, "volumes")) is None
    assert storage.limit_of(InstanceSpec.model_validate({}), MemoryRuntime()) is None


def test_it_is_told_forgiven_and_stopped(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(sample_seconds=600)
    world, made = memory.world, memory.create("hoarder", resources={"storage": "10Mi"})
    memory.until(made, "running")
    cluster = world.cluster("memory").id

    def holds(size: int) -> None:
        world.portal.samples.update([Sample(Ref(made), 1.0, 1, 1, clock.now(), size)], cluster)

    def condition() -> Any:
        return next((entry for entry in world.see(made).conditions if entry["type"] == storage.CONDITION), None)

    def told() -> list[str]:
        return [event.message for event in world.events(made) if event.kind == "instance.storage_exceeded"]

    holds(10 * MIB)
    world.quiet()
    assert condition() is None
    holds(21 * MIB // 2)
    found = eventually(condition, "it stands in its conditions")
    assert found["reason"] == storage.EXCEEDED and not found["status"]
    assert "10.5 MiB, more than its limit of 10 MiB" in found["message"] and "110 percent" in found["message"]
    assert told() == ["The files of hoarder take 10.5 MiB, more than its limit of 10 MiB."]
    holds(MIB)
    eventually(lambda: condition() is None, "it is forgiven")
    holds(20 * MIB)
    eventually(condition, "it stands there again")
    assert len(told()) == 2 and world.see(made).phase == "running", "there is time to delete something after a start"
    with world.context(), transaction():
        db.session.get_one(Instance, made).started_at = clock.now() - timedelta(minutes=5)
    seen = memory.until(made, "failed")
    assert seen.reason == storage.EXCEEDED and "20 MiB" in seen.message and "two minutes" in seen.next_action
    assert memory.runtime.running() == [] and len(told()) == 2
    holds(MIB)
    world.press("start", made)
    memory.until(made, "running")
    eventually(lambda: condition() is None, "it is forgiven after it was tidied")


def test_a_new_start_is_measured_anew(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "large"
    file.write_bytes(b"x" * MIB)
    use = DiskUse()

    def measured(run: str) -> int:
        use.known("one", tmp_path, run)
        use.go_on()
        return use.known("one", tmp_path, run) or 0

    assert measured("first") >= MIB
    file.unlink()
    assert measured("first") >= MIB, "a tree is walked once a minute at most"
    assert use.known("one", tmp_path, "second") is None and measured("second") < MIB


def test_it_is_told_in_chinese() -> None:
    """A sign of percent in a sentence with gaps would be one more gap."""
    said = _m(
        "Its files take %(used)s, more than its limit of %(allowed)s. Delete some or raise it; at 110 percent it is stopped.",
        used="10.5 MiB", allowed="10 MiB",
    )  # fmt: skip
    chinese = Catalogues([CORE]).text(said, "zh_Hans")
    assert "10.5 MiB" in chinese and "Delete" not in chinese
